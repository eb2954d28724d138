"""Enrolment links: minted by an operator with a fresh passkey, shown once, good for one person."""

from __future__ import annotations

import re

import pytest

from tests.console.world import World

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_minting_needs_a_fresh_passkey(world: World) -> None:
    operator = await world.person("operator")
    refused = await operator.post("/console/enrolments", {"role": "finance"})
    assert (refused.status_code, refused.json()["code"]) == (401, "step-up-required")
    assert refused.headers["www-authenticate"].startswith('Bearer error="insufficient_user_authentication"')
    page = await operator.form("/console/enrolments", role="finance")
    assert page.status_code == 401
    assert world.events("identity.enrolment.mint") == []


async def test_a_link_lets_one_person_join_with_its_role(world: World) -> None:
    operator = await world.person("operator")
    await operator.step_up()
    minted = await operator.post("/console/enrolments", {"role": "finance", "email": " Fay@Example.org"})
    assert minted.status_code == 201, minted.text
    url = minted.json()["url"]
    stranger, finance = world.browser(), world.browser()
    token = url.rpartition("/")[2]
    wrong = await stranger.post("/enrol/options", {"token": token, "email": "eve@example.org"})
    assert wrong.status_code in (401, 403, 422)
    await finance.enrol(url, "fay@example.org")
    assert (await finance.session())["user"]["roles"] == ["finance"]
    again = await stranger.post("/enrol/options", {"token": token, "email": "fay@example.org"})
    assert again.status_code in (401, 403)
    (event,) = world.events("identity.enrolment.mint")
    assert event.actor_id == operator.id
    assert token not in event.body


async def test_the_form_shows_the_link_once(world: World) -> None:
    operator = await world.person("operator")
    await operator.step_up()
    page = await operator.form("/console/enrolments", role="support", email="")
    found = re.search(r"https://test\.localhost:8443/enrol/[\w-]+", page.text)
    assert found is not None
    assert page.headers["cache-control"] == "no-store"
    assert found[0] not in (await operator.page("/console/enrolments")).text


async def test_only_declared_roles_can_be_given(world: World) -> None:
    operator = await world.person("operator")
    await operator.step_up()
    for body in (
        {"role": "root"},
        {"role": ""},
        {},
        {"role": ["operator"]},
        {"role": "support", "email": "no address"},
    ):
        assert (await operator.post("/console/enrolments", body)).status_code == 422, body
    assert world.events("identity.enrolment.mint") == []
