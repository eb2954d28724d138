"""Explain: which policies decided, which erred, and for a deny, which came near and what failed first in each.

Works on any policies, not only on generated ones: each condition is asked of the engine by itself, after those
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import cedarpy
from attrs import frozen

from .decide import Decider
from .models import AuthzRequest, Decision
from .policyset import PolicySet, engine_of, render
from .reference import candidates

Failed = Literal[
    "role", "owner", "tenant", "risk", "step-up", "amount", "state", "resource", "action", "condition"
]
_ATTRIBUTES: tuple[tuple[str, str, Failed], ...] = (
    ("context", "risk", "risk"),
    ("context", "step_up", "step-up"),
    ("context", "amount", "amount"),
    ("resource", "owner", "owner"),
    ("resource", "state", "state"),
    ("resource", "tenant", "tenant"),
    ("principal", "tenant", "tenant"),
)
_ANY = {"op": "All"}


@frozen
class Candidate:
    """A permit that was about this action and resource type but did not apply: what failed first, as text."""

    policy_id: str
    failed: Failed
    condition: str


@frozen
class Explanation:
    """A decision with its grounds."""

    decision: Decision
    determining: Mapping[str, str]
    erring: tuple[str, ...]
    candidates: tuple[Candidate, ...]

    def lines(self) -> list[str]:
        """Return the explanation as text, one statement a line."""
        decision = self.decision
        result = [f"{'ALLOW' if decision.allowed else 'DENY'} under policies {decision.version[:12]}"]
        result += [f"determined by {identity!r}:\n{text}" for identity, text in self.determining.items()]
        result += [f"error: {error}" for error in self.erring]
        if not decision.allowed and not self.determining:
            if not self.candidates:
                result.append("no policy is about this action on this kind of resource: denied by default")
            result += [
                f"candidate {item.policy_id!r} failed on {item.failed}: {item.condition}"
                for item in self.candidates
            ]
        return result


def explain(policies: PolicySet, request: AuthzRequest) -> Explanation:
    """Decide `request` by `policies` and say why."""
    decision = Decider(policies).decide(request)
    determining = {
        identity: policies.texts.get(identity, "") or render(policies.policies[identity])
        for identity in decision.reasons
    }
    near: tuple[Candidate, ...] = ()
    if not decision.allowed and not determining:
        near = tuple(_near(policies, request))
    return Explanation(decision, determining, decision.errors, near)


def _near(policies: PolicySet, request: AuthzRequest) -> Iterator[Candidate]:
    for identity, policy in candidates(policies, request.action, request.resource.type):
        if policy["effect"] != "permit":
            continue
        for failed, text, partial in _stages(policy):
            if not _holds(policies, request, partial):
                yield Candidate(identity, failed, text)
                break


def _stages(policy: Mapping[str, Any]) -> Iterator[tuple[Failed, str, dict[str, Any]]]:
    """Yield, in order of evaluation, each part of a policy with a policy that holds it and all before it."""
    base: dict[str, Any] = {
        "effect": "permit",
        "principal": policy["principal"],
        "action": _ANY,
        "resource": _ANY,
        "conditions": [],
        "annotations": {},
    }
    text = _scope_text(policy)
    yield "role", text, dict(base)
    base["action"] = policy["action"]
    yield "action", text, dict(base)
    base["resource"] = policy["resource"]
    yield "resource", text, dict(base)
    held: list[dict[str, Any]] = []
    for condition in policy["conditions"]:
        parts = conjuncts(condition["body"]) if condition["kind"] == "when" else [condition["body"]]
        for part in parts:
            held.append({"kind": condition["kind"], "body": part})
            yield _kind_of(part), condition_text(held[-1]), {**base, "conditions": list(held)}


def conjuncts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the parts that `&&` joins in the JSON form of an expression, in order of evaluation."""
    inner = body.get("&&") if set(body) == {"&&"} else None
    return [body] if inner is None else [*conjuncts(inner["left"]), *conjuncts(inner["right"])]


def _holds(policies: PolicySet, request: AuthzRequest, policy: Mapping[str, Any]) -> bool:
    try:
        values = request.values()
        question = {key: values[key] for key in ("principal", "action", "resource", "context")}
        return bool(
            cedarpy.is_authorized(
                question, engine_of({"part": policy}), values["entities"], schema=policies.schema
            ).allowed
        )
    except Exception:
        return False


def _kind_of(part: Mapping[str, Any]) -> Failed:
    found = set(_reads(part))
    return next((kind for var, attr, kind in _ATTRIBUTES if (var, attr) in found), "condition")


def _reads(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for operator in (".", "has"):
            inner = node.get(operator)
            if (
                isinstance(inner, Mapping)
                and isinstance(inner.get("left"), Mapping)
                and "Var" in inner["left"]
            ):
                yield inner["left"]["Var"], str(inner.get("attr", ""))
        for item in node.values():
            yield from _reads(item)
    elif isinstance(node, list):
        for item in node:
            yield from _reads(item)


def _scope_text(policy: Mapping[str, Any]) -> str:
    bare = {**policy, "conditions": [], "annotations": {}}
    return render(bare).rstrip(";")


def condition_text(condition: Mapping[str, Any]) -> str:
    """Return a condition in JSON form as Cedar text, its `when` or `unless` included."""
    bare = {
        "effect": "permit",
        "principal": _ANY,
        "action": _ANY,
        "resource": _ANY,
        "conditions": [dict(condition)],
        "annotations": {},
    }
    text = render(bare).rstrip(";").strip()
    return text[text.index(condition["kind"]) :]
