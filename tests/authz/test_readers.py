"""The readers agree: what decides, what lists, and Cedar's own engine, on the same random policies and rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
import sqlalchemy as sa

from redoubt.authz.compiled import Question, Store, compile_policies, store_of
from redoubt.authz.compiled.policies import CompiledPolicies
from redoubt.authz.compiled.values import ref_of, value_of
from redoubt.authz.filter import Filters, Known, Untranslatable
from redoubt.authz.filter.extensions import Judge
from redoubt.authz.models import Entity

from .filter import world

ROWS = 12


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(sa.make_url(database_url))
    with engine.begin() as conn:
        world.metadata.create_all(conn)
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def decided(compiled: CompiledPolicies, question: Known, rows: Store) -> set[str]:
    """Return the ids of the documents that the compiled policies allow, one by one.

    Rows lie below no entity of a question, and those below no row: their stores can stand side by side.
    """
    store = {**rows, **store_of(question.entities)}
    principal, action = ref_of(question.principal), ref_of(question.action)
    context = value_of(dict(question.context))
    return {
        ref.id
        for ref in rows
        if ref.type == "Doc" and compiled.decide(Question(principal, action, ref, context, store)).allowed
    }


def campaign(
    conns: Sequence[sa.Connection], seeds: range, questions: int = 1
) -> tuple[list[str], Counter[str]]:
    """Return the differences over policy sets of these numbers, and how many rows were decided and listed.

    A case is one question to one set, about all rows: decided by each reader, listed by each database.
    """
    wrong, seen = [], Counter[str]()
    there: list[Entity] = []
    for seed in seeds:
        rng = random.Random(seed)
        if not there or seed % 20 == 0:
            made = world.rows(rng, ROWS)
            for conn in conns:
                world.fill(conn, made)
            there = world.entities(made)
            handle, store = world.handle(there), store_of(there)
        texts = world.random_policies(rng)
        policies = world.policy_set(texts)
        compiled, lists = compile_policies(policies.tree()), Filters(policies, world.MAPPING)
        for _ in range(questions):
            question = world.known(rng)
            theirs, ours = (
                world.allowed(policies, question, there, handle),
                decided(compiled, question, store),
            )
            seen.update({"cases": 1, "decided": ROWS, "allowed": len(ours)})
            if ours != theirs:
                wrong.append(f"case {seed}: {texts} decides {ours}, cedarpy allows {theirs}")
            try:
                condition = lists.of("Doc", question).condition
            except Untranslatable:
                seen["untranslatable"] += 1
                continue
            seen["some" if 0 < len(ours) < ROWS else "all" if ours else "none"] += 1
            for conn in conns:
                name = conn.dialect.name
                listed = set(conn.execute(sa.select(world.docs.c.id).where(condition)).scalars())
                seen[f"listed on {name}"] += ROWS
                if listed != ours:
                    wrong.append(f"case {seed}: {texts} lists {listed} on {name}, decides {ours}")
    return wrong, seen


def test_what_decides_and_what_lists_agree_with_each_other_and_with_cedar(connection: sa.Connection) -> None:
    wrong, seen = campaign([connection], range(500_000, 500_150))
    assert not wrong
    assert seen["allowed"] > 200
    assert seen[f"listed on {connection.dialect.name}"] > seen["decided"] * 0.8


@pytest.mark.parametrize("case", [1_044_045, 1_048_973, 1_068_887])
def test_what_was_found_among_a_million_rows_stays_mended(connection: sa.Connection, case: int) -> None:
    """An entity that is known by name but lies in a table was taken for absent beside an extension's value."""
    wrong, _ = campaign([connection], range(case - case % 20, case + 1))
    assert not wrong


def test_a_filter_that_takes_rows_for_absent_is_caught(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "follows", lambda *_: False)
    assert campaign([connection], range(1_048_960, 1_048_974))[0]


PARTS, SETS, QUESTIONS = 50, 500, 4
"""100,000 cases, 1.2 million rows, on each database, in parts that can be run one by one: `-m soak -k "readers and part7-"`."""


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}-")
def test_a_million_rows_are_decided_and_listed_alike_on_both_databases(
    both_databases: list[sa.Connection], part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    first = 2_000_000 + part * SETS
    wrong, seen = campaign(both_databases, range(first, first + SETS), QUESTIONS)
    with capsys.disabled():
        print(f"\npart {part}: {len(wrong)} different: {dict(seen)}", flush=True)
    assert not wrong, wrong[0]
    assert seen["cases"] == SETS * QUESTIONS
    assert seen["some"] > SETS // 10
