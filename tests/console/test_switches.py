"""Switching off takes one person and a plain form; switching on takes two."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from redoubt.guard import store as guard_store
from redoubt.guard.errors import Killed
from tests.console.world import World


async def test_a_kill_by_plain_form_is_effective_at_once(world: World) -> None:
    operator, customer = await world.person("operator"), await world.person("customer")
    board = world.guard.services.switches
    board.check("writes", "main")
    answer = await operator.form(
        "/console/switches/kill", capability="writes", tenant="*", reason="an attack"
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/switches")
    with pytest.raises(Killed):
        board.check("writes", "main")
    refused = await customer.post("/api/anything", {})
    assert (refused.status_code, refused.json()["code"]) == (503, "switched-off")
    page = (await operator.page("/console/switches")).text
    assert "an attack" in page
    assert "writes" in (await operator.page("/console")).text
    (event,) = world.events("switch.kill")
    assert (event.actor_id, event.actor_kind, event.target_id) == (operator.id, "operator", "*/writes")


async def test_killing_all_leaves_the_console_and_login_open(world: World) -> None:
    operator = await world.person("operator")
    await operator.form("/console/switches/kill", capability="all", tenant="*", reason="stop everything")
    assert (await operator.get("/console/switches")).status_code == 200
    assert (await world.browser().get("/auth/session")).status_code == 200
    assert (await operator.get("/api/anything")).status_code == 503
    # What was killed can be asked back from here, by the same people.
    await operator.step_up()
    assert (
        await operator.post("/console/switches/enable", {"capability": "all", "ticket": "T"})
    ).status_code == 202


async def test_switching_on_needs_a_fresh_passkey_and_a_second_person(world: World) -> None:
    first, second = await world.person("operator"), await world.person("operator")
    await first.form("/console/switches/kill", capability="writes", tenant="*", reason="test")
    body = {"capability": "writes", "ticket": "T-1"}
    stale = await first.post("/console/switches/enable", body)
    assert (stale.status_code, stale.json()["code"]) == (401, "step-up-required")
    assert stale.headers["www-authenticate"] == 'Bearer error="insufficient_user_authentication", max_age=300'
    await first.step_up()
    asked = await first.form("/console/switches/enable", **body)
    assert asked.status_code == 303
    board = world.guard.services.switches
    with pytest.raises(Killed):
        board.check("writes", "main")  # asking alone changes nothing
    approval = asked.headers["location"].rpartition("/")[2]
    assert (await first.approve(approval)).status_code == 403
    assert (await second.approve(approval)).status_code == 200
    await board.refresh()
    board.check("writes", "main")
    live = await first.post("/console/switches/enable", body)
    assert live.status_code == 409


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_kill_says_what_and_why(world: World) -> None:
    operator = await world.person("operator")
    whole = {"capability": "writes", "tenant": "*", "reason": "test"}
    bad = [
        {**whole, "reason": ""},
        {**whole, "reason": " "},
        {**whole, "reason": "x" * 501},
        {**whole, "reason": "a\0b"},
        {**whole, "capability": "No such"},
        {**whole, "tenant": "a b"},
        {"reason": "test"},
    ]
    for body in bad:
        assert (await operator.form("/console/switches/kill", **body)).status_code == 422, body
        assert (await operator.post("/console/switches/kill", body)).status_code == 422, body
    twice = await operator.http.post(
        "/console/switches/kill",
        content=f"csrf_token={operator.csrf}&capability=login&capability=writes&reason=x",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert twice.status_code == 400
    assert (await operator.post("/console/switches/kill", ["writes"])).status_code == 400
    assert world.rows(sa.select(guard_store.switches)) == []
