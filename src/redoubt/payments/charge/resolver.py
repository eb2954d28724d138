"""Calls the provider for intents that need it, and resolves unknown outcomes by look-up, never by guessing."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Literal

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import feed, store, switches
from .events import alert
from .models import ChargeConfig, Intent, Observed
from .provider.port import Absent, Created, Found, NotSent, Provider, Refused, Seen, Unknown
from .settle import settle

log = logging.getLogger("redoubt.charge")

Step = Literal["create", "look-up"]


class Resolver:
    """Moves intents to their end, one provider call at a time under a lease in the database."""

    def __init__(self, core: Core, config: ChargeConfig, provider: Provider) -> None:
        self._core, self._config, self._provider = core, config, provider

    async def advance(self, intent_id: str) -> None:
        """Make the next call that `intent_id` needs, if nobody else is at it, and settle what came of it.

        Before a call the lease and `maybe_sent` are committed. Whoever finds `maybe_sent` looks first; it calls
        again only with the same key, inside the provider's window, at a provider that honours keys. While a
        switch is off, nothing is sent; looking goes on.
        """
        claimed = await self._core.db.write(lambda tx: self._claim(tx, intent_id))
        if claimed is None:
            return
        intent, step, again = claimed
        if step == "look-up":
            found = await self._provider.look_up(intent)
            if not (again and isinstance(found, Absent) and intent.provider_object is None):
                await self._core.db.write(lambda tx: self._looked(tx, intent, found))
                return
        came = await self._provider.create(intent)
        await self._core.db.write(lambda tx: self._called(tx, intent, came))

    async def run_due(self, limit: int = 50) -> int:
        """Advance every intent that is due, and return how many there were."""
        now = self._core.clock.now()
        table = store.intents

        def due(tx: Tx) -> list[str]:
            query = sa.select(table.c.id).where(table.c.next_at <= now).order_by(table.c.next_at).limit(limit)
            return [row.id for row in tx.execute(query)]

        ids = await self._core.db.read(due)
        for intent_id in ids:
            try:
                await self.advance(intent_id)
            except Exception:
                log.exception("an intent could not be advanced; it stays due")
        return len(ids)

    async def run(self, stop: asyncio.Event, *, idle: float = 0.25) -> None:
        """Advance what is due until `stop` is set."""
        while not stop.is_set():
            try:
                busy = await self.run_due()
            except Exception:
                log.exception("due intents could not be read; trying again")
                busy = 0
            if not busy:
                try:
                    await asyncio.wait_for(stop.wait(), idle)
                except TimeoutError:
                    continue

    def _claim(self, tx: Tx, intent_id: str) -> tuple[Intent, Step, bool] | None:
        now = self._core.clock.now()
        intent = store.intent_by(tx, store.intents.c.id == intent_id, lock=True)
        if intent is None or intent.terminal or (intent.lease_until and intent.lease_until > now):
            return None
        step: Step = "look-up" if intent.maybe_sent else "create"
        live = switches.live(tx, f"{intent.kind}s", intent.tenant)
        if step == "create" and not live:
            wait = now + self._config.retry_base
            tx.execute(sa.update(store.intents).where(store.intents.c.id == intent_id).values(next_at=wait))
            return None
        lease = now + self._config.lease
        values = {"lease_until": lease, "next_at": lease, "calls": intent.calls + 1, "maybe_sent": True}
        values["first_call_at"] = intent.first_call_at or now
        tx.execute(sa.update(store.intents).where(store.intents.c.id == intent_id).values(**values))
        after = store.intent_by(tx, store.intents.c.id == intent_id)
        assert after is not None
        return after, step, live and self._may_call_again(after)

    def _may_call_again(self, intent: Intent) -> bool:
        assert intent.first_call_at is not None
        age = self._core.clock.now() - intent.first_call_at
        return self._provider.honours_keys and timedelta(0) <= age < self._provider.key_window

    def _called(self, tx: Tx, intent: Intent, came: Created) -> None:
        if isinstance(came, Seen):
            settle(tx, self._core, intent.id, came.observed)
        elif isinstance(came, Refused):
            settle(
                tx, self._core, intent.id, Observed("answer", "refused", came.object_id, failure=came.code)
            )
        elif isinstance(came, Unknown):
            settle(tx, self._core, intent.id, Observed("answer", "unknown", failure=came.code))
        first_call = intent.calls == 1
        self._release(tx, intent, sent=not (isinstance(came, NotSent) and first_call))

    def _looked(self, tx: Tx, intent: Intent, found: Found) -> None:
        if isinstance(found, Seen):
            settle(tx, self._core, intent.id, found.observed)
        elif intent.provider_object is None:
            code = found.code if isinstance(found, Unknown) else "not-found-yet"
            settle(tx, self._core, intent.id, Observed("lookup", "unknown", failure=code))
        self._release(tx, intent, sent=True)

    def _release(self, tx: Tx, intent: Intent, *, sent: bool) -> None:
        """Give the lease back and plan the next look; past the bound, call a person once."""
        now = self._core.clock.now()
        after = store.intent_by(tx, store.intents.c.id == intent.id, lock=True)
        assert after is not None
        if after.lease_until != intent.lease_until:
            return  # this caller stalled and another took over: the rest is its business
        values: dict[str, object] = {"lease_until": None, "next_at": None, "maybe_sent": sent}
        if not sent:
            values["calls"] = 0
        if not after.terminal:
            values["next_at"] = now + self._wait(after)
            late = now - (after.first_call_at or after.created_at) > self._config.page_after
            if late and after.state in ("created", "unknown") and after.paged_at is None:
                values["paged_at"] = now
        tx.execute(sa.update(store.intents).where(store.intents.c.id == intent.id).values(**values))
        if values.get("paged_at"):
            alert(tx, self._core, after, "unresolved", failure=after.failure, calls=after.calls)
            paged = store.intent_by(tx, store.intents.c.id == intent.id)
            assert paged is not None
            feed.publish(tx, self._core, paged)

    def _wait(self, intent: Intent) -> timedelta:
        """Return the pause before the next call: doubling, but in proportion to how long it has gone on already.

        A provider that fails a few times within seconds must not cost whoever waits at the till minutes.
        """
        pending = intent.state == "pending"
        base = self._config.poll_pending if pending else self._config.retry_base
        age = self._core.clock.now() - (intent.first_call_at or intent.created_at)
        grown = base * 2.0 ** min(max(intent.calls - 1, 0), 20)
        young = max(base, self._config.patience, age / 4)
        return min(grown, young, self._config.retry_cap) * (0.75 + self._core.ids.jitter() / 4)
