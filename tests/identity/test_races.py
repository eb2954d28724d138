"""One-time things presented many times at once give exactly one session."""

from __future__ import annotations

import asyncio
from collections import Counter

import sqlalchemy as sa

from redoubt.identity import init_operators, store
from tests.identity.test_magic import ask
from tests.identity.world import World

ATTEMPTS = 8


async def test_one_magic_link_raced_gives_one_session(world: World) -> None:
    client = world.client()
    token = await ask(world, client, "ada@example.org")
    await client.session()
    answers = await asyncio.gather(
        *(client.post("/auth/magic/confirm", {"token": token}) for _ in range(ATTEMPTS))
    )
    assert Counter(answer.status_code for answer in answers)[200] == 1
    assert len(world.rows(sa.select(store.sessions))) == 1
    assert len(world.rows(sa.select(store.users))) == 1


async def test_two_links_of_one_new_address_raced_make_one_account(world: World) -> None:
    clients = [world.client() for _ in range(4)]
    tokens = [await ask(world, client, "ada@example.org") for client in clients]
    answers = await asyncio.gather(
        *(c.post("/auth/magic/confirm", {"token": t}) for c, t in zip(clients, tokens, strict=True))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(world.rows(sa.select(store.users))) == 1


async def test_one_enrolment_link_raced_by_many_makes_one_operator(world: World) -> None:
    url = world.core.db.write_sync(lambda tx: init_operators(tx, world.core))[0]
    token = url.rpartition("/")[2]
    clients, bodies = [world.client() for _ in range(ATTEMPTS)], []
    for number, client in enumerate(clients):
        body = {"token": token, "email": f"p{number}@example.org"}
        options = (await client.post("/enrol/options", body)).json()
        bodies.append({"token": token, "credential": client.passkey.register(options)})
    answers = await asyncio.gather(
        *(client.post("/enrol/verify", body) for client, body in zip(clients, bodies, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [403] * (ATTEMPTS - 1)
    assert len(world.rows(sa.select(store.sessions))) == 1
    assert len(world.rows(sa.select(store.users))) == 1
    assert [
        role.role for role in world.rows(sa.select(sa.text("role")).select_from(sa.text("test_roles")))
    ] == ["operator"]


async def test_one_challenge_raced_gives_one_session(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    await client.post("/auth/logout")
    client.csrf = ""
    options = (await client.post("/auth/login/options")).json()
    answer = client.passkey.answer(options)
    answers = await asyncio.gather(
        *(client.post("/auth/login/verify", {"credential": answer}) for _ in range(ATTEMPTS))
    )
    assert Counter(item.status_code for item in answers)[200] == 1
    live = store.sessions.c.revoked_at.is_(None)
    assert len(world.rows(sa.select(store.sessions).where(live))) == 1


async def test_assertions_with_one_counter_value_raced_give_one_session(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    bodies = []
    for _ in range(4):
        options = (await client.post("/auth/login/options")).json()
        bodies.append({"credential": client.passkey.answer(options, count=9)})
    answers = await asyncio.gather(*(client.post("/auth/login/verify", body) for body in bodies))
    assert Counter(item.status_code for item in answers)[200] == 1


async def test_the_last_two_passkeys_cannot_both_go_at_once(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    await client.step_up()
    options = (await client.post("/account/passkeys/options")).json()
    await client.post("/account/passkeys/verify", {"credential": world.passkey().register(options)})
    listed = (await client.http.get("/account/passkeys")).json()["passkeys"]
    answers = await asyncio.gather(
        *(client.post(f"/account/passkeys/{item['id']}/remove") for item in listed)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(world.rows(sa.select(store.passkeys))) == 1


async def test_genesis_raced_by_processes_mints_two_links(world: World) -> None:
    results = await asyncio.gather(
        *(world.core.db.write(lambda tx: init_operators(tx, world.core)) for _ in range(4))
    )
    assert len({tuple(urls) for urls in results}) == 1
    assert len(world.rows(sa.select(store.enrolments))) == 2
