"""Mutants of policies: one small, plausible mistake each, as an editor makes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, Literal

from attrs import frozen

from ..explain import condition_text, conjuncts

Kind = Literal[
    "removed",
    "effect flipped",
    "scope widened",
    "condition dropped",
    "condition negated",
    "operator changed",
    "constant changed",
    "made true",
]
_ANY = {"op": "All"}
_SWAPS = {
    "==": ("!=",), "!=": ("==",), "<=": ("<",), "<": ("<=",), ">=": (">",), ">": (">=",), "&&": ("||",), "||": ("&&",),
    "+": ("-",), "-": ("+",),
}  # fmt: skip
_TRUTHS = frozenset({"==", "!=", "<", "<=", ">", ">=", "has", "like", "in", "is", "contains", "containsAll"})
_TRUE = {"Value": True}
_FIRST, _LAST = -(2**63), 2**63 - 1


@frozen
class Mutant:
    """A policy with one mistake in it (None: it is gone), what was done, and where, in Cedar's own words."""

    policy_id: str
    kind: Kind
    where: str
    policy: Mapping[str, Any] | None


def mutants(
    policies: Mapping[str, Mapping[str, Any]], only: frozenset[str] | None = None
) -> Iterator[Mutant]:
    """Yield every mutant of `policies` (JSON forms by @id), or of those in `only`; each differs from all others."""
    for identity, policy in sorted(policies.items()):
        if only is not None and identity not in only:
            continue
        seen = {json.dumps(policy, sort_keys=True)}
        for kind, where, changed in _of(policy):
            key = json.dumps(changed, sort_keys=True)
            if key not in seen:
                seen.add(key)
                yield Mutant(identity, kind, where, changed)


def _of(policy: Mapping[str, Any]) -> Iterator[tuple[Kind, str, dict[str, Any] | None]]:
    yield "removed", str(policy["effect"]), None
    other = "forbid" if policy["effect"] == "permit" else "permit"
    yield "effect flipped", f"{policy['effect']} to {other}", {**policy, "effect": other}
    for name in ("principal", "action", "resource"):
        if policy[name] != _ANY:
            yield "scope widened", name, {**policy, name: _ANY}
        if "in" in policy[name]:
            nearer = {key: item for key, item in policy[name].items() if key != "in"}
            yield "scope widened", f"{name}, its group", {**policy, name: nearer}
    for place, condition in enumerate(policy["conditions"]):
        for kind, where, changed in _condition(condition):
            rest = list(policy["conditions"])
            rest[place : place + 1] = [] if changed is None else [changed]
            yield kind, where, {**policy, "conditions": rest}


def _condition(condition: Mapping[str, Any]) -> Iterator[tuple[Kind, str, dict[str, Any] | None]]:
    parts = conjuncts(condition["body"]) if condition["kind"] == "when" else [condition["body"]]
    for place, part in enumerate(parts):
        where = condition_text({"kind": condition["kind"], "body": part})
        others = [*parts[:place], *parts[place + 1 :]]
        yield "condition dropped", where, _joined(condition, others)
        negated = [*parts[:place], {"!": {"arg": part}}, *parts[place + 1 :]]
        yield "condition negated", where, _joined(condition, negated)
        for kind, changed in _rewrites(part, whole=True):
            yield kind, where, _joined(condition, [*parts[:place], changed, *parts[place + 1 :]])


def _joined(condition: Mapping[str, Any], parts: list[Any]) -> dict[str, Any] | None:
    if not parts:
        return None
    body = reduce(lambda left, right: {"&&": {"left": left, "right": right}}, parts)
    return {**condition, "body": body}


def _rewrites(node: Any, *, whole: bool = False) -> Iterator[tuple[Kind, Any]]:
    """Yield the expressions in which exactly one node of `node` differs; `whole` is a condition of its own."""
    if isinstance(node, list):
        for place, item in enumerate(node):
            for kind, changed in _rewrites(item):
                yield kind, [*node[:place], changed, *node[place + 1 :]]
        return
    if not isinstance(node, Mapping):
        return
    if len(node) == 1:
        yield from _here(node, whole)
    for key, inner in node.items():
        if key not in ("Value", "Var", "attr", "pattern", "entity_type"):
            for kind, changed in _rewrites(inner):
                yield kind, {**node, key: changed}


def _here(node: Mapping[str, Any], whole: bool) -> Iterator[tuple[Kind, Any]]:
    ((op, inner),) = node.items()
    for swapped in _SWAPS.get(op, ()):
        yield "operator changed", {swapped: inner}
    if op == "!":
        yield "operator changed", inner["arg"]
    if op in _TRUTHS and not whole:  # a whole condition made true is a dropped one
        yield "made true", _TRUE
    if op == "Value":
        for value in _other(inner):
            yield "constant changed", {"Value": value}


def _other(value: Any) -> Iterable[Any]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return tuple(near for near in (value - 1, value + 1) if _FIRST <= near <= _LAST)
    if isinstance(value, str):
        return (value + "~",)
    if isinstance(value, Mapping) and "__entity" in value:
        entity = value["__entity"]
        return ({"__entity": {**entity, "id": entity["id"] + "~"}},)
    return ()
