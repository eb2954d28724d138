"""All supply checks of one tree."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from .errors import LockUnreadable
from .locks import check_locks
from .models import Finding
from .requirements import parse_lock
from .sbom import NAME, check_sbom
from .secrets import check_secrets


def check_tree(root: Path) -> list[Finding]:
    """Return every finding of locks, bill of materials and secrets in `root`, sorted by place.

    The SBOM is held against requirements.txt where both are there.
    """
    found = [*check_locks(root), *check_secrets(root)]
    lock = root / "requirements.txt"
    if lock.is_file() and (root / NAME).is_file():
        with suppress(LockUnreadable):  # check_locks has named each line of it
            found += check_sbom(root, parse_lock(lock.read_text(encoding="utf-8", errors="replace")))
    return sorted(found)
