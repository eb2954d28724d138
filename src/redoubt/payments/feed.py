"""Follows the charge service: its feed into the mirror rows, and the kill switches to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard import switches as guard_switches

from . import store
from .mirror import Mirror
from .models import ChargePort
from .outbox import Outbox

SOURCE = "charge"
_MIRRORED = frozenset({"payments", "refunds", "all"})


class Feed:
    """One reader of the feed; several workers may run it, the place is a locked row."""

    def __init__(self, core: Core, charge: ChargePort, mirror: Mirror, outbox: Outbox) -> None:
        self._core, self._charge, self._mirror, self._outbox = core, charge, mirror, outbox
        self._sent: dict[tuple[str, str], int] = {}

    async def poll(self) -> int:
        """Send switches that flipped, apply what is new, and return how many changes there were."""
        await self._send_switches()
        after = await self._core.db.read(_after)
        changes = await self._charge.changes(after)
        for change in changes:
            await self._core.db.write(lambda tx, change=change: self._take(tx, change))  # type: ignore[misc]
        return len(changes)

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

    async def _send_switches(self) -> None:
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


def _after(tx: Tx) -> int:
    found = tx.execute(
        sa.select(store.feed.c.after).where(store.feed.c.source == SOURCE)
    ).scalar_one_or_none()
    return 0 if found is None else int(found)
