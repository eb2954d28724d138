"""Break-glass in the console: asked for with a fresh passkey, approved by another, seen by all, ended by anyone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.console.world import Person, World

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def wanted(who: str, **changes: str) -> dict[str, str]:
    return {
        "user": who,
        "role": "finance",
        "minutes": "15",
        "ticket": "T",
        "reason": "the till is stuck",
        **changes,
    }


async def can_refund(world: World, person: Person) -> bool:
    return (await person.get("/console/approvals")).status_code == 200


async def test_a_role_for_minutes_by_two_seen_by_all(world: World) -> None:
    ann, bob = await world.person("operator"), await world.person("operator")
    sue = await world.person("support", "sue")
    assert not await can_refund(world, sue)
    assert (await ann.post("/console/emergencies", wanted(sue.id))).status_code == 401  # no fresh passkey
    await ann.step_up()
    asked = await ann.post("/console/emergencies", wanted(sue.id))
    assert asked.status_code == 202, asked.text
    approval = asked.json()["approval_id"]
    assert (await ann.approve(approval)).status_code == 403
    assert not await can_refund(world, sue)
    assert (await bob.approve(approval)).status_code == 200
    await world.pass_time(timedelta(seconds=1))
    assert await can_refund(world, sue)
    overview = (await bob.page("/console")).text
    assert "Break-glass:" in overview
    assert sue.email in overview
    await world.pass_time(timedelta(minutes=15))
    assert not await can_refund(world, sue)
    assert "Break-glass:" not in (await bob.page("/console")).text


async def test_anyone_who_may_ends_it_at_once(world: World) -> None:
    ann, bob = await world.person("operator"), await world.person("operator")
    sue = await world.person("support", "sue")
    await ann.step_up()
    asked = await ann.post("/console/emergencies", wanted(sue.id))
    assert (await bob.approve(asked.json()["approval_id"])).status_code == 200
    await bob.step_up()
    assert sue.email in (await bob.page("/console/emergencies")).text
    ended = await bob.post("/console/emergencies/end", {"user": sue.id, "role": "finance"})
    assert ended.status_code == 200
    await world.pass_time(timedelta(seconds=1))
    assert not await can_refund(world, sue)
    again = await bob.post("/console/emergencies/end", {"user": sue.id, "role": "support"})
    assert again.status_code == 404  # a role that is no emergency stays
    assert len(world.events("authz.break-glass.open")) == 1


@pytest.mark.parametrize(
    "changes", [{"user": "nobody"}, {"role": "root"}, {"minutes": "61"}, {"minutes": "x"}, {"minutes": "0"}]
)
async def test_what_cannot_be_asked_is_refused(world: World, changes: dict[str, str]) -> None:
    ann = await world.person("operator")
    await ann.step_up()
    assert (await ann.post("/console/emergencies", wanted(ann.id, **changes))).status_code == 422


async def test_others_see_no_such_page(world: World) -> None:
    finance = await world.person("finance")
    assert (await finance.page("/console/emergencies")).status_code == 403
