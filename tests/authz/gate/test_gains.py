"""Who gains by a change: as an exhaustive search of small stores on the reference engine says, person by person."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator

import pytest

from redoubt.authz.changes import difference
from redoubt.authz.decide import Decider
from redoubt.authz.gate import examine, role_holders, with_nobody
from redoubt.authz.models import AuthzRequest, Caller, Entity, app_entity, collection_entity, user_uid
from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.prove.gains import gaining
from redoubt.authz.roles import Roles
from redoubt.authz.schema import Environment, read_schema
from redoubt.cli.policy_proposals import evidence_lines
from redoubt.core.base import Core

from ..model import WIDER, policies, source
from .world import ANN, BOB, begin

PEOPLE = with_nobody(
    Caller(name, tenant, roles).principal()
    for name, tenant, roles in (
        ("cora", "main", ("customer",)),
        ("carl", "main", ("customer",)),
        ("sue", "main", ("support",)),
        ("both", "main", ("customer", "support")),
        ("fin", "main", ("finance",)),
        ("none", "main", ()),
        ("sam", "other", ("support",)),
        ("named", "main", ()),
    )
)


def edited(name: str, old: str, new: str) -> PolicySet:
    before = source()
    assert sum(text.count(old) for text in before.policies.values()) >= 1, (name, old)
    return parse(
        PolicySource(before.schema, {key: text.replace(old, new) for key, text in before.policies.items()})
    )


def added(text: str) -> PolicySet:
    before = source()
    return parse(PolicySource(before.schema, {**before.policies, "extra.cedar": text}))


EDITS = {
    "support may update": policies(WIDER),
    "one more point of risk": edited("risk", "context.risk <= 50", "context.risk <= 51"),
    "any state": edited("state", '["draft"].contains(resource.state)', "true"),
    "a person by name": added(
        '@id("x") permit (principal == User::"named", action == Action::"Order.read", resource is Order);'
    ),
    "anybody but one": added(
        '@id("x") permit (principal is User, action == Action::"Order.read", resource is Order)'
        ' when { principal != User::"carl" && principal.tenant == "main" };'
    ),
    "nobody too": added(
        '@id("x") permit (principal, action == Action::"Order.read", resource is Order)'
        " when { principal.tenant == resource.tenant && context.risk == 7 };"
    ),
}


def questions(person: Entity, environment: Environment) -> Iterator[AuthzRequest]:
    """Every question of a small scope that this person can ask in an environment."""
    for tenant, owner, state, risk, step_up in itertools.product(
        ("main", "other"), (person.id, "somebody"), ("draft", "paid"), (0, 7, 50, 51), (False, True)
    ):
        if environment.resource == "Collection":
            resource = collection_entity("Order", tenant, owner)
        elif environment.resource == "App":
            resource = app_entity(tenant)
        else:
            attrs = {"tenant": tenant, "owner": user_uid(owner), "state": state}
            if environment.resource == "Product":
                attrs = {"tenant": tenant}
            resource = Entity(environment.resource, "r", attrs)
        context = {"risk": risk, "step_up": step_up}
        yield AuthzRequest.of(person, environment.action.id, resource, context)


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_exactly_those_gain_who_gain_somewhere_in_a_small_scope(edit: str) -> None:
    old, new = policies(), EDITS[edit]
    schema = read_schema(old.schema_text)
    before, after = Decider(old), Decider(new)
    compared = examine(old, new, budget_seconds=60).comparison
    places = [item.environment for item in compared.environments if item.verdict == "wider"]
    assert places
    for place in places:
        gain = gaining(old, schema, new, schema, place, PEOPLE, time.monotonic() + 60)
        assert gain.undecided == ()
        expected = {
            person.uid
            for person in PEOPLE
            if person.type == place.principal
            and any(
                after.decide(asked).allowed and not before.decide(asked).allowed
                for asked in questions(person, place)
            )
        }
        assert set(gain.people) == expected, place


def test_without_time_nobody_is_cleared() -> None:
    schema = read_schema(policies().schema_text)
    place = next(item for item in schema.environments() if item.action.id == "Order.update")
    gain = gaining(
        policies(), schema, EDITS["support may update"], schema, place, PEOPLE, time.monotonic() - 1
    )
    assert gain.people == ()
    assert {uid.id for uid in gain.undecided} == {one.id for one in PEOPLE if one.type == place.principal}


def test_a_proposal_names_who_would_gain(core: Core) -> None:
    begin(core)
    roles = Roles(core)

    def give(tx: object) -> list[Entity]:
        for user, role in ((ANN, "operator"), (BOB, "operator"), ("sue", "support"), ("cora", "customer")):
            roles.assign(tx, "main", user, role, "test")  # type: ignore[arg-type]
        return role_holders(tx)  # type: ignore[arg-type]

    people = core.db.write_sync(give)
    found = examine(policies(), policies(WIDER), budget_seconds=60, people=with_nobody(people))
    assert found.evidence["gains"] == [
        {"where": "User · Order.update · Order", "type": "User", "ids": ["sue"], "count": 1, "undecided": 0}
    ]


def test_where_nothing_is_proven_nobody_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redoubt.authz.prove.solve._second", lambda text, milliseconds: "unknown")
    old = policies()
    tighter = edited("risk", "context.risk <= 50", "context.risk <= 49")
    found = examine(old, tighter, budget_seconds=30, people=PEOPLE)
    assert found.verdict == "unknown"
    (gain,) = found.evidence["gains"]
    assert (gain["count"], gain["undecided"]) == (0, len([one for one in PEOPLE if one.type == "User"]))
    lines = "\n".join(evidence_lines(found.evidence, difference(old, tighter), {}))
    assert "not known; of 8 it could not be said" in lines
    assert "nobody" not in lines


def test_without_solvers_the_command_does_not_say_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redoubt.authz.prove.engine", None)
    monkeypatch.setitem(sys.modules, "redoubt.authz.prove.gains", None)
    old, new = policies(), policies(WIDER)
    found = examine(old, new, budget_seconds=30, people=PEOPLE)
    assert (found.verdict, found.evidence["gains"]) == ("unknown", [])
    assert "who gains is not known" in "\n".join(evidence_lines(found.evidence, difference(old, new), {}))
