"""The fixtures that the AuthZEN working group published, all 272, asked over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from redoubt.authz.models import Entity
from redoubt.authz.pdp import MemorySource
from redoubt.core.base import Core

from .world import (
    OWNED,
    OWNED_POLICIES,
    ROUTE_POLICIES,
    ROUTES,
    TODO,
    TODO_POLICIES,
    decider,
    fixture,
    listening,
    people,
    records,
)

SEARCH = "authzen-search-demo"


def by_name(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(results, key=lambda item: sorted(item.items()))


async def test_the_todo_scenario_is_decided_as_published(core: Core) -> None:
    given = fixture("authzen-todo-backend/test/decisions-authorization-api-1_0-02.json")
    source = MemorySource(people("user"), {}, claims={"todo": ["ownerID"]}, open_types=["todo"])
    async with listening(core, source, decider(TODO, TODO_POLICIES)) as pdp:
        for case in given["evaluation"]:
            answer = (await pdp.ask("evaluation", case["request"])).json()
            assert answer["decision"] is case["expected"], case["request"]
        for case in given["evaluations"]:
            answer = (await pdp.ask("evaluations", case["request"])).json()
            found = [{"decision": item["decision"]} for item in answer["evaluations"]]
            assert found == case["expected"], case["request"]
    assert (len(given["evaluation"]), len(given["evaluations"])) == (40, 3)


async def test_the_gateway_scenario_is_decided_as_published(core: Core) -> None:
    given = fixture("authzen-api-gateways/test-harness/test/decisions.json")["evaluation"]
    paths = {case["request"]["resource"]["id"] for case in given}
    source = MemorySource([*people("identity"), *(Entity("route", path) for path in paths)], {})
    async with listening(core, source, decider(ROUTES, ROUTE_POLICIES)) as pdp:
        for case in given:
            answer = (await pdp.ask("evaluation", case["request"])).json()
            assert answer["decision"] is case["expected"], case["request"]
    assert len(given) == 25


@pytest.mark.parametrize(("wanted", "count"), [("subject", 60), ("resource", 18), ("action", 120)])
async def test_the_search_scenario_finds_what_is_published(core: Core, wanted: str, count: int) -> None:
    given = fixture(f"{SEARCH}/test/{wanted}/results.json")["evaluation"]
    source = records(fixture(f"{SEARCH}/data/records.json"), fixture(f"{SEARCH}/data/users.json"))
    async with listening(core, source, decider(OWNED, OWNED_POLICIES)) as pdp:
        for case in given:
            answer = (await pdp.ask(f"search/{wanted}", case["request"])).json()
            assert by_name(answer["results"]) == by_name(case["expected"]["results"]), case["request"]
            assert answer["page"] == {"next_token": "", "count": len(answer["results"])}
    assert len(given) == count


async def test_the_identity_provider_scenario_finds_what_is_published(core: Core) -> None:
    given = fixture("authzen-idp/test-harness/src/results.json")["search"]
    source = records(fixture("authzen-idp/data/records.json"), fixture("authzen-idp/data/users.json"))
    async with listening(core, source, decider(OWNED, OWNED_POLICIES)) as pdp:
        for case in given:
            answer = (await pdp.ask("search/resource", case["request"])).json()
            assert by_name(answer["results"]) == by_name(case["expected"]["results"]), case["request"]
    assert len(given) == 6
