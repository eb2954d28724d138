"""Sessions: cookies, rotation, both expiries, revocation, and the cache that must not keep the dead."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
import sqlalchemy as sa

from redoubt.core.clock import ManualClock
from redoubt.identity import cookies, store
from tests.identity.world import AGENT, Client, World


def token_of(client: Client) -> str:
    return str(client.http.cookies[cookies.SESSION])


async def lives(world: World, token: str) -> bool:
    return await world.identity.resolve(token, "203.0.1.10", AGENT) is not None


async def test_cookies_carry_every_flag(world: World) -> None:
    client = world.client()
    first = await client.http.get("/auth/session")
    answer = await client.register("ada@example.org")
    seen = first.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie")
    assert {line.split("=")[0] for line in seen} == {"__Host-pre", "__Host-session"}
    for line in seen:
        flags = {part.strip().lower() for part in line.split(";")[1:]}
        assert {"httponly", "secure", "samesite=lax", "path=/"} <= flags
        assert not [flag for flag in flags if flag.startswith("domain")]


async def test_the_database_holds_no_token(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    row = world.rows(sa.select(store.sessions))[0]
    assert token_of(client).encode() not in row.token_mac
    assert token_of(client) not in repr(row)
    assert client.http.cookies[cookies.PRE] not in repr(world.rows(sa.select(store.devices)))


async def test_login_gives_a_new_token_and_ends_the_old_one(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    old = token_of(client)
    assert await lives(world, old)
    await client.login()
    assert token_of(client) != old
    assert not await lives(world, old)
    assert await lives(world, token_of(client))


async def test_a_token_set_before_login_is_never_adopted(world: World) -> None:
    client = world.client()
    client.http.cookies.set(cookies.SESSION, "A" * 43, domain="test.localhost")
    await client.register("ada@example.org")
    planted = world.rows(sa.select(store.sessions))
    assert len(planted) == 1
    assert not await lives(world, "A" * 43)


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "A" * 5000, "ä" * 20, "\0"])
async def test_what_is_no_token_resolves_to_nobody(world: World, token: str) -> None:
    await world.client().register("ada@example.org")
    assert not await lives(world, token)


async def test_an_idle_session_ends(world: World, clock: ManualClock) -> None:
    client = world.client()
    await client.register("ada@example.org")
    for _ in range(3):
        clock.advance(timedelta(minutes=50))
        assert await client.signed_in()  # use keeps it alive
    clock.advance(timedelta(minutes=61))
    assert not await client.signed_in()


async def test_a_busy_session_ends_too(world: World, clock: ManualClock) -> None:
    client = world.client()
    await client.register("ada@example.org")
    for _ in range(15):
        clock.advance(timedelta(minutes=50))
        await client.session()
    assert not await client.signed_in()


async def test_logout_ends_the_session_at_the_server(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    token = token_of(client)
    assert await lives(world, token)
    assert (await client.post("/auth/logout")).status_code == 200
    assert not await lives(world, token)
    assert cookies.SESSION not in client.http.cookies


async def test_another_process_learns_of_an_end_within_200_ms(world: World, clock: ManualClock) -> None:
    client, other = world.client(), world.service()
    await client.register("ada@example.org")
    token = token_of(client)
    assert await other.resolve(token, "203.0.1.10", AGENT)
    await client.post("/auth/logout")
    clock.advance(timedelta(milliseconds=199))
    assert await other.resolve(token, "203.0.1.10", AGENT)  # what 200 ms of staleness mean
    clock.advance(timedelta(milliseconds=1))
    assert await other.resolve(token, "203.0.1.10", AGENT) is None


async def test_a_read_under_way_while_a_session_ends_is_not_cached(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    token, cache = token_of(client), world.identity.cache
    key = sha256(token.encode()).digest()
    ticket = cache.begin()
    live = world.core.db.read_sync(lambda tx: world.identity.sessions._read(tx, token))
    assert live is not None
    await client.post("/auth/logout")
    cache.put(ticket, key, live.state.user_id, live.state.session_id, live)
    assert not await lives(world, token)


async def test_the_owner_ends_one_session_and_then_all(world: World) -> None:
    first, second = world.client(), world.client()
    await first.register("ada@example.org")
    second.passkey = first.passkey
    await second.login()
    listed = (await first.http.get("/account/sessions")).json()["sessions"]
    assert [item["current"] for item in listed].count(True) == 1
    other = next(item["id"] for item in listed if not item["current"])
    assert (await first.post(f"/account/sessions/{other}/revoke")).status_code == 200
    assert not await second.signed_in()
    assert (await first.post(f"/account/sessions/{other}/revoke")).status_code == 404
    second.csrf = ""
    await second.login()
    assert (await first.post("/account/sessions/revoke-all")).status_code == 200
    assert not await first.signed_in()
    assert not await second.signed_in()


async def test_nobody_ends_a_strangers_session(world: World) -> None:
    ada, eve = world.client(), world.client()
    await ada.register("ada@example.org")
    await eve.register("eve@example.org")
    target = (await ada.http.get("/account/sessions")).json()["sessions"][0]["id"]
    assert (await eve.post(f"/account/sessions/{target}/revoke")).status_code == 404
    assert await ada.signed_in()


async def test_a_change_of_privileges_ends_every_session(world: World) -> None:
    client = world.client()
    user = (await client.register("ada@example.org")).json()["user"]["id"]
    assert await client.signed_in()

    def promote(tx) -> None:
        world.roles.assign(tx, "main", user, "support", "root")
        world.identity.privileges_changed(tx, user)

    world.core.db.write_sync(promote)
    assert not await client.signed_in()
    client.csrf = ""
    assert (await client.login()).json()["user"]["roles"] == ["customer", "support"]


async def test_a_disabled_user_is_out_and_stays_out(world: World, clock: ManualClock) -> None:
    client = world.client()
    await client.register("ada@example.org")
    assert await client.signed_in()
    world.core.db.write_sync(lambda tx: tx.execute(sa.update(store.users).values(disabled_at=clock.now())))
    clock.advance(timedelta(seconds=1))
    assert not await client.signed_in()
    client.csrf = ""
    assert (await client.login()).status_code == 401


async def test_pruning_takes_what_is_over_and_nothing_else(world: World, clock: ManualClock) -> None:
    client = world.client()
    await client.register("ada@example.org")
    await client.post("/auth/login/options")
    live = world.core.db.write_sync(lambda tx: store.prune(tx, clock.now(), clock.now() - timedelta(days=1)))
    assert live == 0
    clock.advance(timedelta(days=3))
    gone = world.core.db.write_sync(lambda tx: store.prune(tx, clock.now(), clock.now() - timedelta(days=1)))
    assert gone >= 4  # challenges, the mail's link, the session
    assert world.rows(sa.select(store.sessions)) == []
    assert len(world.rows(sa.select(store.users))) == 1


async def test_a_raised_epoch_alone_ends_sessions(world: World, clock: ManualClock) -> None:
    client = world.client()
    await client.register("ada@example.org")
    raised = sa.update(store.users).values(epoch=store.users.c.epoch + 1)
    world.core.db.write_sync(lambda tx: tx.execute(raised))
    clock.advance(timedelta(seconds=1))
    assert not await client.signed_in()


async def test_a_browser_cookie_that_we_did_not_make_is_replaced(world: World) -> None:
    client = world.client()
    await client.session()
    ours = client.http.cookies[cookies.PRE]
    assert (await client.http.get("/auth/session")).headers.get("set-cookie") is None
    for planted in ("A" * 32 + "." + "0" * 32, ours.partition(".")[0], "x", ours + "0"):
        answer = await world.client().http.get(
            "/auth/session", headers={"cookie": f"{cookies.PRE}={planted}"}
        )
        assert answer.headers["set-cookie"].startswith(cookies.PRE)


async def test_many_who_ask_at_once_share_one_read(
    world: World, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = world.client()
    await client.register("ada@example.org")
    token, reading, reads = token_of(client), world.identity.sessions._reads, []
    real = reading._read
    monkeypatch.setattr(reading, "_read", lambda tx, asked: reads.append(len(asked)) or real(tx, asked))
    clock.advance(timedelta(seconds=1))  # what was kept is too old
    assert all(await asyncio.gather(*[lives(world, token) for _ in range(20)]))
    assert reads == [1]
    clock.advance(timedelta(seconds=1))
    assert await lives(world, token)
    assert len(reads) == 2


async def test_who_asks_after_a_session_was_ended_does_not_share_a_read_from_before(
    world: World, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = world.client()
    await client.register("ada@example.org")
    token, sessions = token_of(client), world.identity.sessions
    found = await world.identity.resolve(token, "203.0.1.10", AGENT)
    assert found is not None
    clock.advance(timedelta(seconds=1))
    reading, begun, go = sessions._reads, threading.Event(), threading.Event()
    real = reading._read

    def slow(tx: Any, asked: Any) -> Any:
        live = real(tx, asked)
        begun.set()
        assert go.wait(20)
        return live

    monkeypatch.setattr(reading, "_read", slow)
    before = asyncio.create_task(lives(world, token))
    assert await asyncio.to_thread(begun.wait, 20)
    await world.core.db.write(lambda tx: sessions.revoke(tx, found.user_id, found.session_id))
    monkeypatch.setattr(reading, "_read", real)
    after = asyncio.create_task(lives(world, token))
    assert not await after
    go.set()
    await before
    assert not await lives(world, token), "what the slow read found is not kept"
