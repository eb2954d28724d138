"""Sessions are read many at once: how many reads that takes, that none is staler for it, and that none spoils another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from redoubt.core.clock import ManualClock
from redoubt.core.db import StorageUnavailable, Tx
from redoubt.identity import IdentityService, SessionState, cookies
from redoubt.identity.store import sessions, users
from tests.identity.world import AGENT, World

ADDRESS = "203.0.1.10"


class Reads:
    """Counts the reads of a world's database, and fails those that it is told to."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.failing = 0, 0
        read = world.core.db.read

        async def counted(fn: Callable[[Tx], Any]) -> Any:
            self.count += 1
            if self.failing:
                self.failing -= 1
                raise StorageUnavailable("the server is away")
            return await read(fn)

        monkeypatch.setattr(world.core.db, "read", counted)


@pytest.fixture
def reads(world: World, monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(world, monkeypatch)


async def signed_in(world: World, number: int) -> list[str]:
    tokens = []
    for index in range(number):
        client = world.client(ADDRESS)
        await client.register(f"p{index}@example.org")
        tokens.append(str(client.http.cookies[cookies.SESSION]))
    return tokens


async def resolve(service: IdentityService, tokens: list[str]) -> list[SessionState | BaseException | None]:
    asked = (service.resolve(token, ADDRESS, AGENT) for token in tokens)
    return await asyncio.gather(*asked, return_exceptions=True)


def users_of(found: list[SessionState | BaseException | None]) -> set[str]:
    assert all(isinstance(one, SessionState) for one in found), found
    return {one.user_id for one in found if isinstance(one, SessionState)}


async def test_all_who_ask_at_once_are_read_at_once(world: World, reads: Reads) -> None:
    tokens, other = await signed_in(world, 6), world.service()
    reads.count = 0
    found = await resolve(other, [*tokens, *tokens, "A" * 43])
    assert found.pop() is None
    assert len(users_of(found)) == 6
    assert reads.count == 1


async def test_who_is_asked_for_is_read_again_before_the_time_is_over(
    world: World, clock: ManualClock, reads: Reads
) -> None:
    tokens, other = await signed_in(world, 4), world.service()
    late = tokens.pop()
    await resolve(other, tokens)
    await resolve(other, tokens)  # from the cache: these are in use
    clock.advance(timedelta(milliseconds=150))
    await resolve(other, [late])  # takes the three along
    reads.count = 0
    clock.advance(timedelta(milliseconds=150))
    assert len(users_of(await resolve(other, tokens))) == 3
    assert reads.count == 0
    clock.advance(timedelta(milliseconds=51))
    assert len(users_of(await resolve(other, tokens))) == 3
    assert reads.count == 1  # a fifth of a second after they were read


async def test_who_was_taken_along_and_is_over_is_out_at_once(
    world: World, clock: ManualClock, reads: Reads
) -> None:
    (gone, late), other = await signed_in(world, 2), world.service()
    state = (await resolve(other, [gone]))[0]
    await resolve(other, [gone])
    assert isinstance(state, SessionState)
    world.core.db.write_sync(
        lambda tx: tx.execute(sa.update(users).where(users.c.id == state.user_id).values(epoch=7))
    )
    clock.advance(timedelta(milliseconds=150))
    assert isinstance((await resolve(other, [gone]))[0], SessionState)  # what 200 ms of staleness mean
    await resolve(other, [late])
    assert await resolve(other, [gone]) == [None]


async def test_a_session_that_cannot_be_read_is_nobody_elses_trouble(world: World, reads: Reads) -> None:
    tokens, other = await signed_in(world, 3), world.service()
    broken = (await resolve(other, tokens[:1]))[0]
    assert isinstance(broken, SessionState)
    world.core.db.write_sync(
        lambda tx: tx.execute(
            sa.text("UPDATE identity_sessions SET amr = 'no JSON' WHERE id = :id"), {"id": broken.session_id}
        )
    )
    found = await resolve(world.service(), tokens)
    assert isinstance(found[0], ValueError)
    assert len(users_of(found[1:])) == 2


async def test_a_database_that_is_away_signs_nobody_in_or_out(world: World, reads: Reads) -> None:
    tokens, other = await signed_in(world, 2), world.service()
    reads.count, reads.failing = 0, 1
    assert [type(one) for one in await resolve(other, tokens)] == [StorageUnavailable] * 2
    assert reads.count == 1  # who waits for a server that hangs does not wait for it once for each other, too
    assert len(users_of(await resolve(other, tokens))) == 2


async def test_who_asks_while_a_session_ends_gets_no_read_from_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that is under way while the session is dropped here is shared by nobody who asks after that."""
    (token,) = await signed_in(world, 1)
    service, held = world.service(), asyncio.Event()
    read = world.core.db.read

    async def slow(fn: Callable[[Tx], Any]) -> Any:
        found = await read(fn)
        await held.wait()
        return found

    monkeypatch.setattr(world.core.db, "read", slow)
    before = asyncio.create_task(service.resolve(token, ADDRESS, AGENT))
    await asyncio.sleep(0.1)
    (row,) = world.rows(sa.select(sessions))
    world.core.db.write_sync(lambda tx: service.sessions.revoke(tx, row.user_id, row.id))
    after = asyncio.create_task(service.resolve(token, ADDRESS, AGENT))
    await asyncio.sleep(0.05)
    held.set()
    assert await before is not None  # asked before it ended
    assert await after is None
    assert await service.resolve(token, ADDRESS, AGENT) is None
