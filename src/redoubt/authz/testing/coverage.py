"""Run policy tests, and say which policies decided and which outcomes their conditions were seen to have.

A condition is one conjunct of a `when`, or an `unless`. It is looked at only where the scope and all conditions before
it let the policy come that far: what is skipped there is not covered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import cedarpy
from attrs import frozen

from ..decide import Decider
from ..explain import condition_text, conjuncts
from ..models import AuthzRequest
from ..policyset import PolicySet, engine_of
from ..reference import candidates
from .cases import Case

Outcome = Literal["true", "false", "error"]
_ANY = {"op": "All"}


@frozen
class Failure:
    """A case that was decided otherwise than expected, as one sentence."""

    case: Case
    why: str


@frozen
class Coverage:
    """Of one policy: whether it determined a decision, and each condition's text with the outcomes seen."""

    policy_id: str
    decided: bool
    conditions: tuple[tuple[str, frozenset[Outcome]], ...]

    @property
    def branches(self) -> tuple[int, int]:
        """Return how many of the branches true and false were seen, and how many there are; errors do not count."""
        seen = sum(len(outcomes & {"true", "false"}) for _, outcomes in self.conditions)
        return seen, 2 * len(self.conditions)


@frozen
class Report:
    """What a run of tests found."""

    cases: int
    failures: tuple[Failure, ...]
    coverage: tuple[Coverage, ...]

    @property
    def policies_percent(self) -> float:
        """Return the share of policies that determined some decision, 0 to 100."""
        return _percent(sum(item.decided for item in self.coverage), len(self.coverage))

    @property
    def branches_percent(self) -> float:
        """Return the share of the conditions' branches that were seen, 0 to 100."""
        pairs = [item.branches for item in self.coverage]
        return _percent(sum(seen for seen, _ in pairs), sum(total for _, total in pairs))


def run(policies: PolicySet, cases: Iterable[Case], only: frozenset[str] | None = None) -> Report:
    """Decide every case by `policies`; coverage is of the policies in `only`, or of all."""
    decider = Decider(policies)
    failures: list[Failure] = []
    decided: set[str] = set()
    seen: dict[tuple[str, int], set[Outcome]] = {}
    measured = {key: policy for key, policy in policies.policies.items() if only is None or key in only}
    count = 0
    for case in cases:
        count += 1
        decision = decider.decide(case.request)
        decided |= set(decision.reasons)
        why = wrong(case, decision.allowed, decision.reasons, decision.errors)
        if why is not None:
            failures.append(Failure(case, why))
        for identity, policy in candidates(policies, case.request.action, case.request.resource.type):
            if identity not in measured:
                continue
            for number, outcome in _outcomes(policies, policy, case.request):
                seen.setdefault((identity, number), set()).add(outcome)
    coverage = tuple(
        Coverage(
            identity,
            identity in decided,
            tuple(
                (text, frozenset(seen.get((identity, number), ())))
                for number, (_, _, text) in enumerate(_conditions(policy))
            ),
        )
        for identity, policy in sorted(measured.items())
    )
    return Report(count, tuple(failures), coverage)


def wrong(case: Case, allowed: bool, reasons: tuple[str, ...], errors: tuple[str, ...]) -> str | None:
    """Return how an answer differs from what a case expects, or None."""
    by = ", ".join(reasons) or "no policy"
    if allowed is not case.allow:
        wanted, got = ("allow", "deny") if case.allow else ("deny", "allow")
        return f"expected {wanted}, got {got} by {by}" + (f" ({'; '.join(errors)})" if errors else "")
    if case.by is not None and case.by not in reasons:
        return f"expected by {case.by}, got {'allow' if allowed else 'deny'} by {by}"
    return None


def _outcomes(
    policies: PolicySet, policy: Mapping[str, Any], request: AuthzRequest
) -> Iterator[tuple[int, Outcome]]:
    conditions = list(_conditions(policy))
    scope = {key: policy[key] for key in ("principal", "action", "resource")}
    if not conditions or _ask(policies, scope, [], request) != "true":
        return
    for number, (kind, body, _) in enumerate(conditions):
        outcome = _ask(policies, {}, [{"kind": "when", "body": body}], request)
        yield number, outcome
        if outcome != ("true" if kind == "when" else "false"):
            return


def _conditions(policy: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    for condition in policy["conditions"]:
        kind = condition["kind"]
        for body in conjuncts(condition["body"]) if kind == "when" else [condition["body"]]:
            yield kind, body, condition_text({"kind": kind, "body": body})


def _ask(
    policies: PolicySet, scope: Mapping[str, Any], conditions: list[dict[str, Any]], request: AuthzRequest
) -> Outcome:
    part = {
        "effect": "permit",
        "principal": _ANY,
        "action": _ANY,
        "resource": _ANY,
        **scope,
        "conditions": conditions,
        "annotations": {},
    }
    try:
        values = request.values()
        question = {key: values[key] for key in ("principal", "action", "resource", "context")}
        answer = cedarpy.is_authorized(
            question, engine_of({"part": part}), values["entities"], schema=policies.schema
        )
    except Exception:
        return "error"
    if answer.diagnostics.errors:
        return "error"
    return "true" if answer.diagnostics.reasons else "false"


def _percent(part: int, whole: int) -> float:
    return 100.0 if whole == 0 else 100.0 * part / whole
