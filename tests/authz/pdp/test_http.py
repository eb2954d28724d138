"""What a decision point owes its callers besides decisions: who may ask, what is refused, what is on record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from redoubt.audit import Event
from redoubt.authz.decide import DenyAll
from redoubt.authz.models import AuthzRequest, Decision, Entity
from redoubt.authz.pdp import BearerCallers, MemorySource, Pep, pdp_routes
from redoubt.authz.pdp.callers import token_hash
from redoubt.core.base import Core
from redoubt.guard.limits import Limiter

from .world import BLIND, GATEWAY, IDENTIFIER, OWNED, OWNED_POLICIES, Listening, decider, listening, records

OWNERS = [{"id": f"{number:03}", "owner": "alice" if number % 2 else "bob"} for number in range(60)]
SOURCE = records(OWNERS, [{"id": "alice"}, {"id": "bob"}])
ASK: dict[str, Any] = {
    "subject": {"type": "user", "id": "alice"},
    "action": {"name": "delete"},
    "resource": {"type": "record", "id": "001"},
}
BOBS = {"type": "record", "id": "002"}


@pytest.fixture
async def pdp(core: Core) -> AsyncIterator[Listening]:
    async with listening(core, SOURCE, decider(OWNED, OWNED_POLICIES)) as found:
        yield found


async def test_nobody_unknown_is_answered(pdp: Listening) -> None:
    for headers in ({}, {"Authorization": "Bearer " + "x" * 40}, {"Authorization": "Basic " + GATEWAY}):
        for path in ("evaluation", "evaluations", "search/subject", "search/resource", "search/action"):
            answer = await pdp.client.post(f"/access/v1/{path}", json=ASK, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "decision" not in answer.json()
    assert pdp.events == []


async def test_two_authorization_headers_are_nobody(pdp: Listening) -> None:
    twice = [("Authorization", f"Bearer {GATEWAY}"), ("Authorization", f"Bearer {BLIND}")]
    assert (await pdp.client.post("/access/v1/evaluation", json=ASK, headers=twice)).status_code == 401


def test_tokens_that_can_be_guessed_or_are_shared_are_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        token_hash("short")
    with pytest.raises(ValueError, match="share"):
        BearerCallers([(Pep("a"), token_hash(GATEWAY)), (Pep("b"), token_hash(GATEWAY))])


async def test_a_decision_says_why_only_to_who_may_know(pdp: Listening) -> None:
    known = (await pdp.ask("evaluation", ASK)).json()
    assert known["decision"] is True
    assert known["context"]["policies"] == ["owner"]
    assert (await pdp.ask("evaluation", ASK, BLIND)).json() == {"decision": True}


async def test_every_decision_is_on_record_with_its_caller(pdp: Listening) -> None:
    await pdp.ask("evaluation", ASK, **{"X-Request-ID": "r-1"})
    await pdp.ask("evaluation", {**ASK, "resource": BOBS})
    allowed, denied = pdp.events
    assert (allowed.outcome, allowed.actor.id, allowed.request_id) == ("success", "gateway", "r-1")
    assert allowed.data["reasons"] == ["owner"]
    assert (denied.outcome, denied.target) == ("denied", ("record", "002"))


async def test_without_a_record_there_is_no_answer(core: Core) -> None:
    async def broken(event: Event) -> None:
        raise OSError("disk full at /secret")

    async with listening(core, SOURCE, decider(OWNED, OWNED_POLICIES), record=broken) as pdp:
        answer = await pdp.ask("evaluation", ASK)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "decision" not in answer.json()


async def test_where_no_policies_can_be_trusted_all_is_denied(core: Core) -> None:
    async with listening(core, SOURCE, DenyAll("the store is corrupt")) as pdp:
        assert (await pdp.ask("evaluation", ASK, BLIND)).json() == {"decision": False}
        found = (await pdp.ask("search/action", ASK)).json()
    assert found["results"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"subject": {"type": "user", "id": "mallory"}},
        {"subject": {"type": "robot", "id": "alice"}},
        {"resource": {"type": "record", "id": "999"}},
        {"resource": {"type": "__cedar::record", "id": "001"}},
        {"action": {"name": "purge"}},
        {"action": {"name": 'delete" == "delete'}},
        {"action": {"name": "delete", "properties": {"force": True}}},
        {"context": {"undeclared": 1}},
        {"context": {"__entity": {"type": "user", "id": "alice"}}},
        {"context": {"half": 0.5}},
        {"context": {"nothing": None}},
        {"resource": {**BOBS, "properties": {"owner": "alice"}}},
        {"subject": {"type": "user", "id": "alice", "properties": {"name": "bob"}}, "resource": BOBS},
    ],
)
async def test_what_is_unknown_or_only_claimed_is_denied(pdp: Listening, change: dict[str, Any]) -> None:
    answer = await pdp.ask("evaluation", {**ASK, **change}, BLIND)
    assert (answer.status_code, answer.json()) == (200, {"decision": False})


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {key: ASK[key] for key in ("subject", "action")},
        {**ASK, "subject": "alice"},
        {**ASK, "subject": {"type": "user"}},
        {**ASK, "subject": {"type": "user", "id": 7}},
        {**ASK, "subject": {"type": "user", "id": ""}},
        {**ASK, "subject": {"type": "user", "id": "a" * 513}},
        {**ASK, "action": {"name": None}},
        {**ASK, "context": "now"},
        {**ASK, "resource": {**BOBS, "properties": []}},
        {**ASK, "context": {"action": 1}, "action": {"name": "view", "properties": {"a": 1}}},
    ],
)
async def test_a_request_that_cannot_be_read_is_a_problem_and_no_decision(pdp: Listening, body: Any) -> None:
    answer = await pdp.ask("evaluation", body, **{"X-Request-ID": "r-2"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "r-2"
    assert "decision" not in answer.json()
    assert pdp.events == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"subject": 1, "subject": 2}', "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"context": ' + b'{"a":' * 40 + b"1" + b"}" * 41, "application/json", 400),
        (b" " * 300_000, "application/json", 413),
        (b"{}", "text/plain", 400),
    ],
)
async def test_hostile_bodies_are_refused(pdp: Listening, content: bytes, kind: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {GATEWAY}", "Content-Type": kind}
    answer = await pdp.client.post("/access/v1/evaluation", content=content, headers=headers)
    assert answer.status_code == status


async def test_a_request_id_comes_back_as_it_was_sent(pdp: Listening) -> None:
    assert (await pdp.ask("evaluation", ASK, **{"X-Request-ID": "a b/c"})).headers["x-request-id"] == "a b/c"
    assert "x-request-id" not in (await pdp.ask("evaluation", ASK)).headers
    assert (await pdp.ask("evaluation", ASK, **{"X-Request-ID": "x" * 201})).status_code == 400


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        (None, [True, False, True]),
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
async def test_a_batch_stops_where_its_semantic_says(
    pdp: Listening, semantic: str | None, expected: list[bool]
) -> None:
    body: dict[str, Any] = {**ASK, "evaluations": [{}, {"resource": BOBS}, {}]}
    if semantic:
        body["options"] = {"evaluations_semantic": semantic}
    answer = (await pdp.ask("evaluations", body, BLIND)).json()
    assert answer == {"evaluations": [{"decision": item} for item in expected]}
    assert len(pdp.events) == len(expected)


async def test_an_item_that_cannot_be_read_is_denied_by_itself(pdp: Listening) -> None:
    body = {"subject": ASK["subject"], "action": ASK["action"], "evaluations": [{}, 7, ASK]}
    first, second, third = (await pdp.ask("evaluations", body, BLIND)).json()["evaluations"]
    assert first["decision"] is False
    assert first["context"]["error"]["status"] == 400
    assert second["decision"] is False
    assert third == {"decision": True}


async def test_a_batch_without_items_is_one_question(pdp: Listening) -> None:
    assert (await pdp.ask("evaluations", ASK, BLIND)).json() == {"decision": True}


async def test_batches_are_bounded_and_their_semantics_known(pdp: Listening) -> None:
    assert (await pdp.ask("evaluations", {**ASK, "evaluations": [{}] * 101})).status_code == 400
    odd = {**ASK, "evaluations": [{}], "options": {"evaluations_semantic": "allow_all"}}
    assert (await pdp.ask("evaluations", odd)).status_code == 400


async def test_pages_of_a_search_join_up_and_agree_with_evaluation(pdp: Listening) -> None:
    found: list[dict[str, str]] = []
    page: dict[str, Any] = {"limit": 7}
    while True:
        body = {**ASK, "resource": {"type": "record"}, "page": page}
        answer = (await pdp.ask("search/resource", body)).json()
        assert len(answer["results"]) == answer["page"]["count"] <= 7
        found += answer["results"]
        if not answer["page"]["next_token"]:
            break
        page = {"limit": 7, "token": answer["page"]["next_token"]}
    assert [item["id"] for item in found] == [item["id"] for item in OWNERS if item["owner"] == "alice"]
    for item in found[:5]:
        assert (await pdp.ask("evaluation", {**ASK, "resource": item})).json()["decision"] is True


async def test_a_page_token_goes_on_with_its_own_search_alone(pdp: Listening) -> None:
    body = {**ASK, "resource": {"type": "record"}, "page": {"limit": 3}}
    token = (await pdp.ask("search/resource", body)).json()["page"]["next_token"]
    assert token
    other = {**body, "subject": {"type": "user", "id": "bob"}, "page": {"token": token}}
    assert (await pdp.ask("search/resource", other)).status_code == 400
    turned = ("A" if token[0] != "A" else "B") + token[1:]
    for wrong in (turned, token + "AAAA", "zz", "é"):
        assert (await pdp.ask("search/resource", {**body, "page": {"token": wrong}})).status_code == 400
    assert (await pdp.ask("search/resource", {**body, "page": {"token": token}})).status_code == 200


@pytest.mark.parametrize("page", [7, {"limit": 0}, {"limit": True}, {"limit": "9"}, {"token": 5}])
async def test_an_odd_page_is_refused(pdp: Listening, page: Any) -> None:
    body = {**ASK, "page": page}
    assert (await pdp.ask("search/resource", body)).status_code == 400


async def test_one_page_looks_at_a_bounded_number_of_candidates(core: Core) -> None:
    asked = []

    class Counting:
        def decide(self, request: AuthzRequest) -> Decision:
            asked.append(request.resource.id)
            return Decision(request.resource.id == "x1199")

    many = MemorySource(
        [Entity("user", "alice"), *(Entity("record", f"x{number:04}") for number in range(1200))], {}
    )
    body: dict[str, Any] = {**ASK, "resource": {"type": "record"}}
    async with listening(core, many, Counting()) as pdp:
        answer = (await pdp.ask("search/resource", body)).json()
        assert answer["results"] == []
        assert answer["page"]["next_token"]
        assert len(asked) == 500
        while answer["page"]["next_token"]:
            body["page"] = {"token": answer["page"]["next_token"]}
            answer = (await pdp.ask("search/resource", body)).json()
    assert answer["results"] == [{"type": "record", "id": "x1199"}]
    assert len(asked) == 1200


async def test_who_may_not_search_learns_nothing_by_searching(pdp: Listening) -> None:
    for wanted in ("subject", "resource", "action"):
        answer = await pdp.ask(f"search/{wanted}", ASK, BLIND)
        assert answer.status_code == 403
        assert "results" not in answer.json()


async def test_discovery_names_every_endpoint(pdp: Listening) -> None:
    answer = await pdp.client.get("/.well-known/authzen-configuration")
    found = answer.json()
    assert found.pop("policy_decision_point") == IDENTIFIER
    assert len(found) == 5
    for url in found.values():
        asked = await pdp.ask(url.removeprefix(f"{IDENTIFIER}/access/v1/"), ASK)
        assert asked.status_code == 200, url


def test_an_identifier_that_the_standard_does_not_allow_is_refused(core: Core) -> None:
    for wrong in ("http://pdp.example", "https://pdp.example/?a", "https://pdp.example/#a", "pdp.example"):
        with pytest.raises(ValueError, match="https"):
            pdp_routes(None, wrong, BearerCallers([]))  # type: ignore[arg-type]


async def test_a_caller_beyond_its_rate_is_told_to_wait(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    from redoubt.authz.pdp import app
    from redoubt.guard.limits import Rule

    monkeypatch.setattr(app, "RULE", Rule("authzen", 2, 60))
    async with listening(core, SOURCE, decider(OWNED, OWNED_POLICIES), limiter=Limiter(core)) as pdp:
        codes = [(await pdp.ask("evaluation", ASK)).status_code for _ in range(3)]
        other = await pdp.ask("evaluation", ASK, BLIND)
    assert codes == [200, 200, 429]
    assert other.status_code == 200
