"""Limits that bite attackers and never the real user."""

from __future__ import annotations

from datetime import timedelta

import pytest

from redoubt.core.clock import ManualClock
from redoubt.identity.network import host_of, network_of
from tests.identity.world import Client, World


@pytest.fixture
def database_url(one_database: str) -> str:
    return one_database


async def burst(client: Client, path: str, body: object, count: int) -> list[int]:
    return [(await client.post(path, body)).status_code for _ in range(count)]


def elsewhere(world: World, number: int) -> Client:
    return world.client(f"198.51.{number}.66")


async def test_a_burst_from_one_address_is_told_to_wait(world: World, clock: ManualClock) -> None:
    client = world.client()
    statuses = await burst(client, "/auth/login/options", {}, 61)
    assert statuses == [200] * 60 + [429]
    answer = await client.post("/auth/login/options")
    assert answer.headers["content-type"] == "application/problem+json"
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait <= 120
    clock.advance(timedelta(seconds=wait))
    assert (await client.post("/auth/login/options")).status_code == 200


async def test_every_login_and_verification_endpoint_has_its_limit(world: World) -> None:
    endpoints = [
        ("/auth/register/options", {"email": "a@example.org"}), ("/auth/register/verify", {}), ("/auth/login/options", {}),
        ("/auth/login/verify", {}), ("/auth/magic", {"email": "a@example.org"}), ("/auth/magic/confirm", {"token": "x"}),
        ("/enrol/options", {"token": "x", "email": "a@example.org"}), ("/enrol/verify", {"token": "x"}),
    ]  # fmt: skip
    for number, (path, body) in enumerate(endpoints):
        assert 429 in await burst(elsewhere(world, number), path, body, 61), path


async def test_signed_in_endpoints_have_limits_too(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    for path in ("/auth/stepup/options", "/auth/stepup/verify", "/account/passkeys/options"):
        assert 429 in await burst(client, path, {}, 61), path


async def test_the_owner_signs_in_while_the_account_is_attacked_from_everywhere(world: World) -> None:
    owner = world.client()
    await owner.register("ada@example.org")
    seen: set[int] = set()
    for number in range(12):
        thief = elsewhere(world, number)
        thief.passkey = owner.passkey
        for _ in range(4):
            seen.add((await thief.login(key=world.passkey().key)).status_code)
    assert seen == {401, 429}
    assert (await owner.login()).status_code == 200
    fresh = elsewhere(world, 200)  # a browser never seen: a passkey that verifies is enough
    fresh.passkey = owner.passkey
    assert (await fresh.login()).status_code == 200


async def test_failures_are_counted_by_account_and_network_first(world: World) -> None:
    owner, near = world.client(), elsewhere(world, 1)
    await owner.register("ada@example.org")
    near.passkey = owner.passkey
    statuses = [(await near.login(key=world.passkey().key)).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    far = elsewhere(world, 2)
    far.passkey = owner.passkey
    assert (await far.login(key=world.passkey().key)).status_code == 401  # its own window


async def test_a_known_browser_passes_where_its_own_address_is_flooded(world: World) -> None:
    owner = world.client("203.0.113.50")
    await owner.register("ada@example.org")
    neighbour = world.client("203.0.113.50")
    assert 429 in await burst(neighbour, "/auth/login/options", {}, 61)
    assert (await owner.login()).status_code == 200


async def test_a_known_browser_has_a_window_too(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    assert 429 in await burst(client, "/auth/login/options", {}, 61)


async def test_nobody_uses_up_somebody_elses_mails(world: World) -> None:
    owner = world.client()
    await owner.register("ada@example.org")
    await owner.post("/auth/logout")
    owner.csrf = ""
    statuses = []
    for number in range(8):
        statuses += await burst(elsewhere(world, number), "/auth/magic", {"email": "ada@example.org"}, 6)
    assert statuses.count(202) <= 20  # the mailbox is not flooded
    assert (await owner.post("/auth/magic", {"email": "ada@example.org"})).status_code == 202
    stranger = elsewhere(world, 99)
    assert (await stranger.post("/auth/magic", {"email": "eve@example.org"})).status_code == 202


async def test_known_and_unknown_addresses_meet_the_same_limit(world: World) -> None:
    await world.client().register("ada@example.org")
    known = await burst(elsewhere(world, 1), "/auth/magic", {"email": "ada@example.org"}, 7)
    unknown = await burst(elsewhere(world, 2), "/auth/magic", {"email": "eve@example.org"}, 7)
    assert known == unknown == [202] * 5 + [429] * 2


async def test_refused_mails_leave_no_job(world: World) -> None:
    import sqlalchemy as sa

    from redoubt.core.jobs import jobs

    await burst(elsewhere(world, 1), "/auth/magic", {"email": "eve@example.org"}, 7)
    assert len(world.rows(sa.select(jobs.c.id))) == 5


def test_what_one_subscriber_holds_counts_as_one() -> None:
    assert host_of("2001:db8:1:2:3::4") == host_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert host_of("::ffff:203.0.113.9") == host_of("203.0.113.9") == "203.0.113.9"
    assert network_of("9.9.9.9") == network_of("9.9.9.200") == "9.9.9.0/24"
    assert network_of("127.0.0.1") != network_of("127.0.0.2")
    assert host_of("x") == network_of("") == "unknown"
