"""What a build would do to a target: which files it adds, replaces, removes and leaves to their owner."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from redoubt.supply.models import texts

from .errors import EditedFiles, MissingHandler, NotOurTarget
from .manifest import NAME, Manifest, content, digest, edited, read_manifest
from .owned import is_owned

_MIGRATIONS = "app/migrations/"
_EDIT_HINT = "Move your change into the spec, or into app/extra.py, app/handlers.py or app/pages/, and restore the file."


@frozen
class Changes:
    """Paths by what happens to them; `kept` are the owner's files that differ from what the build would make."""

    add: tuple[str, ...] = field(default=(), converter=texts)
    replace: tuple[str, ...] = field(default=(), converter=texts)
    remove: tuple[str, ...] = field(default=(), converter=texts)
    kept: tuple[str, ...] = field(default=(), converter=texts)

    @property
    def nothing(self) -> bool:
        """Whether the target is what the build would make."""
        return not (self.add or self.replace or self.remove)


def changes(out: Path, tree: Mapping[str, bytes], pristine: Mapping[str, bytes]) -> Changes:
    """Compare a target with the tree that a build would write.

    Raises NotOurTarget where other files stand, and EditedFiles naming every file that would be overwritten.
    """
    manifest = read_manifest(out)
    if manifest is None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise NotOurTarget(
                f"{out} is not empty and was not built by redoubt.", hint="Name another folder."
            )
        return Changes(add=sorted(tree))
    refuse_edits(out, manifest, pristine)
    add, replace, kept = [], [], []
    for path, data in tree.items():
        present = content(out / path)
        if present is None:
            add.append(path)
        elif present == data:
            continue
        elif is_owned(path):
            kept.append(path)
        else:
            replace.append(path)
    gone = [path for path in _written(manifest, out) if path not in tree and (out / path).is_file()]
    remove = [
        path
        for path in gone
        if not is_owned(path) or digest((out / path).read_bytes()) == manifest.files.get(path)
    ]
    return Changes(sorted(add), sorted(replace), sorted(remove), sorted(kept))


def refuse_edits(out: Path, manifest: Manifest, pristine: Mapping[str, bytes]) -> None:
    """Raise EditedFiles for made files that were edited, and for files of the user's that stand where one would be made."""
    wrong = edited(out, manifest, pristine)
    for path, data in pristine.items():
        present = content(out / path)
        if present is not None and path not in manifest.files and present != data and not is_owned(path):
            wrong.append(path)
    if wrong:
        raise EditedFiles(sorted(wrong), _EDIT_HINT)


def missing_handlers(out: Path, functions: list[str]) -> None:
    """Raise MissingHandler when the owner's app/handlers.py lacks a function that the spec names."""
    data = content(out / "app/handlers.py")
    if data is None or not functions:
        return
    try:
        present = {node.name for node in ast.parse(data).body if isinstance(node, ast.FunctionDef)}
    except (SyntaxError, ValueError) as error:
        raise MissingHandler("app/handlers.py cannot be parsed.", hint="Correct it first.") from error
    missing = [name for name in functions if name not in present]
    if missing:
        raise MissingHandler(
            f"app/handlers.py has no {', '.join(missing)}, which the spec names.",
            hint="Add it: def NAME(tx: Tx, delivery: Delivery) -> None",
        )


def drift(out: Path, tree: Mapping[str, bytes]) -> list[str]:
    """Return each difference between a target and what its spec makes, as one line a path; owner's files are theirs."""
    found = []
    for path, data in sorted(tree.items()):
        present = content(out / path)
        if present is None:
            found.append(f"missing: {path}")
        elif present != data and not is_owned(path):
            found.append(f"differs: {path}")
    manifest = read_manifest(out)
    if manifest is not None:
        old = [path for path in _written(manifest, out) if path not in tree and (out / path).is_file()]
        found += [f"no longer made: {path}" for path in old if not is_owned(path)]
    return found


def describe(out: Path, tree: Mapping[str, bytes], found: Changes) -> Iterator[str]:
    """Yield the lines of a plan: a summary a file, then the difference of each text file."""
    shown = [path for path in (*found.add, *found.replace, *found.remove) if not path.startswith(".redoubt/")]
    if found.nothing:
        yield "Nothing would change."
    for sign, paths in (("+", found.add), ("~", found.replace), ("-", found.remove)):
        for path in paths:
            if path in shown:
                yield f"{sign} {path}"
    for path in found.kept:
        yield f"= {path} (yours, left alone)"
    if any(path.startswith(_MIGRATIONS) for path in (*found.replace, *found.remove)):
        yield ""
        yield "The tables begin anew: a database that exists refuses them, so start with a new one."
    for path in found.replace:
        if path in shown:
            yield from _difference(path, content(out / path) or b"", tree[path])
    for path in found.add if found.replace else ():
        if path.startswith(_MIGRATIONS):
            yield "\nThe tables change, by a migration that the next start runs:"
            yield from _difference(path, b"", tree[path])


def _difference(path: str, old: bytes, new: bytes) -> Iterator[str]:
    try:
        before, after = old.decode().splitlines(), new.decode().splitlines()
    except UnicodeDecodeError:
        yield f"\n{path}: {digest(old)[:12]} → {digest(new)[:12]} ({len(old)} → {len(new)} bytes)"
        return
    lines = list(difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="", n=2))
    yield ""
    yield from lines[:400]
    if len(lines) > 400:
        yield f"… {len(lines) - 400} more lines"


def _written(manifest: Manifest, out: Path) -> list[str]:
    """Return what the last build wrote: its files, their pristine copies, the manifest."""
    base = out / ".redoubt" / "base"
    copies = (
        [path.relative_to(out).as_posix() for path in base.rglob("*") if path.is_file()]
        if base.is_dir()
        else []
    )
    return [*manifest.files, *copies, NAME]
