"""Anonymous noise neither fills the disk nor disappears."""

from __future__ import annotations

import json
from datetime import timedelta

import sqlalchemy as sa

from redoubt.audit import ANONYMOUS, Actor, Event, store
from redoubt.audit.noise import MAX_KINDS, Noise
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock


def denied(action: str = "identity.login", actor: Actor = ANONYMOUS) -> Event:
    return Event(action=action, outcome="denied", actor=actor)


def bodies(core: Core) -> list[dict[str, object]]:
    query = sa.select(store.entries.c.body).order_by(store.entries.c.id)
    return core.db.read_sync(lambda tx: [json.loads(body) for body in tx.execute(query).scalars()])


async def test_a_flood_makes_few_entries_and_every_event_is_counted(core: Core, clock: ManualClock) -> None:
    noise = Noise(core, each=5)
    recorded = [await noise.record(denied()) for _ in range(200)]
    assert sum(one is not None for one in recorded) == 5
    assert await noise.flush() == 0  # the minute is not over
    clock.advance(timedelta(minutes=1))
    assert await noise.flush() == 1
    found = bodies(core)
    assert len(found) == 6
    assert found[-1]["unmapped"]["suppressed"] == 195  # type: ignore[index]
    assert await noise.record(denied()) is not None  # a new minute


async def test_known_actors_are_never_counted_away(core: Core) -> None:
    noise = Noise(core, each=1)
    for _ in range(20):
        assert await noise.record(denied(actor=Actor("user", "bob"))) is not None


async def test_a_window_that_closes_by_itself_still_reports(core: Core, clock: ManualClock) -> None:
    noise = Noise(core, each=1)
    for _ in range(3):
        await noise.record(denied())
    clock.advance(timedelta(minutes=2))
    await noise.record(denied())
    assert await noise.flush(everything=True) == 1
    assert sorted(body.get("unmapped", {}).get("suppressed", 0) for body in bodies(core)) == [0, 0, 2]  # type: ignore[attr-defined]


def test_inventing_kinds_does_not_fill_memory(core: Core) -> None:
    noise = Noise(core, each=1)
    admitted = sum(noise.admit(denied(f"a.b{n}")) for n in range(MAX_KINDS * 3))
    assert admitted == MAX_KINDS + 1
    assert len(noise._counts) == MAX_KINDS + 1
