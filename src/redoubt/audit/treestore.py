"""The tree in the database: its state, its full tiles, and the sequencer's lease with a fencing token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from attrs import frozen

from ..core.db import Tx
from .errors import LeaseLost, LogTampered
from .merkle import HASH_SIZE, Appender
from .store import entries, lease, tiles, tree
from .tiles import WIDTH, split_hashes

LOG = "log"


@frozen
class TreeState:
    """How far the log has been sequenced, and the newest signed checkpoint."""

    size: int
    peaks: tuple[bytes, ...]
    checkpoint: str

    def appender(self) -> Appender:
        """Return the tree to append to."""
        return Appender(self.size, self.peaks)


@frozen
class Lease:
    """The right to sequence: whoever took it over later has a higher fence."""

    holder: str
    fence: int


def state(tx: Tx) -> TreeState:
    """Return the state of the tree; a log without entries has size 0."""
    row = tx.execute(
        sa.select(tree.c.size, tree.c.peaks, tree.c.checkpoint).where(tree.c.name == LOG)
    ).one_or_none()
    return (
        TreeState(0, (), "")
        if row is None
        else TreeState(row.size, tuple(split_hashes(row.peaks)), row.checkpoint)
    )


def save(tx: Tx, before: TreeState, appender: Appender) -> None:
    """Advance the state from `before`; raises LeaseLost when somebody else did meanwhile."""
    values = {"size": appender.size, "peaks": b"".join(appender.peaks)}
    if before.size == 0 and not tx.execute(sa.select(tree.c.name).where(tree.c.name == LOG)).first():
        tx.execute(sa.insert(tree), {"name": LOG, "checkpoint": "", **values})
        return
    statement = sa.update(tree).where(tree.c.name == LOG, tree.c.size == before.size).values(**values)
    if tx.execute(statement).rowcount != 1:
        raise LeaseLost("another worker sequenced meanwhile.")


def save_checkpoint(tx: Tx, note: str) -> None:
    """Keep the newest signed checkpoint: what a crash before its file was written is made good from."""
    tx.execute(sa.update(tree).where(tree.c.name == LOG).values(checkpoint=note))


def acquire(tx: Tx, holder: str, now: datetime, lasts: timedelta) -> Lease | None:
    """Take or renew the lease, or return None while somebody else holds it; a take-over raises the fence."""
    if not tx.execute(sa.select(lease.c.name).where(lease.c.name == LOG)).first():
        tx.execute(
            sa.text(
                "INSERT INTO audit_lease (name, holder, fence, expires_at) VALUES (:name, '', 0, 0) ON CONFLICT DO NOTHING"
            ),
            {"name": LOG},
        )
    row = tx.execute(sa.select(lease).where(lease.c.name == LOG).with_for_update()).one()
    if row.holder == holder:
        fence = row.fence
    elif row.expires_at <= now:
        fence = row.fence + 1
    else:
        return None
    tx.execute(
        sa.update(lease).where(lease.c.name == LOG).values(holder=holder, fence=fence, expires_at=now + lasts)
    )
    return Lease(holder, fence)


def demand(tx: Tx, held: Lease, now: datetime, lasts: timedelta) -> None:
    """Hold the lease row until this transaction ends; raises LeaseLost when `held` was taken over."""
    statement = (
        sa.update(lease)
        .where(lease.c.name == LOG, lease.c.holder == held.holder, lease.c.fence == held.fence)
        .values(expires_at=now + lasts)
    )
    if tx.execute(statement).rowcount != 1:
        raise LeaseLost("another worker took the audit log over.")


class DatabaseTiles:
    """A tile source over one transaction: full tiles from their table, partial ones from what lies under them."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._cache: dict[tuple[int, int, int], list[bytes]] = {}

    def hashes(self, level: int, index: int, width: int) -> Sequence[bytes]:
        """Return the first `width` hashes of a tile; raises LogTampered when they are not there."""
        key = (level, index, width)
        if key not in self._cache:
            self._cache[key] = self._read(level, index, width)
        return self._cache[key]

    def _read(self, level: int, index: int, width: int) -> list[bytes]:
        if width == WIDTH:
            stored = self._tx.execute(
                sa.select(tiles.c.hashes).where(tiles.c.level == level, tiles.c.idx == index)
            ).scalar_one_or_none()
            found = [] if stored is None else split_hashes(bytes(stored))
        elif level == 0:
            query = sa.select(entries.c.leaf_hash).where(
                entries.c.leaf_index >= index * WIDTH, entries.c.leaf_index < index * WIDTH + width
            )
            found = [bytes(row[0]) for row in self._tx.execute(query.order_by(entries.c.leaf_index))]
        else:
            query = sa.select(tiles.c.root).where(
                tiles.c.level == level - 1, tiles.c.idx >= index * WIDTH, tiles.c.idx < index * WIDTH + width
            )
            found = [bytes(row[0]) for row in self._tx.execute(query.order_by(tiles.c.idx))]
        if len(found) != width or any(len(item) != HASH_SIZE for item in found):
            raise LogTampered("a tile of the audit tree is missing or too short.")
        return found
