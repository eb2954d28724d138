"""One tree replaced by another so that an interruption at any moment leaves the old one, or the new one.

All new files are staged and synced in a sibling folder first. Then a journal is written; each file's old content is
linked aside and the new one renamed over it; last, the journal is marked done. Who comes next and finds a journal
that is not done puts the old files back. Files that no build wrote are never touched, so state, environments and
repositories stay where they are.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .changes import Changes
from .errors import BuildInterrupted

_JOURNAL, _DONE = "journal.json", "journal.done"


def staging(out: Path) -> Path:
    """Return the folder beside `out` that a build works in."""
    out = out.absolute()
    return out.parent / f".{out.name}.redoubt-build"


@contextmanager
def exclusive(out: Path) -> Iterator[Path]:
    """Hold the target for one build, after undoing what an interrupted one left; yields the staging folder.

    Raises BuildInterrupted when another build runs there.
    """
    stage = staging(out)
    try:
        stage.parent.mkdir(parents=True, exist_ok=True)
        while True:
            stage.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same(handle, stage):
                    break
            except BlockingIOError as error:
                os.close(handle)
                raise BuildInterrupted(f"another build of {out} runs.", hint="Wait for it.") from error
            os.close(handle)
    except OSError as error:
        raise BuildInterrupted(f"{stage.parent} cannot be written ({error.strerror}).") from error
    try:
        _undo(out, stage)
        _clear(stage)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(handle)


def recover(out: Path) -> bool:
    """Put the old tree back where a build of `out` was interrupted; return whether there was anything to do."""
    if not staging(out).is_dir():
        return False
    with exclusive(out):
        return True


def apply(out: Path, stage: Path, tree: Mapping[str, bytes], changes: Changes) -> None:
    """Bring `out` from what it is to `tree`, by `changes`; a failure puts the old files back and raises."""
    new = stage / "new"
    for path in (*changes.add, *changes.replace):
        _write(new / path, tree[path])
    _sync_folders(new)
    if not out.exists() or not any(out.iterdir()):
        out.parent.mkdir(parents=True, exist_ok=True)
        os.rename(new, out)
        _sync(out.parent)
        return
    journal = {"add": changes.add, "replace": changes.replace, "remove": changes.remove}
    _write(stage / f"{_JOURNAL}.tmp", json.dumps(journal).encode())
    os.rename(stage / f"{_JOURNAL}.tmp", stage / _JOURNAL)
    _sync(stage)
    try:
        _move(out, stage, changes)
        os.rename(stage / _JOURNAL, stage / _DONE)
        _sync(stage)
    except OSError as error:
        _undo(out, stage)
        raise BuildInterrupted(f"{out} cannot be changed ({error.strerror}); it is as it was.") from error


def _move(out: Path, stage: Path, changes: Changes) -> None:
    for path in (*changes.replace, *changes.remove):
        aside = stage / "old" / path
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.link(out / path, aside)
    for path in (*changes.add, *changes.replace):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        os.rename(stage / "new" / path, out / path)
    for path in changes.remove:
        os.unlink(out / path)
        _prune(out, (out / path).parent)
    _sync_folders(out, only={(out / path).parent for path in (*changes.add, *changes.replace)})


def _undo(out: Path, stage: Path) -> None:
    """Put back what an unfinished journal names; may itself be interrupted and run again."""
    journal = stage / _JOURNAL
    if not journal.exists():
        return
    planned = json.loads(journal.read_text(encoding="utf-8"))
    for path in (*planned["replace"], *planned["remove"]):
        aside = stage / "old" / path
        if aside.exists():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            if not ((out / path).exists() and aside.samefile(out / path)):
                os.replace(aside, out / path)
    for path in planned["add"]:
        if not (stage / "new" / path).exists():
            (out / path).unlink(missing_ok=True)
            _prune(out, (out / path).parent)
    journal.unlink()
    _sync(stage)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _prune(out: Path, folder: Path) -> None:
    """Remove folders that a build's file was the last of."""
    while folder != out and out in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _clear(stage: Path) -> None:
    for item in stage.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()


def _same(handle: int, path: Path) -> bool:
    try:
        here = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(handle)
    return (held.st_dev, held.st_ino) == (here.st_dev, here.st_ino)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folders(root: Path, only: set[Path] | None = None) -> None:
    folders = only if only is not None else {root, *(path for path in root.rglob("*") if path.is_dir())}
    for folder in folders:
        if folder.is_dir():
            _sync(folder)
