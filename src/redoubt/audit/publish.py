"""Publishing: tiles, entry bundles and the signed checkpoint as files that may leave the host.

Files follow C2SP `tlog-tiles`, so a static web server or an object store with write-once retention serves the log as it
is. A checkpoint is written after all that it covers, and replaced only by one that continues it. The first checkpoint
of each day stays under `archive/`, so that a later finding can be dated.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from ..core.db import Database, Tx
from ..core.files import write_private
from ..core.keys import Signer
from . import treestore
from .errors import LogRolledBack, LogTampered, NoteInvalid
from .note import Checkpoint, VerifierKey, open_note, sign
from .store import entries
from .tiles import WIDTH, Tile, Tree, bundle, bundle_path, grown
from .treestore import DatabaseTiles

CHECKPOINT = "checkpoint"
KEY = "checkpoint.vkey"


class Publisher:
    """Writes one log's files; several processes may try, one at a time succeeds."""

    def __init__(
        self, db: Database, directory: Path, origin: str, signer: Signer, keys: Sequence[VerifierKey]
    ) -> None:
        self._db = db
        self._directory = directory
        self._origin = origin
        self._signer = signer
        self._keys = keys

    def publish(self, demand: Callable[[Tx], None]) -> int:
        """Bring the files to the state of the database and return the size that is signed now.

        `demand` is run in the signing transaction and raises LeaseLost when this worker no longer leads. Raises
        LogRolledBack or LogTampered when the database does not continue what was published.
        """
        with self._locked():
            published = self._published()
            state = self._db.read_sync(treestore.state)
            if state.size < published.size:
                raise LogRolledBack(
                    f"the store holds {state.size} entries, but {published.size} were published.",
                    hint="The database was restored from an older copy or cut; compare with the published checkpoint.",
                )
            if state.checkpoint:  # a second memory of what was signed, should the file be gone
                self._demand_continues(self._opened(state.checkpoint), state.size)
            if state.size == published.size:
                self._demand_continues(published, state.size)
                return published.size
            note = self._sign(demand, published, state)
            checkpoint = open_note(note, self._keys)
            self._write_tiles(published.size, checkpoint.size)
            self._write_checkpoint(note, published)
            return checkpoint.size

    def _sign(self, demand: Callable[[Tx], None], published: Checkpoint, state: treestore.TreeState) -> str:
        root = self._demand_continues(published, state.size)
        if root != state.appender().root():
            raise LogTampered("the tiles of the audit tree contradict its state.")
        note = sign(Checkpoint(self._origin, state.size, root), self._signer)

        def save(tx: Tx) -> None:
            demand(tx)
            treestore.save_checkpoint(tx, note)

        self._db.write_sync(save)
        return note

    def _demand_continues(self, published: Checkpoint, size: int) -> bytes:
        """Return the root at `size`; raises LogTampered when the tree does not grow out of what was published."""

        def roots(tx: Tx) -> tuple[bytes, bytes]:
            tree = Tree(DatabaseTiles(tx), size)
            return tree.root(published.size), tree.root()

        old, new = self._db.read_sync(roots)
        if old != published.root:
            raise LogTampered(
                f"the first {published.size} entries are not those that were published.",
                hint="Run `redoubt audit verify` against the published checkpoint.",
            )
        return new

    def _published(self) -> Checkpoint:
        """Return the newest checkpoint on file; none is the empty log."""
        try:
            note = (self._directory / CHECKPOINT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return Checkpoint(self._origin, 0, Tree(_NoTiles(), 0).root())
        return self._opened(note)

    def _opened(self, note: str) -> Checkpoint:
        try:
            found = open_note(note, self._keys)
        except NoteInvalid as error:
            raise LogTampered(f"the published checkpoint is not ours: {error.message}") from error
        if found.origin != self._origin:
            raise LogTampered("the published checkpoint is another log's.")
        return found

    def _write_tiles(self, old: int, new: int) -> None:
        for tile in grown(old, new):
            hashes = self._db.read_sync(partial(_hashes, tile))
            self._write(tile.path, b"".join(hashes))
            if tile.level == 0:
                self._write(bundle_path(tile.index, tile.width), bundle(self._bodies(tile)))
            if tile.width == WIDTH:
                self._drop_partial(tile)

    def _bodies(self, tile: Tile) -> list[bytes]:
        start = tile.index * WIDTH
        query = sa.select(entries.c.body).where(
            entries.c.leaf_index >= start, entries.c.leaf_index < start + tile.width
        )
        ordered = query.order_by(entries.c.leaf_index)
        return self._db.read_sync(lambda tx: [row.body.encode() for row in tx.execute(ordered)])

    def _drop_partial(self, tile: Tile) -> None:
        names = [tile.path] + ([bundle_path(tile.index, WIDTH)] if tile.level == 0 else [])
        for name in names:
            folder = self._directory / f"{name}.p"
            if folder.is_dir():
                for part in folder.iterdir():
                    part.unlink()
                folder.rmdir()

    def _write_checkpoint(self, note: str, published: Checkpoint) -> None:
        current = self._directory / CHECKPOINT
        if published.size:
            day = self._directory / "archive" / _day(current)
            if not day.exists():
                write_private(day, current.read_bytes())
        self._write(KEY, f"{VerifierKey(self._origin, self._signer.public_key)}\n".encode())
        write_private(current, note.encode())

    def _write(self, name: str, data: bytes) -> None:
        path = self._directory / name
        if not path.exists() or path.read_bytes() != data:
            write_private(path, data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(
            self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class _NoTiles:
    """The source of an empty tree."""

    def hashes(self, level: int, index: int, width: int) -> Sequence[bytes]:
        """Nothing is there."""
        raise LogTampered("an empty tree has no tiles.")


def _hashes(tile: Tile, tx: Tx) -> Sequence[bytes]:
    return DatabaseTiles(tx).hashes(tile.level, tile.index, tile.width)


def _day(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d")
