"""All four readers agree on random typed policies: what decides, what lists, what proves, and Cedar's own engine.

A verdict is held to what the compiled policies say of rows that are drawn: where nothing is wider, none of them may gain an
allow, and a witness must be allowed by the new set and denied by the old one. And over a store that is asserted the prover
decides as the others do.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import cedarpy
import pytest
import sqlalchemy as sa
from attrs import evolve

from redoubt.authz.compiled import Store, compile_policies, question_of, store_of
from redoubt.authz.filter import Filters, Known, Untranslatable
from redoubt.authz.models import AuthzRequest
from redoubt.authz.prove import EnvironmentVerdict, compare_under, difference
from redoubt.authz.prove.bounds import bound
from redoubt.authz.prove.logic import FALSE, TRUE
from redoubt.authz.prove.replay import allows
from redoubt.authz.prove.values import Part
from redoubt.authz.prove.world import World
from redoubt.authz.schema import read_schema
from tests.authz import typed
from tests.authz.filter import world
from tests.authz.test_readers import decided

from .stores import answers

ROWS, SAMPLES, TOGETHER = 12, 25, 10
SCHEMA = read_schema(typed.TEXT)
_DECIDED = ("allow", "deny")
HANDLE = cedarpy.Schema.from_str(typed.TEXT)


@lru_cache(maxsize=1)
def samples() -> list[tuple[Known, Store]]:
    """Stores with a question each, which every verdict is held to."""
    rng = random.Random(77)
    return [(typed.question(rng), store_of(typed.store(rng, ROWS)[1])) for _ in range(SAMPLES)]


def contradictions(
    old: Any, new: Any, verdicts: dict[Any, EnvironmentVerdict], seen: Counter[str]
) -> Iterator[str]:
    """Yield what the compiled policies say against a verdict."""
    before, after = (compile_policies(item.tree()) for item in (old, new))
    for question, store in samples():
        verdict = verdicts[question.action].verdict
        was, will = decided(before, question, store), decided(after, question, store)
        seen["requests a verdict was held to"] += ROWS
        seen["of them gained"] += len(will - was)
        if (verdict == "equal" and was != will) or (verdict == "narrower" and not will <= was):
            yield f"{verdict}, but {question} gains {will - was} and loses {was - will}"
    for item in verdicts.values():
        if item.witness is None:
            continue
        actions = tuple(one for one in samples()[0][0].entities if one.type == "Action")
        seen["witnesses"] += 1
        asked = question_of(evolve(item.witness, entities=(*item.witness.entities, *actions)))
        shown = [before.decide(asked).allowed, after.decide(asked).allowed]
        shown += [allows(item.witness, one.engine, HANDLE) for one in (old, new)]
        if shown != [False, True] * 2:
            yield f"the witness {item.witness} comes to {shown}"


def campaign(conns: Sequence[sa.Connection], seeds: range) -> tuple[list[str], Counter[str]]:
    """Return the differences over edits of these numbers, and what was asked."""
    wrong, seen = [], Counter[str]()
    for seed in seeds:
        rng = random.Random(seed)
        if seed == seeds[0] or seed % TOGETHER == 0:
            made, there = typed.store(rng, ROWS)
            for conn in conns:
                world.fill(conn, made)
            handle, rows = world.handle(there), store_of(there)
            ids = [item.uid for item in there if item.type == "Doc"]
        question, base = typed.question(rng), typed.drawn(rng)
        edited = typed.edited(rng, base)
        old, new = (typed.policy_set(item, HANDLE) for item in (base, edited))
        found = compare_under(old, SCHEMA, new, SCHEMA, budget_seconds=120)
        seen.update(f"{item.verdict} environments" for item in found.environments)
        verdicts = {item.environment.action: item for item in found.environments}
        case = f"case {seed}: {[item.text for item in base]} to {[item.text for item in edited]}"
        wrong += [f"{case} is {text}" for text in contradictions(old, new, verdicts, seen)]
        request = AuthzRequest(
            question.principal, question.action, ids[0], question.context, (*question.entities, *there)
        )
        proven = answers(SCHEMA, list(bound(new).values()), request, ids)
        ours = decided(compile_policies(new.tree()), question, rows)
        seen["questions"] += len(ids)
        seen["allowed"] += len(ours)
        said: dict[str, Any] = {
            "cedarpy": world.allowed(new, question, there, handle),
            "the prover": {uid.id for uid, answer in zip(ids, proven, strict=True) if answer == "allow"},
        }
        undecided = {
            uid.id: answer for uid, answer in zip(ids, proven, strict=True) if answer not in _DECIDED
        }
        if undecided:
            wrong.append(f"{case}: the prover cannot say of {undecided}")
        try:
            condition = Filters(new, world.MAPPING).of("Doc", question).condition
            for conn in conns:
                listed = conn.execute(sa.select(world.docs.c.id).where(condition)).scalars()
                said[f"the list on {conn.dialect.name}"] = set(listed)
            seen["questions that were listed"] += len(ids)
        except Untranslatable:
            seen["untranslatable"] += 1
        wrong += [f"{case}: {who} says {what}, not {ours}" for who, what in said.items() if what != ours]
    return wrong, seen


@pytest.fixture
def memory() -> Iterator[sa.Connection]:
    """SQLite in memory with the world's tables."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as conn:
        world.metadata.create_all(conn)
        yield conn
    engine.dispose()


def test_the_four_readers_agree_on_typed_policies(memory: sa.Connection) -> None:
    wrong, seen = campaign([memory], range(15))
    assert not wrong
    assert seen["unknown environments"] == 0
    assert all(seen[f"{verdict} environments"] for verdict in ("equal", "narrower", "wider"))
    assert seen["questions"] > seen["allowed"] > 20
    assert seen["of them gained"] > 20
    assert seen["untranslatable"] < 6


FAULTS: dict[str, tuple[Any, str, Any, range]] = {
    "what may be absent is there": (
        World,
        "_part",
        lambda self, item, key, args: Part(TRUE, self.unknown(item.type, key, args)),
        range(50),
    ),
    "forbids that went are overlooked": (
        difference.Side,
        "own",
        lambda self, effect, old=difference.Side.own: old(self, effect) if effect == "permit" else [],
        range(100),
    ),
    "nothing is below anything": (World, "_below", lambda self, *_: FALSE, range(50)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_prover_shows(
    name: str, memory: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, attribute, fault, seeds = FAULTS[name]
    monkeypatch.setattr(holder, attribute, fault)
    for start in seeds[::5]:
        if campaign([memory], range(start, start + 5))[0]:
            return
    pytest.fail(f"nothing showed that {name}")


PARTS, CASES = 42, 100
"""50,400 questions, in parts that can be run one by one: `-m soak -k "agreement and part7-"`."""


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}-")
def test_fifty_thousand_questions_are_answered_alike_by_all_four(
    both_databases: list[sa.Connection], part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    first = 10_000 + part * CASES
    wrong, seen = campaign(both_databases, range(first, first + CASES))
    with capsys.disabled():
        print(f"\npart {part}: {len(wrong)} different: {dict(seen)}", flush=True)
    assert not wrong, wrong[0]
    assert seen["questions"] == CASES * ROWS
