"""What reads a question in one pass finds what reading it step by step finds, or leaves it to that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redoubt.authz.compiled.conform import Conformer
from redoubt.authz.compiled.onepass import NotPlain, OnePass
from redoubt.authz.decide import Decider
from redoubt.authz.models import AuthzRequest, Entity, EntityUid, Extension
from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.schema import read_schema

SCHEMA = """
entity Team in [Team] { "a \\"quoted\\" name"?: Bool };
entity User in [Team] { name: String, level: Long, active: Bool, boss?: User, "__odd"?: String } tags String;
entity Colour enum ["red", "green"];
entity Doc in [Doc] { owner: User, state: String, labels?: Set<String>, place?: { lat: Long, note?: String },
  from?: ipaddr, price?: decimal, colour?: Colour };
action all;
action read in [all] appliesTo { principal: [User], resource: [Doc], context: { risk: Long, step_up: Bool, via?: ipaddr } };
action paint in [all] appliesTo { principal: [User, Colour], resource: [Doc, Colour], context: {} };
"""
POLICIES = """
@id("own") permit (principal is User, action == Action::"read", resource is Doc)
  when { resource.owner == principal && context.risk < 50 };
@id("team") permit (principal in Team::"t", action in Action::"all", resource);
@id("far") forbid (principal, action, resource is Doc) when { resource has place && resource.place.lat > 80 };
@id("tag") forbid (principal is User, action, resource) when { principal.hasTag("out") && principal.getTag("out") == "y" };
"""
TEXTS = st.sampled_from(["", "a", "red", "t", 'a "q" \\', "ž\u2028", "\ud800", "__x"])
USERS = st.builds(EntityUid, st.just("User"), TEXTS)
TEAMS = st.builds(EntityUid, st.just("Team"), TEXTS)
DOCS = st.builds(EntityUid, st.just("Doc"), TEXTS)
COLOURS = st.builds(EntityUid, st.just("Colour"), TEXTS)
LONGS = st.sampled_from([0, 1, 49, 81, -(2**63), 2**63 - 1, 2**63])
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.just(1.5), TEXTS, LONGS, st.booleans(), USERS, st.just({"__entity": 1}), st.just(["a", 1])
)


def record(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Records that are mostly as they should be: one in some lacks a member, has one too many, or a wrong value."""
    right = st.fixed_dictionaries(required, optional=optional)
    wrong = st.tuples(right, st.sampled_from([*required, *optional, "unknown"]), ODD | st.just(KeyError))
    return right | right | wrong.map(_spoilt)


def _spoilt(given: tuple[dict[str, Any], str, Any]) -> dict[str, Any]:
    values, name, odd = given
    kept = {key: item for key, item in values.items() if key != name}
    return kept if odd is KeyError else {**kept, name: odd}


USER = record({"name": TEXTS, "level": LONGS, "active": st.booleans()}, {"boss": USERS, "__odd": TEXTS})
DOC = record(
    {"owner": USERS, "state": TEXTS},
    {
        "labels": st.lists(TEXTS, max_size=3) | st.frozensets(TEXTS, max_size=2),
        "place": record({"lat": LONGS}, {"note": TEXTS}),
        "from": st.builds(Extension, st.just("ip"), st.sampled_from([("10.0.0.1",), ("nowhere",)])),
        "price": st.builds(Extension, st.just("decimal"), st.sampled_from([("1.5",), ("1.23456",)])),
        "colour": COLOURS,
    },
)
SOMEBODY = st.builds(
    Entity, st.just("User"), TEXTS, USER, st.lists(TEAMS | USERS, max_size=2),
    st.dictionaries(st.sampled_from(["out", "in"]), st.sampled_from(["y", "n", 1]), max_size=1),
    st.sampled_from([None, True]).map(lambda kept: {} if kept else None),
)  # fmt: skip
SOMETHING = st.builds(Entity, st.just("Doc"), TEXTS, DOC, st.just(()) | st.lists(DOCS, max_size=1))
TEAM = st.builds(Entity, st.just("Team"), TEXTS, st.just({}), st.lists(TEAMS, max_size=1))
OTHER = st.builds(Entity, st.sampled_from(["Action", "Nothing", "Colour"]), TEXTS)
CONTEXT = record(
    {"risk": LONGS, "step_up": st.booleans()},
    {"via": st.builds(Extension, st.just("ip"), st.just(("10.0.0.1",)))},
)


@st.composite
def requests(draw: st.DrawFn) -> AuthzRequest:
    who, what = draw(SOMEBODY), draw(SOMETHING)
    more = draw(st.lists(SOMEBODY | SOMETHING | TEAM | OTHER, max_size=2) | st.just([]))
    action = draw(st.sampled_from(["read", "read", "read", "paint", "all", "unheard of"]))
    context = draw(CONTEXT if action == "read" else st.just({}))
    principal = draw(st.just(who.uid) | st.just(who.uid) | USERS | COLOURS)
    resource = draw(st.just(what.uid) | st.just(what.uid) | DOCS | COLOURS)
    return AuthzRequest(principal, EntityUid("Action", action), resource, context, (who, what, *more))


@pytest.fixture(scope="module")
def decider() -> Decider:
    return Decider(parse(PolicySource(SCHEMA, {"all.cedar": POLICIES})), shadow_every=1_000_000_000)


@settings(max_examples=300, deadline=None)
@given(request=requests())
def test_a_question_is_answered_as_step_by_step(decider: Decider, request: AuthzRequest) -> None:
    assert decider.decide(request) == decider._decide_by_steps(request)


def test_plain_questions_take_one_pass_and_others_do_not(decider: Decider) -> None:
    schema = read_schema(decider.policies.schema_text)
    one_pass = OnePass(schema, Conformer(schema))
    ann = Entity(
        "User", "ann", {"name": "Ann", "level": 3, "active": True}, (EntityUid("Team", "t"),), kept={}
    )
    doc = Entity("Doc", "d", {"owner": ann.uid, "state": "open", "labels": ["x"]})
    plain = AuthzRequest.of(ann, "read", doc, {"risk": 1, "step_up": False})
    for _ in range(2):  # the second time from what is kept
        question, text = one_pass.read(plain)
        assert question.entities.keys() == {("Action", "read"), ("User", "ann"), ("Doc", "d")}
        assert text == decider.decide(plain).written
        assert decider.decide(plain).allowed
    for odd in (
        AuthzRequest.of(ann, "read", doc, {"risk": True, "step_up": False}),
        AuthzRequest.of(ann, "read", doc, {"risk": 1}),
        AuthzRequest.of(ann, "read", doc, {"risk": 1, "step_up": False, "more": 1}),
        AuthzRequest.of(ann, "write", doc, {}),
        AuthzRequest.of(doc, "read", ann, {"risk": 1, "step_up": False}),
        AuthzRequest.of(
            ann,
            "read",
            Entity("Doc", "d", {"owner": doc.uid, "state": "open"}),
            {"risk": 1, "step_up": False},
        ),
    ):
        with pytest.raises(NotPlain):
            one_pass.read(odd)
        assert not decider.decide(odd).allowed
        assert decider.decide(odd).errors
