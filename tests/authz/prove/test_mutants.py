"""Seeded mutants, labelled by an enumerator that shares nothing with the prover: the reference engine over every store
of a small scope that tells all the mutants' conditions apart."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import cedarpy
import pytest

from redoubt.authz.policyset import PolicySet
from redoubt.authz.prove import compare_under

from .docs_app import SCHEMA, policies

ATOMS = [
    "context.risk < 2",
    "context.risk <= 2",
    "context.risk < 4",
    "context.risk == 3",
    'principal in Role::"a"',
    "principal == resource.owner",
    "resource.readers.contains(principal)",
    "(principal has mfa && principal.mfa)",
    "principal has mfa",
    'resource.labels.contains("x")',
    'resource.labels.containsAny(["x", "y"])',
    "resource.labels.isEmpty()",
]
BOOLS = (False, True)
PARTS = 20


def stores() -> list[Any]:
    """Every small store as the engine's handle: membership, ownership, readers, second factor, labels."""
    found = []
    for role, owner, reader, mfa, labels in itertools.product(
        BOOLS, BOOLS, BOOLS, (None, False, True), ([], ["x"], ["y"], ["z"])
    ):
        me, other = {"type": "User", "id": "u"}, {"type": "User", "id": "other"}
        attrs = {"org": "", "level": 0}
        entities = [
            {
                "uid": me,
                "attrs": attrs if mfa is None else {**attrs, "mfa": mfa},
                "parents": [{"type": "Role", "id": "a"}] if role else [],
            },
            {"uid": other, "attrs": attrs, "parents": []},
            {"uid": {"type": "Role", "id": "a"}, "attrs": {}, "parents": []},
            {
                "uid": {"type": "Doc", "id": "d"},
                "attrs": {
                    "owner": {"__entity": me if owner else other},
                    "readers": [{"__entity": me}] if reader else [],
                    "groups": [],
                    "labels": labels,
                    "org": "",
                },
                "parents": [],
            },
        ]
        found.append(cedarpy.Entities.from_json_str(json.dumps(entities)))
    return found


def table(policy_set: PolicySet, handles: list[Any]) -> list[bool]:
    """The reference engine's decision for every store and risk."""
    found = []
    for entities, risk in itertools.product(handles, range(1, 5)):
        question = {
            "principal": {"type": "User", "id": "u"},
            "action": {"type": "Action", "id": "read"},
            "resource": {"type": "Doc", "id": "d"},
            "context": {"risk": risk},
        }
        answer = cedarpy.is_authorized(question, policy_set.engine, entities)
        found.append(answer.decision is cedarpy.Decision.Allow)
    return found


def label(before: list[bool], after: list[bool]) -> str:
    """What the tables say of a change."""
    if any(new and not old for old, new in zip(before, after, strict=True)):
        return "wider"
    return "equal" if before == after else "narrower"


def drawn(draw: random.Random) -> list[tuple[str, list[str]]]:
    """A base set: effects, each with the conditions that all must hold."""
    forbids = [("forbid", draw.sample(ATOMS, 2))] if draw.random() < 0.6 else []
    return [("permit", draw.sample(ATOMS, draw.randint(1, 2))) for _ in range(2)] + forbids


def mutated(draw: random.Random, base: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """The set with one edit."""
    found = [(effect, list(atoms)) for effect, atoms in base]
    at = draw.randrange(len(found))
    effect, atoms = found[at]
    match draw.randrange(7):
        case 0:
            atoms[draw.randrange(len(atoms))] = draw.choice(ATOMS)
        case 1:
            atoms.append(draw.choice(ATOMS))
        case 2:
            atoms.pop(draw.randrange(len(atoms)))
        case 3:
            spot = draw.randrange(len(atoms))
            atoms[spot] = f"!({atoms[spot]})"
        case 4:
            del found[at]
        case 5:
            found.append((draw.choice(["permit", "forbid"]), draw.sample(ATOMS, 2)))
        case _:
            atoms.reverse()
    return found


def built(spec: list[tuple[str, list[str]]]) -> PolicySet:
    return policies(
        *(
            f'{effect} (principal, action == Action::"read", resource) when {{ {" && ".join(atoms) or "true"} }};'
            for effect, atoms in spec
        )
    )


def campaign(count: int, seed: int = 20) -> dict[tuple[str, str], int]:
    """Count (label, verdict) over `count` mutants drawn from `seed`."""
    draw = random.Random(seed)
    handles = stores()
    found: dict[tuple[str, str], int] = {}
    base = drawn(draw)
    old = built(base)
    before = table(old, handles)
    for number in range(count):
        if number % 10 == 0:
            base = drawn(draw)
            old = built(base)
            before = table(old, handles)
        new = built(mutated(draw, base))
        verdict = compare_under(old, SCHEMA, new, SCHEMA, budget_seconds=20).verdict
        key = (label(before, table(new, handles)), verdict)
        found[key] = found.get(key, 0) + 1
    return found


def test_the_prover_says_of_each_mutant_what_every_small_store_says() -> None:
    found = campaign(30)
    assert {key: count for key, count in found.items() if key[0] != key[1]} == {}
    assert {key[0] for key in found} == {"equal", "narrower", "wider"}


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}-")
def test_the_prover_says_of_ten_thousand_mutants_what_every_small_store_says(
    part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = campaign(10_000 // PARTS, 1000 + part)
    with capsys.disabled():
        print(f"\npart {part}: {found}", flush=True)
    assert {key: count for key, count in found.items() if key[0] != key[1]} == {}
