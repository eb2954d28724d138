"""Who gets where in the console, and that no change goes through without the page's own token."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Route

from redoubt import console
from tests.console.world import World

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ID = "0190a1b2-0000-7000-8000-000000000000"
# Every route of the console: what is sent, what an operator gets, and whether finance gets past the door.
ROUTES = {
    "GET /console": ({}, 200, True),
    "GET /console/approvals": ({}, 200, True),
    "GET /console/approvals/{id}": ({}, 404, True),
    "POST /console/approvals/{id}/options": ({}, 404, True),
    "POST /console/approvals/{id}/approve": ({"credential": {}}, 404, True),
    "POST /console/approvals/{id}/reject": ({"reason": "no"}, 404, True),
    "GET /console/audit": ({}, 200, False),
    "GET /console/audit/{id}": ({}, 404, False),
    "GET /console/policies": ({}, 200, False),
    "GET /console/policies/{id}": ({}, 404, False),
    "GET /console/policies/playground": ({}, 200, False),
    "GET /console/policies/decisions/{id}": ({}, 404, False),
    "GET /console/switches": ({}, 200, False),
    "POST /console/switches/kill": ({"capability": "login", "reason": "test"}, 200, False),
    "POST /console/switches/enable": ({"capability": "login", "ticket": "T-1"}, 401, False),
    "GET /console/enrolments": ({}, 200, False),
    "POST /console/enrolments": ({"role": "customer"}, 401, False),
    "GET /console/emergencies": ({}, 200, False),
    "POST /console/emergencies": ({"user": "x", "role": "finance", "minutes": "1"}, 401, False),
    "POST /console/emergencies/end": ({"user": "x", "role": "finance"}, 401, False),
}


def test_the_table_names_every_route(world: World) -> None:
    routes: list[Route] = console.routes(world.guard)
    declared = {
        f"{method} {route.path}" for route in routes for method in (route.methods or ()) if method != "HEAD"
    }
    assert declared == set(ROUTES)


async def test_every_route_asks_who_it_is(world: World) -> None:
    nobody, customer = world.browser(), await world.person("customer")
    support, finance = await world.person("support"), await world.person("finance")
    operator = await world.person("operator")
    for name, (body, expected, for_finance) in ROUTES.items():
        method, path = name.replace("{id}", ID).split(" ")
        answers = {}
        for person in (nobody, customer, support, finance, operator):
            answer = await (person.get(path) if method == "GET" else person.post(path, body))
            answers[person] = answer
        assert answers[nobody].status_code == 401, name
        assert answers[customer].status_code == answers[support].status_code == 403, name
        assert answers[operator].status_code == expected, (name, answers[operator].text)
        assert answers[finance].status_code == (expected if for_finance else 403), name
        for refused in (answers[nobody], answers[customer]):
            assert refused.headers["content-type"] == "application/problem+json"
            assert ID not in refused.text.replace(refused.json()["request_id"], "")
    assert [one.actor_id for one in world.events("switch.kill")] == [operator.id]
    denied = [one for one in world.events("authz.decide") if one.outcome == "denied"]
    assert {one.actor_id for one in denied} >= {customer.id, support.id, finance.id}


async def test_nobody_is_sent_to_the_login_page_and_back(world: World) -> None:
    answer = await world.browser().page("/console/audit")
    assert (answer.status_code, answer.headers["location"]) == (303, "/auth/login?next=%2Fconsole%2Faudit")


async def test_every_change_needs_the_token_and_the_own_origin(world: World) -> None:
    operator, other = await world.person("operator"), await world.person("operator")
    await operator.step_up()
    changes = {name: body for name, (body, _, _) in ROUTES.items() if name.startswith("POST")}
    for name, body in changes.items():
        path = name.split(" ")[1].replace("{id}", ID)
        forged = [
            await operator.post(path, body, **{"x-csrf-token": ""}),
            await operator.post(path, body, **{"x-csrf-token": other.csrf}),
            await operator.post(path, body, origin="https://evil.example"),
            await operator.post(path, body, origin="null"),
            await operator.http.post(
                path, data={**_flat(body), "csrf_token": "x"}, headers={"accept": "text/html"}
            ),
        ]
        assert [answer.status_code for answer in forged] == [403] * 5, name
        assert {answer.json()["code"] for answer in forged[:4]} == {"forged"}, name
    for action in ("switch.kill", "approval.create", "identity.enrolment.mint"):
        assert world.events(action) == []


async def test_tabs_lead_only_where_the_reader_may_go(world: World) -> None:
    finance, operator = await world.person("finance"), await world.person("operator")
    tabs = r'<nav class="tabs".*?</nav>'
    for person, count in ((finance, 2), (operator, 7)):
        page = (await person.page("/console")).text
        found = re.search(tabs, page, re.S)
        assert found is not None
        links = re.findall(r'href="([^"]+)"', found[0])
        assert len(links) == count
        for link in links:
            assert (await person.page(link)).status_code == 200, link
    for link in re.findall(r'href="(/console[^"]*)"', (await finance.page("/console")).text):
        assert (await finance.page(link)).status_code == 200, link


@pytest.mark.parametrize(
    "path", ["", "/approvals", "/audit", "/policies", "/policies/playground", "/switches", "/enrolments"]
)
async def test_every_page_has_a_json_face(world: World, path: str) -> None:
    operator = await world.person("operator")
    page, data = await operator.page(f"/console{path}"), await operator.get(f"/console{path}")
    assert page.headers["content-type"].startswith("text/html")
    assert isinstance(data.json(), dict)
    for answer in (page, data):
        assert answer.headers["cache-control"] == "no-store"
        assert "'unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["", "/approvals", "/audit", "/policies", "/policies/playground", "/switches", "/enrolments"]
)
async def test_pages_have_one_heading_labels_and_nothing_inline(world: World, path: str) -> None:
    operator = await world.person("operator")
    await operator.form("/console/switches/kill", capability="login", tenant="*", reason="test")
    text = (await operator.page(f"/console{path}")).text
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    labelled = set(re.findall(r'<label[^>]*\sfor="([^"]+)"', text))
    for tag in re.findall(r"<(?:input|select|textarea)[^>]*>", text):
        found = re.search(r'\sid="([^"]+)"', tag)
        assert 'type="hidden"' in tag or (found and found[1] in labelled), tag


def _flat(body: object) -> dict[str, str]:
    return {key: str(value) for key, value in dict(body).items()}  # type: ignore[call-overload]
