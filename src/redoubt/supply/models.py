"""What a supply check finds, and how it walks a tree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

MAX_FILE = 2 * 1024 * 1024
_SKIPPED = frozenset(
    {
        ".git",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        "var",
        "dist",
    }
)


@frozen(order=True)
class Finding:
    """One thing wrong in a tree: where, which rule, what, and what to do. Never holds a secret's value."""

    path: str
    line: int
    rule: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


def texts(values: Iterable[str]) -> tuple[str, ...]:
    """Return values as a tuple."""
    return tuple(values)


def walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield (relative name, path) of each regular file, sorted; environments, caches, state and links are left out."""
    for folder, names, files in os.walk(root, followlinks=False):
        names[:] = sorted(name for name in names if name not in _SKIPPED)
        for file in sorted(files):
            path = Path(folder) / file
            if path.is_symlink() or not path.is_file():
                continue
            yield path.relative_to(root).as_posix(), path


def read_text(path: Path) -> str | None:
    """Return a file's text, or None where it is large or not text."""
    try:
        if path.stat().st_size > MAX_FILE:
            return None
        raw = path.read_bytes()
    except OSError:
        return None
    if b"\0" in raw[:8192]:
        return None
    return raw.decode("utf-8", errors="replace")
