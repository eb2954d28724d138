"""A set by itself inside its standing invariants: what the first version of a store is held to, as later changes are.

A change is compared with what runs; the first set has nothing to be compared with, so every environment of it is new, and is
held to the tenant, to nobody and to the declared invariants (`redoubt.authz.prove.invariants`). A look finds it where the
policies say so plainly, as those that a spec compiles to do; the solvers are asked for the rest. What is not proven in time,
or not at all without the extra `prove`, is refused. What was proven is kept by the set's content address for the life of the
process.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from ..access import ANONYMOUS_TYPE
from ..policyset import PolicySet
from ..prove.rules import NOBODY, TENANT, invariant_ids, outside
from ..prove.verdicts import Comparison, EnvironmentVerdict
from ..schema import Schema, read_schema
from ..schema.types import Environment
from .judging import breach_refusals
from .refusals import Refusal

BUDGET = 60.0
"""Seconds that the proof about one set may take."""
RULE = "invariant"
_KEPT = 64
_proven: OrderedDict[str, None] = OrderedDict()


def standing_refusals(policies: PolicySet, *, budget_seconds: float = BUDGET) -> list[Refusal]:
    """Return why a checked set is refused as the first of a store, an environment at a time; empty: it lies inside.

    Blocks for about `budget_seconds` at most. Raises SchemaError.
    """
    if policies.version in _proven:
        return []
    schema = read_schema(policies.schema_text)
    places = [place for place in schema.environments() if not _plainly_inside(policies, schema, place)]
    refused = _asked(policies, schema, places, budget_seconds) if places else []
    if not refused:
        _proven[policies.version] = None
        while len(_proven) > _KEPT:
            _proven.popitem(last=False)
    return refused


def _asked(
    policies: PolicySet, schema: Schema, places: list[Environment], budget_seconds: float
) -> list[Refusal]:
    """Return what the solvers show or leave open of `places`."""
    try:
        from ..prove.invariants import held

        fresh = tuple(EnvironmentVerdict(place, "new", fresh=True) for place in places)
        verdicts, breaches = held(fresh, policies, schema, time.monotonic() + budget_seconds)
    except ImportError as error:
        why = f"nothing can be proven without the extra 'prove': {error}"
        return [_unproven(place, why) for place in places]
    except Exception as error:  # whatever breaks in a prover, nothing is proven
        return [_unproven(place, f"the prover failed: {type(error).__name__}") for place in places]
    open_ones = [_unproven(item.environment, item.reason) for item in verdicts if item.verdict == "unknown"]
    return [*breach_refusals(Comparison(verdicts, breaches=breaches)), *open_ones]


def _unproven(place: Environment, why: str) -> Refusal:
    where = f"{place.principal} · {place.action.id} · {place.resource}"
    return Refusal(RULE, where, f"it is not proven to lie inside the standing invariants: {why}")


def _plainly_inside(policies: PolicySet, schema: Schema, place: Environment) -> bool:
    """Say whether each permit that can apply says by itself that it keeps all rules, and no declared invariant can apply."""
    declared = invariant_ids(policies)
    applying = [
        (name, policy) for name, policy in policies.policies.items() if _can_apply(policy, schema, place)
    ]
    permits = [policy for _, policy in applying if policy["effect"] == "permit"]
    if not permits:
        return True
    if any(name in declared for name, _ in applying):
        return False
    beyond = outside(schema.actions[place.action])
    if place.principal.rpartition("::")[2] == ANONYMOUS_TYPE and NOBODY not in beyond:
        return False
    ends = (place.principal, place.resource)
    tenants = any(TENANT in schema.entities[kind].shape.attributes for kind in ends)
    return TENANT in beyond or not tenants or all(_holds_tenant(policy) for policy in permits)


def _can_apply(policy: Mapping[str, Any], schema: Schema, place: Environment) -> bool:
    """Say whether the scope lets a policy apply in an environment; True where that is not plain."""
    actions = {place.action, *schema.action_ancestors(place.action)}
    named = [policy["action"]["entity"]] if "entity" in policy["action"] else policy["action"].get("entities")
    if named is not None and not any(
        (uid.type, uid.id) == (one.get("type"), one.get("id")) for one in named for uid in actions
    ):
        return False
    return all(
        _fits(policy[end], kind, schema)
        for end, kind in (("principal", place.principal), ("resource", place.resource))
    )


def _fits(scope: Mapping[str, Any], kind: str, schema: Schema) -> bool:
    if scope["op"] == "is" and scope["entity_type"] != kind:
        return False
    inner = scope.get("in", scope)
    target = (inner.get("entity") or {}).get("type")
    if target is None:
        return True
    if scope["op"] == "==":
        return bool(target == kind)
    return target == kind or target in schema.ancestor_types(kind)


def _holds_tenant(policy: Mapping[str, Any]) -> bool:
    """Say whether a condition is, or begins as a conjunction with others, `principal.tenant == resource.tenant`."""
    return any(
        part == {"==": {"left": _tenant_of(one), "right": _tenant_of(other)}}
        for condition in policy["conditions"]
        if condition["kind"] == "when"
        for part in _conjuncts(condition["body"])
        for one, other in (("principal", "resource"), ("resource", "principal"))
    )


def _tenant_of(end: str) -> dict[str, Any]:
    return {".": {"left": {"Var": end}, "attr": TENANT}}


def _conjuncts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting = [body]
    while waiting:
        one = waiting.pop()
        if one.keys() == {"&&"}:
            waiting += [one["&&"]["left"], one["&&"]["right"]]
        else:
            yield one
