"""The sequencer: gives committed entries their place in the tree, and publishes what it signed.

One worker holds a lease with a fencing token; a paused one that wakes up later finds its fence outdated and writes
nothing. Rows are claimed because they have no index, never because their id is above the last one: a transaction that
commits late keeps its place in some later batch instead of being lost.

Before a checkpoint is signed, the tree must continue the one that was published last. A store that was rolled back or
rewritten stops the sequencer for good (LogTampered), instead of becoming a second, well-signed history.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from attrs import frozen

from ..core.base import Core
from ..core.db import Tx
from . import treestore
from .errors import LeaseLost, LogTampered
from .merkle import leaf_hash, root_of
from .note import VerifierKey
from .publish import Publisher
from .store import entries, tiles
from .tiles import HEIGHT, WIDTH
from .treestore import DatabaseTiles, Lease

SIGNING = "audit.checkpoint"
BATCH = 2048
LEASE = timedelta(seconds=15)
_log = logging.getLogger("redoubt.audit")

_PLACE_PG = sa.text(
    "UPDATE audit_entries e SET leaf_index = v.place FROM unnest(CAST(:ids AS text[]), CAST(:places AS bigint[]))"
    " AS v(id, place) WHERE e.id = v.id"
)
_PLACE = sa.text("UPDATE audit_entries SET leaf_index = :place WHERE id = :id")


@frozen
class Progress:
    """What one run did: entries placed, and the size of the tree that is now signed."""

    placed: int
    size: int
    leading: bool


class Sequencer:
    """Sequences one database's log; any number of processes may run one, a single one works at a time."""

    def __init__(self, core: Core, *, origin: str | None = None, directory: Path | None = None) -> None:
        """Sign as `origin` (the app's name) and publish to `directory` (the settings' checkpoint folder)."""
        self._core = core
        self._holder = core.ids.token(16)
        self._lease: Lease | None = None
        name = origin or core.settings.app.name
        signer = core.keys.signer(SIGNING)
        keys = [VerifierKey(name, key) for key in core.keys.verification_keys(SIGNING).values()]
        self._publisher = Publisher(core.db, directory or core.settings.checkpoint_dir, name, signer, keys)

    def run_once(self) -> Progress:
        """Place everything that is committed and publish a checkpoint when the tree grew.

        Returns at once while another worker leads. Raises LogTampered or LogRolledBack when what is stored
        contradicts what was published.
        """
        self._lease = self._core.db.write_sync(
            lambda tx: treestore.acquire(tx, self._holder, self._core.clock.now(), LEASE)
        )
        if self._lease is None:
            return Progress(0, self._core.db.read_sync(treestore.state).size, leading=False)
        placed = 0
        try:
            while count := self._core.db.write_sync(self._place):
                placed += count
                if count < BATCH:
                    break
            size = self._publisher.publish(self._demand)
        except LeaseLost:
            return Progress(placed, self._core.db.read_sync(treestore.state).size, leading=False)
        return Progress(placed, size, leading=True)

    async def run(self, stop: asyncio.Event, *, interval: float = 0.5) -> None:
        """Do `run_once` in a thread every `interval` seconds until `stop` is set, and once more then.

        An outage is logged and retried; a tampered log is logged as critical and never signed again.
        """
        while True:
            last = stop.is_set()
            try:
                await asyncio.to_thread(self.run_once)
            except LogTampered as error:
                _log.critical("audit log stopped: %s", error.message)
                await stop.wait()  # the process goes on: what to stop besides is a person's decision
                return
            except Exception as error:
                _log.error("audit sequencer: %s", type(error).__name__)
            if last:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), interval)

    def _demand(self, tx: Tx) -> None:
        assert self._lease is not None
        treestore.demand(tx, self._lease, self._core.clock.now(), LEASE)

    def _place(self, tx: Tx) -> int:
        self._demand(tx)  # on PostgreSQL this also makes concurrent runs wait in line
        query = sa.select(entries.c.id, entries.c.body, entries.c.leaf_hash).where(
            entries.c.leaf_index.is_(None)
        )
        rows = tx.execute(query.order_by(entries.c.id).limit(BATCH)).all()
        if not rows:
            return 0
        before = treestore.state(tx)
        tree = before.appender()
        hashes = []
        for row in rows:
            found = leaf_hash(row.body.encode())
            if found != bytes(row.leaf_hash):
                raise LogTampered("an entry was changed before it reached the tree.")
            tree.append(found)
            hashes.append(found)
        if tx.dialect == "postgresql":
            places = list(range(before.size, tree.size))
            tx.execute(_PLACE_PG, {"ids": [row.id for row in rows], "places": places})
        else:
            tx.execute(_PLACE, [{"id": row.id, "place": before.size + n} for n, row in enumerate(rows)])
        self._fill_tiles(tx, before.size, hashes)
        treestore.save(tx, before, tree)
        return len(rows)

    def _fill_tiles(self, tx: Tx, size: int, hashes: list[bytes]) -> None:
        """Store the tiles that became full, level by level."""
        source, level = DatabaseTiles(tx), 0
        while hashes:
            start = size // WIDTH * WIDTH
            pending = list(source.hashes(level, size // WIDTH, size - start)) if size > start else []
            pending += hashes
            roots, index = [], size // WIDTH
            rows = []
            for at in range(0, len(pending) - WIDTH + 1, WIDTH):
                whole = pending[at : at + WIDTH]
                roots.append(root_of(whole))
                rows.append({"level": level, "idx": index, "hashes": b"".join(whole), "root": roots[-1]})
                index += 1
            if rows:
                tx.execute(sa.insert(tiles), rows)
            size, hashes, level = size >> HEIGHT, roots, level + 1
