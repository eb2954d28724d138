"""A schema that changes together with its policies: what only the older one could say is never taken for nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest

from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.prove import Comparison, compare, compare_under
from redoubt.authz.prove.world import World
from redoubt.authz.schema import read_schema

SCHEMA = """
entity Group; entity Kind enum ["a", "b"];
entity User in [Group] {{ level: Long, {mfa}, {more} }} tags String;
entity Doc {{ owner: User }};
action read appliesTo {{ principal: User, resource: Doc, context: {{ risk: Long{context} }} }};
"""
ALL = "permit (principal, action, resource);"


def schema(mfa: str = "mfa?: Bool", more: str = "kind: Kind", context: str = "") -> str:
    return SCHEMA.format(mfa=mfa, more=more, context=context)


BASE = schema()


def made(text: str, *policies: str) -> PolicySet:
    lines = "\n".join(f'@id("p{number}") {policy}' for number, policy in enumerate(policies))
    return parse(PolicySource(text, {"a.cedar": lines}))


def when(condition: str, effect: str = "permit") -> str:
    return f"{effect} (principal, action, resource) when {{ {condition} }};"


def verdict(old: tuple[str, ...], new: tuple[str, ...]) -> Comparison:
    return compare(made(*old), made(*new), budget_seconds=30)


def test_what_the_older_schema_required_may_be_missing_now() -> None:
    always = when("principal.mfa || !principal.mfa")
    found = verdict((schema(mfa="mfa: Bool"), always), (BASE, ALL))
    assert found.verdict == "wider"
    (witness,) = [item.witness for item in found.environments if item.witness is not None]
    assert all("mfa" not in entity.attrs for entity in witness.entities if entity.uid == witness.principal)


def test_the_same_for_what_a_request_brings() -> None:
    old = (schema(context=", known: Bool"), when("context.known || !context.known"))
    assert verdict(old, (schema(context=", known?: Bool"), ALL)).verdict == "wider"


@pytest.mark.parametrize(
    ("old", "new", "forbid"),
    [
        (BASE, schema(mfa="mfa?: String"), "principal has mfa && principal.mfa"),
        (BASE, schema().replace("level: Long, ", ""), "principal.level > 3"),
        (BASE, schema().replace("level: Long", "level: String"), "principal.level > 3"),
        (BASE, schema().replace("User in [Group]", "User"), 'principal in Group::"banned"'),
        (BASE, schema().replace(" tags String", ""), 'principal.hasTag("banned")'),
        (BASE, schema(mfa="mfa: Bool"), "!(principal has mfa)"),
        (BASE, schema().replace('["a", "b"]', '["b"]'), 'principal.kind == Kind::"a"'),
        (schema(context=", bad: Bool"), BASE, "context.bad"),
        (schema(context=", bad?: Bool"), BASE, "context has bad"),
        (schema(context=", bad?: Bool"), schema(context=", bad: Bool"), "!(context has bad)"),
    ],
)
def test_a_forbid_that_its_schema_can_no_longer_say_is_not_lost_unseen(
    old: str, new: str, forbid: str
) -> None:
    """Who it stopped is let through, although no store of the newer schema shows them."""
    found = verdict((old, ALL, when(forbid, "forbid")), (new, ALL))
    assert found.widens, found


def test_a_scope_that_its_schema_can_no_longer_say_is_not_lost_either() -> None:
    old = (BASE, ALL, 'forbid (principal in Group::"banned", action, resource);')
    assert verdict(old, (schema().replace("User in [Group]", "User"), ALL)).widens


@pytest.mark.parametrize(
    "new",
    [
        schema(more="kind: Kind, nick?: String"),
        schema(more="kind: Kind, rank: Long"),
        schema() + "entity Other;",
        schema().replace("entity Group;", "entity Org; entity Group in [Org];"),
        schema(context=", extra?: Long"),
        schema().replace("level: Long", '@doc("years") level: Long'),
    ],
)
def test_what_no_policy_reads_changes_nothing(new: str) -> None:
    policies = (when('principal.level > 3 && principal in Group::"x"'), when("context.risk > 5", "forbid"))
    assert verdict((BASE, *policies), (new, *policies)).verdict == "equal"
    wider = (policies[0].replace("> 3", "> 2"), policies[1])
    assert verdict((BASE, *policies), (new, *wider)).verdict == "wider"


def test_a_new_membership_that_a_policy_comes_to_read_is_seen() -> None:
    old = (schema().replace("User in [Group]", "User"), when("principal.level > 3"))
    new = (BASE, when('principal.level > 3 || principal in Group::"x"'))
    assert verdict(old, new).verdict == "wider"


MORE = " action write appliesTo { principal: User, resource: Doc, context: {} };"


def test_an_environment_that_is_gone_took_what_it_allowed_and_nothing_else() -> None:
    allowed = verdict((BASE + MORE, ALL), (BASE, ALL))
    gone = [item for item in allowed.environments if item.environment.action.id == "write"]
    assert [item.verdict for item in gone] == ["narrower"]
    for nothing in (
        (when("context.risk > 1").replace("action,", 'action == Action::"read",'),),
        (
            ALL.replace("action", 'action == Action::"read"'),
            when('"a" like "b"').replace("action,", 'action == Action::"write",'),
        ),
        (ALL, 'forbid (principal, action == Action::"write", resource);'),
    ):
        found = verdict((BASE + MORE, *nothing), (BASE, *(item for item in nothing if "write" not in item)))
        assert found.verdict == "equal", nothing


def test_an_environment_that_comes_back_is_new() -> None:
    back = verdict((BASE, ALL.replace("action", 'action == Action::"read"')), (
        BASE + MORE, ALL.replace("action", 'action == Action::"read"'), ALL.replace("action", 'action == Action::"write"'),
    ))  # fmt: skip
    assert back.verdict == "new"


def test_terms_are_built_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves with each term: long before all are built the time is over, and nothing is claimed."""
    built = 0
    true = World.tick

    def tick(self: Any) -> None:
        nonlocal built
        built += 1
        true(self)

    moment = time.monotonic()
    monkeypatch.setattr(World, "tick", tick)
    monkeypatch.setattr("redoubt.authz.prove.world.time.monotonic", lambda: moment + built / 100)
    conditions = " && ".join(f'principal in Group::"g{number}"' for number in range(30))
    old, new = made(BASE, when(conditions)), made(BASE, when(conditions.replace(" && ", " || ")))
    schemas = read_schema(BASE)
    found = compare_under(old, schemas, new, schemas, budget_seconds=1)
    assert found.verdict == "unknown"
    assert "out of time" in found.environments[0].reason
    assert built <= 120
