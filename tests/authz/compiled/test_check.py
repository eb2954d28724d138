"""Requests held to a schema: refused exactly where the reference engine refuses them."""

from __future__ import annotations

from typing import Any

import cedarpy
import pytest

from redoubt.authz.compiled import CedarError, question_of
from redoubt.authz.compiled.check import RequestChecker
from redoubt.authz.models import AuthzRequest
from redoubt.authz.schema import read_schema

SCHEMA = """
entity User; entity Doc; entity Colour enum ["red", "blue"];
action read appliesTo { principal: [User, Colour], resource: [Doc], context: {
  risk: Long, mfa: Bool, who?: User, names: Set<String>, flags: Set<Bool>, colour?: Colour,
  ip?: ipaddr, inner?: { n: Long, s?: String }, many?: Set<{ n: Long }> } };
"""
GOOD: dict[str, Any] = {"risk": 1, "mfa": True, "names": ["a"], "flags": []}
CONTEXTS: list[dict[str, Any]] = [
    {},
    {"risk": True},
    {"mfa": 1},
    {"risk": "1"},
    {"names": [1]},
    {"names": "a"},
    {"flags": [True, False]},
    {"flags": [1]},
    {"who": {"__entity": {"type": "User", "id": "u"}}},
    {"who": {"__entity": {"type": "Doc", "id": "u"}}},
    {"colour": {"__entity": {"type": "Colour", "id": "red"}}},
    {"colour": {"__entity": {"type": "Colour", "id": "green"}}},
    {"ip": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}}},
    {"ip": {"__extn": {"fn": "decimal", "arg": "1.0"}}},
    {"inner": {"n": 1}},
    {"inner": {"s": "x"}},
    {"inner": {"n": 1, "more": 2}},
    {"many": [{"n": 1}, {"n": 2}]},
    {"many": [{"n": True}]},
    {"more": 1},
]
UIDS = [("User", "u"), ("Doc", "d"), ("Colour", "red"), ("Colour", "green"), ("Nobody", "n")]


def _theirs(request: dict[str, Any]) -> bool:
    try:
        answer = cedarpy.is_authorized(
            request, "permit (principal, action, resource);", "[]", schema=cedarpy.Schema.from_str(SCHEMA)
        )
    except ValueError:
        return False
    return answer.decision is cedarpy.Decision.Allow


def _ours(request: dict[str, Any]) -> bool:
    try:
        question = question_of(AuthzRequest.from_values({**request, "entities": []}))
        RequestChecker(read_schema(SCHEMA)).check(question)
    except CedarError:
        return False
    return True


def _request(context: dict[str, Any], principal: Any = UIDS[0], action: str = "read") -> dict[str, Any]:
    return {
        "principal": {"type": principal[0], "id": principal[1]},
        "action": {"type": "Action", "id": action},
        "resource": {"type": "Doc", "id": "d"},
        "context": context,
    }


@pytest.mark.parametrize("changes", CONTEXTS, ids=str)
def test_a_context_is_refused_where_the_reference_engine_refuses_it(changes: dict[str, Any]) -> None:
    request = _request({**GOOD, **changes})
    assert _ours(request) is _theirs(request)


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_context_without_a_required_attribute_is_refused(missing: str) -> None:
    request = _request({name: value for name, value in GOOD.items() if name != missing})
    assert not _ours(request)
    assert not _theirs(request)


@pytest.mark.parametrize("uid", UIDS, ids=str)
def test_a_principal_is_refused_where_the_reference_engine_refuses_it(uid: tuple[str, str]) -> None:
    request = _request(GOOD, uid)
    assert _ours(request) is _theirs(request)


def test_an_unknown_action_is_refused() -> None:
    assert _ours(_request(GOOD))
    assert not _ours(_request(GOOD, action="erase"))
