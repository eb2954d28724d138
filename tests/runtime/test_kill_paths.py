"""A kill spares the ways to end it, and nothing of the app that merely begins with the same letters."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from redoubt.audit import Actor
from redoubt.core.problem import Problem
from redoubt.guard import switches
from redoubt.runtime.request import GuardedRequest
from tests.console.world import World


def asked(world: World, path: str) -> GuardedRequest:
    return GuardedRequest(
        guard=world.guard, request_id="r", method="POST", path=path, headers=Headers(), client_address="203.0.113.9",
        user_agent="", body=b"", session_token=None, sent_pre=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/accounts", "/account_notes/x", "/consoles/1/edit", "/healthzone", "/authors"]
)
async def test_an_entity_whose_name_begins_like_a_page_of_ours_is_killed_too(world: World, path: str) -> None:
    await kill(world, "all")
    with pytest.raises(Problem) as refused:
        world.guard.check_switches(asked(world, path))
    assert refused.value.status == 503


@pytest.mark.parametrize(
    "path", ["/console", "/console/switches/kill", "/account/sessions/revoke-all", "/auth/logout"]
)
async def test_the_ways_to_end_a_kill_stay_open(world: World, path: str) -> None:
    await kill(world, "all")
    world.guard.check_switches(asked(world, path))


async def kill(world: World, capability: str) -> None:
    await world.core.db.write(
        lambda tx: switches.kill(tx, world.core, capability, by=Actor("operator", "op"), reason="test")
    )
    await world.guard.services.switches.refresh()
