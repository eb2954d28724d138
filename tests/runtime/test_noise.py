"""Nobody fills the audit log: what needs no account is recorded a few times a minute and then counted."""

from __future__ import annotations

import sqlalchemy as sa

from redoubt.audit.noise import EACH
from redoubt.audit.store import entries
from tests.console.world import JSON, World

ASKED = EACH * 3


def count(world: World, action: str) -> int:
    found: int = world.rows(sa.select(sa.func.count()).where(entries.c.action == action))[0][0]
    return found


async def test_denied_strangers_are_counted_after_the_first(world: World) -> None:
    stranger = world.browser()
    for _ in range(ASKED):
        assert (await stranger.get("/console")).status_code == 401
    assert count(world, "authz.decide") == EACH
    await world.guard.services.noise.flush(everything=True)
    assert count(world, "authz.decide") == EACH + 1
    assert f'"suppressed":{ASKED - EACH}' in str(world.events("authz.decide")[-1].body).replace(" ", "")


async def test_refused_card_numbers_are_counted_after_the_first(world: World) -> None:
    stranger = world.browser()
    for _ in range(ASKED):
        assert (await stranger.http.get("/?q=4242424242424242", headers=JSON)).status_code == 422
    assert count(world, "payment.card_refused") == EACH


async def test_what_a_known_person_is_denied_is_always_recorded(world: World) -> None:
    someone = await world.person("customer")
    before = count(world, "authz.decide")
    for _ in range(ASKED):
        assert (await someone.get("/console")).status_code == 403
    assert count(world, "authz.decide") == before + ASKED
