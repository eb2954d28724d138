"""One-time enrolment: two operators at the beginning, then whom operators invite."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.core.clock import ManualClock
from redoubt.identity import init_operators, store
from redoubt.identity.errors import StepUpRequired
from tests.identity.world import AGENT, Client, World


def genesis(world: World) -> list[str]:
    return world.core.db.write_sync(lambda tx: init_operators(tx, world.core))


async def test_an_app_begins_with_two_operator_links_and_nothing_else(world: World) -> None:
    urls = genesis(world)
    assert len(set(urls)) == 2
    assert all(url.startswith("https://test.localhost:8443/enrol/") for url in urls)
    assert world.rows(sa.select(store.users)) == []
    assert genesis(world) == urls  # never mints again
    assert len(world.rows(sa.select(store.enrolments))) == 2


async def test_each_link_makes_one_operator(world: World) -> None:
    first, second = genesis(world)
    ada, bob = world.client(), world.client()
    page = await ada.http.get(first.removeprefix(world.origin), headers={"accept": "text/html"})
    assert (page.status_code, "operator" in page.text) == (200, True)
    answer = await ada.enrol(first, "ada@example.org")
    assert (answer.status_code, answer.json()["user"]["roles"]) == (201, ["operator"])
    assert genesis(world) == [second]
    assert (await bob.enrol(second, "bob@example.org")).json()["user"]["roles"] == ["operator"]
    assert genesis(world) == []
    late = await ada.http.get(first.removeprefix(world.origin), headers={"accept": "text/html"})
    assert late.status_code == 403
    options = await world.client().post(
        "/enrol/options", {"token": first.rpartition("/")[2], "email": "eve@example.org"}
    )
    assert options.status_code == 403


async def test_a_used_link_gives_no_second_account_even_with_an_open_ceremony(world: World) -> None:
    url = genesis(world)[0]
    token = url.rpartition("/")[2]
    ada, eve = world.client(), world.client()
    waiting = (await eve.post("/enrol/options", {"token": token, "email": "eve@example.org"})).json()
    await ada.enrol(url, "ada@example.org")
    body = {"token": token, "credential": eve.passkey.register(waiting)}
    assert (await eve.post("/enrol/verify", body)).status_code == 403
    assert len(world.rows(sa.select(store.users))) == 1
    assert not await eve.signed_in()


async def test_a_ceremony_of_one_link_does_not_use_another(world: World) -> None:
    def mint(role: str) -> str:
        return world.core.db.write_sync(lambda tx: world.identity.enrolments.mint(tx, role, "x"))[
            1
        ].rpartition("/")[2]

    low, high = mint("customer"), mint("operator")
    client = world.client()
    options = (await client.post("/enrol/options", {"token": low, "email": "eve@example.org"})).json()
    body = {"token": high, "credential": client.passkey.register(options)}
    assert (await client.post("/enrol/verify", body)).status_code == 403
    unused = world.rows(sa.select(store.enrolments).where(store.enrolments.c.used_at.is_(None)))
    assert len(unused) == 2


async def test_links_expire(world: World, clock: ManualClock) -> None:
    url = genesis(world)[0]
    clock.advance(timedelta(days=30))
    answer = await world.client().post(
        "/enrol/options", {"token": url.rpartition("/")[2], "email": "ada@example.org"}
    )
    assert answer.status_code == 403
    assert genesis(world) == []


async def test_forged_links_open_nothing(world: World) -> None:
    token = genesis(world)[0].rpartition("/")[2]
    client = world.client()
    for bad in (token[:-1] + ("A" if token[-1] != "A" else "E"), token[:-2], "A" * 64, "", None, 5):
        answer = await client.post("/enrol/options", {"token": bad, "email": "ada@example.org"})
        assert answer.status_code == 403
    assert not world.rows(sa.select(store.challenges))


async def operator(world: World) -> Client:
    client = world.client()
    await client.enrol(genesis(world)[0], "root@example.org")
    return client


async def test_an_operator_mints_links_after_a_step_up(world: World) -> None:
    client = await operator(world)
    identity, db = world.identity, world.core.db

    async def mint(email: str | None = None) -> str:
        from redoubt.identity import cookies

        token = client.http.cookies[cookies.SESSION]
        session = await identity.resolve(token, "203.0.1.10", AGENT)
        assert session is not None
        browser = identity.browser(client.http.cookies[cookies.PRE], "203.0.1.10", AGENT)
        return await db.write(lambda tx: identity.mint_enrolment(tx, browser, session, "finance", email))

    with pytest.raises(StepUpRequired):
        await mint()
    await client.step_up()
    invited = world.client()
    answer = await invited.enrol(await mint("fin@example.org"), "Fin@example.org")
    assert answer.json()["user"]["roles"] == ["finance"]
    row = world.rows(sa.select(store.enrolments).where(store.enrolments.c.role == "finance"))[0]
    assert row.used_by == answer.json()["user"]["id"]
    token = (await mint("fin@example.org")).rpartition("/")[2]
    other = await world.client().post("/enrol/options", {"token": token, "email": "eve@example.org"})
    assert other.status_code == 403  # the link is for one address
    assert ("identity.enrolment.mint", "success") in world.events()
