"""Random policies, links, stores and requests: the compiled policies answer as the reference engine does."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import cedarpy
import pytest
from cedarpy import pst

from redoubt.authz.compiled import CedarError, CompiledPolicies, question_of, store_of
from redoubt.authz.models import AuthzRequest, Entity
from redoubt.authz.policyset import tree_of

from .generate import Generator, Made

_NAMED = re.compile(r"evaluating policy `([^`]+)`")
WORLDS, SOAK = 150, 25_000
OPERATORS = {
    *pst.UnaryOpName.__args__,  # type: ignore[attr-defined]
    *pst.BinaryOpName.__args__,  # type: ignore[attr-defined]
    *("GetAttr", "HasAttr", "Like", "Is", "IfThenElse", "Set", "Record", "Template", "TemplateLink"),
}


def compare(made: Made, seen: Counter[str]) -> list[str]:
    """Return where the two differ on one world; `seen` counts operators and outcomes."""
    engine = _engine(made)
    tree = tree_of(engine)
    seen.update(_operators(tree))
    policies = CompiledPolicies(tree)
    store = store_of(Entity.from_json(entity) for entity in made.entities)
    entities = cedarpy.Entities.from_json_str(json.dumps(made.entities))
    wrong = []
    for request in made.requests:
        theirs = cedarpy.is_authorized(request, engine, entities)
        ours = policies.decide(question_of(AuthzRequest.from_values({**request, "entities": []}), store))
        expected = (
            theirs.decision is cedarpy.Decision.Allow,
            tuple(sorted(theirs.diagnostics.reasons)),
            tuple(sorted(_erring(str(error)) for error in theirs.diagnostics.errors)),
        )
        got = (ours.allowed, ours.reasons, ours.errors)
        seen["allow" if expected[0] else "forbidden" if expected[1] else "nothing"] += 1
        seen["erring"] += bool(expected[2])
        seen["requests"] += 1
        if got != expected:
            wrong.append(f"{got} instead of {expected}: {request}\n{made.text}")
    return wrong


def _erring(message: str) -> str:
    found = _NAMED.search(message)
    assert found is not None, message
    return found[1]


def _engine(made: Made) -> Any:
    engine = cedarpy.PolicySet.from_str(made.text)
    (template,) = engine.to_pst().templates
    links = [{**link, "template_id": template} for link in made.links]
    return engine.with_linked_batch(links) if links else engine


def _operators(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = tuple(node.values())
    if isinstance(node, tuple):
        for item in node:
            yield from _operators(item)
    elif is_dataclass(node):
        yield node.op if isinstance(node, pst.UnaryOp | pst.BinaryOp) else type(node).__name__
        for part in fields(node):
            yield from _operators(getattr(node, part.name))


def campaign(worlds: int) -> Counter[str]:
    """Compare on that many worlds; return what was seen."""
    seen: Counter[str] = Counter()
    for seed in range(worlds):
        wrong = compare(Generator(seed).world(), seen)
        assert wrong == [], f"seed {seed}"
    return seen


def test_random_policies_are_decided_as_the_reference_engine_decides_them() -> None:
    seen = campaign(WORLDS)
    assert seen["requests"] == WORLDS * 6
    missing = {name for name in OPERATORS if not seen[name]}
    assert missing == set()
    for outcome in ("allow", "forbidden", "nothing", "erring"):
        assert seen[outcome] >= seen["requests"] * 0.2


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_long_campaign_covers_every_operator_a_thousand_times() -> None:
    seen = campaign(SOAK)
    assert {name: seen[name] for name in OPERATORS if seen[name] < 1000} == {}
    for outcome in ("allow", "forbidden", "nothing", "erring"):
        assert seen[outcome] >= seen["requests"] * 0.2


def test_a_value_that_cedar_does_not_have_is_refused_before_a_decision() -> None:
    request = {"principal": {"type": "User", "id": "u"}, "action": {"type": "Action", "id": "a"}}
    bad = {"__extn": {"fn": "decimal", "arg": "1.23456"}}
    with pytest.raises(CedarError):
        question_of(
            AuthzRequest.from_values(
                {**request, "resource": request["principal"], "context": {"d": bad}, "entities": []}
            )
        )
