"""The decision table: every role, action and relation to the resource with its answer, as text that a diff can show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from attrs import asdict, frozen

from .access import AUTHENTICATED, COLLECTION_TYPE, AccessModel, Action
from .decide import Decider
from .models import (
    AuthzRequest,
    Caller,
    Entity,
    app_entity,
    user_uid,
)
from .policyset import PolicySet, PolicySource, parse
from .rules import compile_policies, compile_schema

Relation = Literal["owner", "other", "other-tenant", "anonymous"]
NO_ROLE = AUTHENTICATED
NOBODY = "anonymous"
_RISKS: tuple[tuple[Literal["low", "high"], int], ...] = (("low", 0), ("high", 100))
_CALLER, _STRANGER = "caller", "stranger"


@frozen(order=True)
class Row:
    """One cell: what was asked and the answer.

    `role` is a declared role, `authenticated` for a session without roles, `anonymous` for nobody. `relation` is the
    caller's to the resource; `state` and `amount` vary only where a rule of the action reads them.
    """

    action: str
    resource: str
    role: str
    relation: Relation
    risk: Literal["low", "high"]
    step_up: bool
    state: str | None
    amount: int | None
    allowed: bool
    reasons: tuple[str, ...] = ()


def decision_table(model: AccessModel, policies: PolicySet | None = None) -> list[Row]:
    """Decide every cell of `model`'s axes, by its own policies or by other `policies` (edited ones, say).

    Raises AccessModelError or PolicyRejected where nothing can be decided by.
    """
    if policies is None:
        policies = parse(PolicySource(compile_schema(model), compile_policies(model)))
    decider = Decider(policies)
    return sorted(
        (row for action in model.actions for row in _rows(model, decider, action)),
        key=lambda row: json.dumps(_plain(row), sort_keys=False),
    )


def render(rows: Sequence[Row]) -> str:
    """Return `rows` as stable JSON, one row a line, so that a changed decision is one changed line."""
    lines = [json.dumps(_plain(row), ensure_ascii=False) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _plain(row: Row) -> dict[str, Any]:
    return asdict(row)


def _rows(model: AccessModel, decider: Decider, action: Action) -> Iterator[Row]:
    for role, relation in _callers(model):
        guard = _guard(role)
        for state in _states(model, action):
            resource = _resource(model, action, relation, state)
            for amount in _amounts(action):
                for risk, score in _RISKS:
                    for step_up in (False, True):
                        context: dict[str, Any] = {"risk": score, "step_up": step_up}
                        if amount is not None:
                            context["amount"] = amount
                        answer = decider.decide(
                            AuthzRequest.of(guard.principal(), action.name, resource, context)
                        )
                        yield Row(
                            action.name,
                            action.resource,
                            role,
                            relation,
                            risk,
                            step_up,
                            state,
                            amount,
                            answer.allowed,
                            answer.reasons,
                        )


def _callers(model: AccessModel) -> Iterator[tuple[str, Relation]]:
    relations: tuple[Relation, ...] = ("owner", "other", "other-tenant")
    for role in (*model.roles, NO_ROLE):
        for relation in relations:
            yield role, relation
    yield NOBODY, "anonymous"


def _guard(role: str) -> Caller:
    if role == NOBODY:
        return Caller()
    return Caller(user_id=_CALLER, roles=frozenset() if role == NO_ROLE else frozenset({role}))


def _states(model: AccessModel, action: Action) -> Sequence[str | None]:
    declared = model.resource(action.resource)
    if action.scope != "object" or declared is None or not declared.states:
        return (None,)
    return declared.states if any(allow.states for allow in action.allow) else declared.states[:1]


def _amounts(action: Action) -> Sequence[int | None]:
    limits = sorted({allow.amount_max for allow in action.allow if allow.amount_max is not None})
    return (None, *(value for limit in limits for value in (limit, limit + 1))) if limits else (None,)


def _resource(model: AccessModel, action: Action, relation: Relation, state: str | None) -> Entity:
    tenant = "elsewhere" if relation == "other-tenant" else "main"
    if action.scope == "app":
        return app_entity(tenant)
    declared = model.resource(action.resource)
    attrs: dict[str, Any] = {"tenant": tenant}
    if declared is not None and declared.owner:
        attrs["owner"] = user_uid(_CALLER if relation == "owner" else _STRANGER)
    if action.scope == "collection":
        return Entity(COLLECTION_TYPE, action.resource, attrs)
    if state is not None:
        attrs["state"] = state
    return Entity(action.resource, "one", attrs)
