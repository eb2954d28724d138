"""Which mutants of the policies no test notices: what the tests would let through, were it edited by mistake."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cedarpy
from attrs import evolve, field, frozen

from ..errors import AuthzError
from ..policyset import PolicySet, engine_of, render, unchecked
from ..prove import compare
from ..reference import Reference, candidates
from .cases import Case
from .coverage import wrong
from .mutants import Mutant, mutants

_EACH = 10.0  # seconds for one proof


class TestsFail(AuthzError):
    """A test fails on the policies as they are, so that nothing can be said of mutants."""

    code = "policy-tests-fail"
    __test__ = False


@frozen
class Outcome:
    """What became of the mutants: noticed by a test, missed by all, proven to decide as before, refused as ill-typed."""

    killed: tuple[Mutant, ...] = ()
    missed: tuple[Mutant, ...] = ()
    equivalent: tuple[Mutant, ...] = ()
    refused: tuple[Mutant, ...] = ()


@frozen
class _Known:
    """A case, and which policies are satisfied in it as they stand."""

    case: Case
    satisfied: frozenset[str] = field(factory=frozenset)


def mutate(
    policies: PolicySet,
    cases: Iterable[Case],
    only: frozenset[str] | None = None,
    *,
    proof_seconds: float = 60.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run the tests against every mutant of `policies`, or of those in `only`.

    A mutant that no test notices is missed, unless it is proven within `proof_seconds` for all to decide as the
    original does on every store that conforms to the schema. Raises TestsFail. `tell` hears of the progress.
    """
    schema = policies.schema_text
    known = _as_they_stand(policies, list(cases))
    found: dict[str, list[Mutant]] = {"killed": [], "missed": [], "equivalent": [], "refused": []}
    for mutant in mutants(policies.policies, only):
        if mutant.policy is not None and not _typed(policies, mutant.policy):
            found["refused"].append(mutant)
        elif _noticed(policies, mutant, known):
            found["killed"].append(mutant)
        else:
            found["missed"].append(mutant)
    tell(f"{len(found['missed'])} mutants were noticed by no test; those that decide as before are left out")
    original = unchecked(policies.policies, schema)
    for mutant in list(found["missed"]):
        if proof_seconds <= 0:
            break
        began = time.monotonic()
        if _same(original, mutant, min(_EACH, proof_seconds)):
            found["missed"].remove(mutant)
            found["equivalent"].append(mutant)
        proof_seconds -= time.monotonic() - began
    return Outcome(**{name: tuple(items) for name, items in found.items()})


def _as_they_stand(policies: PolicySet, cases: list[Case]) -> list[_Known]:
    alone = {identity: _Alone.of(policies, policy) for identity, policy in policies.policies.items()}
    known = [
        _Known(case, frozenset(name for name, one in alone.items() if one.satisfied(case))) for case in cases
    ]
    effects = {identity: str(policy["effect"]) for identity, policy in policies.policies.items()}
    for item in known:
        why = _wrong(item.case, item.satisfied, effects)
        if why is not None:
            raise TestsFail(f"{item.case.file}: {item.case.name}: {why}.", hint="Run: redoubt policy test")
    return known


def _noticed(policies: PolicySet, mutant: Mutant, known: list[_Known]) -> bool:
    effects = {identity: str(policy["effect"]) for identity, policy in policies.policies.items()}
    alone = None
    if mutant.policy is not None:
        effects[mutant.policy_id] = str(mutant.policy["effect"])
        alone = _Alone.of(policies, mutant.policy)
    for item in known:
        holds = alone is not None and alone.satisfied(item.case)
        others = item.satisfied - {mutant.policy_id}
        satisfied = others | {mutant.policy_id} if holds else others
        if _wrong(item.case, satisfied, effects) is not None:
            return True
    return False


@frozen(eq=False)
class _Alone:
    """One policy by itself, as a permit: it says where the policy is satisfied, be it a permit or a forbid."""

    policies: PolicySet
    engine: Reference

    @classmethod
    def of(cls, among: PolicySet, policy: Mapping[str, Any]) -> _Alone:
        alone = {"one": {**policy, "effect": "permit"}}
        made = evolve(among, texts={}, policies=alone, engine=engine_of(alone))
        return cls(made, Reference(made))

    def satisfied(self, case: Case) -> bool:
        request = case.request
        if next(candidates(self.policies, request.action, request.resource.type), None) is None:
            return False
        try:
            return self.engine.ask(request)[0]
        except Exception:  # a question that cannot be asked is answered by no policy
            return False


def _wrong(case: Case, satisfied: frozenset[str], effects: Mapping[str, str]) -> str | None:
    """Return how the answer differs from the expected one, by the satisfied policies (Cedar: forbid overrides)."""
    forbids = tuple(sorted(name for name in satisfied if effects[name] == "forbid"))
    permits = tuple(sorted(name for name in satisfied if effects[name] == "permit"))
    return wrong(case, bool(permits) and not forbids, forbids or permits, ())


def _typed(policies: PolicySet, policy: Mapping[str, Any]) -> bool:
    try:
        return bool(cedarpy.validate_policies(render(policy), policies.schema).validation_passed)
    except ValueError:
        return False


def _same(original: PolicySet, mutant: Mutant, seconds: float) -> bool:
    changed = {key: item for key, item in original.policies.items() if key != mutant.policy_id}
    if mutant.policy is not None:
        changed[mutant.policy_id] = mutant.policy
    try:
        verdict = compare(original, unchecked(changed, original.schema_text), budget_seconds=seconds).verdict
    except Exception:  # whatever breaks in a prover, the mutant is not proven to be the same
        return False
    return verdict == "equal"
