"""What is kept of a proof: the verdict, whether it passes by itself, and how it was come to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attrs import frozen

from redoubt import __version__

from ..models import Entity
from ..policyset import PolicySet
from ..prove import Comparison
from ..schema.types import Environment
from . import newcomers
from .directory import SECONDS, gains
from .grants import altered_invariants, regranted
from .judging import breach_refusals, judge
from .newcomers import tables
from .refusals import Refusal
from .rehearsal import Recorded, rehearse
from .report import findings

KEEPERS = frozenset({"Approval.decide", "Approval.read", "Console.view"})
"""Actions by which people decide about changes: who loses one of them by a change could not take the change back."""
_MOST = 40
_SOLVERS = ("z3-solver", "cvc5")


@frozen
class Examined:
    """A judged change: its verdict, whether it needs no second person, and the evidence as canonical JSON values.

    `refused` says what no approval lifts: such a change is not stored.
    """

    verdict: str
    passes: bool
    evidence: dict[str, Any]
    comparison: Comparison
    refused: tuple[Refusal, ...] = ()


def examine(
    old: PolicySet,
    new: PolicySet,
    *,
    budget_seconds: float,
    decisions: Sequence[Recorded] = (),
    people: Sequence[Entity] = (),
    earlier: Mapping[Environment, PolicySet] | None = None,
) -> Examined:
    """Judge `new` against `old`, in about `budget_seconds` of wall time; hold no transaction meanwhile.

    Equal and narrower pass, unless the change takes one of `KEEPERS` from somebody, or says otherwise who may write
    grant inputs, or alters an invariant. The evidence says as well what would turn among recorded `decisions`, who of
    `people` would gain, and what is new as a table by role; these have `directory.SECONDS` and `newcomers.SECONDS` more.
    `earlier`: the last sets that had environments which are gone from `old`.
    """
    began = time.monotonic()
    found = judge(old, new, budget_seconds=budget_seconds, earlier=earlier)
    took = int((time.monotonic() - began) * 1000)
    kept = sorted(
        {
            item.environment.action.id
            for item in found.environments
            if item.environment.action.id in KEEPERS and item.verdict != "equal"
        }
    )
    granted, altered = regranted(old, new), altered_invariants(old, new)
    gained, everybody = gains(old, new, found, people, seconds=min(budget_seconds, SECONDS))
    shown = findings(found)
    evidence = {
        "base": old.version,
        "head": new.version,
        "verdict": found.verdict,
        "reason": found.reason,
        "environments": dict(Counter(item.verdict for item in found.environments)),
        "keepers": kept,
        "regranted": granted,
        "invariants": altered,
        "findings": [
            {
                "verdict": item.verdict,
                "where": item.where,
                "message": item.message,
                "witness": None if item.witness is None else item.witness.values(),
            }
            for item in shown[:_MOST]
        ],
        "more_findings": max(0, len(shown) - _MOST),
        "rehearsal": rehearse(old, new, decisions),
        "gains": gained,
        "tables": tables(new, found, people, everybody, seconds=min(budget_seconds, newcomers.SECONDS)),
        "solvers": {"redoubt": __version__, **{name: _version(name) for name in _SOLVERS}},
    }
    evidence["milliseconds"] = took
    passes = not (found.widens or kept or granted or altered)
    return Examined(found.verdict, passes, evidence, found, tuple(breach_refusals(found)))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
