"""Follows the charge service: its feed into the mirror rows, and the kill switches to it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard import switches as guard_switches

from . import store
from .mirror import Mirror
from .models import ChargePort
from .outbox import Outbox

SOURCE = "charge"
T = TypeVar("T")
_MIRRORED = frozenset({"payments", "refunds", "all"})


class Feed:
    """One reader of the feed; several workers may run it, the place is a locked row."""

    def __init__(self, core: Core, charge: ChargePort, mirror: Mirror, outbox: Outbox) -> None:
        self._core, self._charge, self._mirror, self._outbox = core, charge, mirror, outbox
        self._sent: dict[tuple[str, str], int] = {}

    async def take_changes(self, wait: int, stop: asyncio.Event) -> int:
        """Apply what is new, waiting up to `wait` seconds for it, and return how many changes there were.

        Once `stop` is set nothing is waited for. Raises ChargeUnavailable.
        """
        after = await self._core.db.read(_after)
        changes = await _unless(stop, self._charge.changes(after, wait))
        for change in changes or ():
            await self._core.db.write(lambda tx, change=change: self._take(tx, change))  # type: ignore[misc]
        return len(changes or ())

    def _take(self, tx: Tx, change: Mapping[str, Any]) -> None:
        seq = int(change["seq"])
        store.insert_once(tx, store.feed, {"source": SOURCE, "tenant": "main", "after": 0})
        moved = tx.execute(
            sa.update(store.feed)
            .where(store.feed.c.source == SOURCE, store.feed.c.after < seq)
            .values(after=seq)
        )
        if moved.rowcount == 1:
            self._mirror.apply(tx, change)

    async def send_switches(self) -> None:
        """Put every flip of a money switch into the outbox, once a version, and deliver it at once."""
        known = await self._core.db.read(guard_switches.status)
        for switch in known:
            name = (switch.tenant, switch.capability)
            if switch.capability not in _MIRRORED or self._sent.get(name) == switch.version:
                continue
            command_id = f"switch:{switch.tenant}:{switch.capability}:{switch.version}"
            body = {"capability": switch.capability, "killed": switch.killed, "revision": switch.version}

            def put(
                tx: Tx, command_id: str = command_id, body: dict[str, Any] = body, tenant: str = switch.tenant
            ) -> None:
                self._outbox.put(tx, command_id, "set_switch", body, tenant=tenant)

            await self._core.db.write(put)
            if await self._outbox.deliver_now(command_id):
                self._sent[name] = switch.version


async def _unless(stop: asyncio.Event, asked: Coroutine[Any, Any, T]) -> T | None:
    """Return what was asked for; None, and ask no more, once `stop` is set."""
    answer = asyncio.ensure_future(asked)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({answer, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        answer.cancel()
        stopped.cancel()
        await asyncio.gather(answer, stopped, return_exceptions=True)


def _after(tx: Tx) -> int:
    found = tx.execute(
        sa.select(store.feed.c.after).where(store.feed.c.source == SOURCE)
    ).scalar_one_or_none()
    return 0 if found is None else int(found)
