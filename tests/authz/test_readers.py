"""The readers agree: what decides, what lists, and Cedar's own engine, on the same random policies and rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from redoubt.authz.compiled import Question, compile_policies, store_of
from redoubt.authz.compiled.values import ref_of, value_of
from redoubt.authz.filter import Known, Untranslatable, list_filter
from redoubt.authz.filter.extensions import Judge
from redoubt.authz.models import Entity
from redoubt.authz.policyset import PolicySet

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


def decided(policies: PolicySet, question: Known, there: list[Entity]) -> set[str]:
    """Return the ids of the documents that the compiled policies allow, one by one."""
    compiled = compile_policies(policies.tree())
    store = store_of([*question.entities, *there])
    principal, action = ref_of(question.principal), ref_of(question.action)
    context = value_of(dict(question.context))
    return {
        item.id
        for item in there
        if item.type == "Doc"
        and compiled.decide(Question(principal, action, ref_of(item.uid), context, store)).allowed
    }


def campaign(conn: sa.Connection, seeds: range) -> tuple[list[str], Counter[str]]:
    """Return the differences over cases of these numbers, and how many rows were decided and listed."""
    wrong, seen = [], Counter[str]()
    there: list[Entity] = []
    for seed in seeds:
        rng = random.Random(seed)
        if not there or seed % 20 == 0:
            made = world.rows(rng, ROWS)
            for table in world.metadata.sorted_tables:
                conn.execute(table.delete())
                if made[table]:
                    conn.execute(table.insert(), made[table])
            there = world.entities(made)
        texts, question = world.random_policies(rng), world.known(rng)
        policies = world.policy_set(texts)
        theirs, ours = world.allowed(policies, question, there), decided(policies, question, there)
        seen["decided"] += ROWS
        seen["allowed"] += len(ours)
        if ours != theirs:
            wrong.append(f"case {seed}: {texts} decides {ours}, cedarpy allows {theirs}")
        try:
            condition = list_filter(policies, world.MAPPING, "Doc", question).condition
        except Untranslatable:
            continue
        seen["listed"] += ROWS
        listed = set(conn.execute(sa.select(world.docs.c.id).where(condition)).scalars())
        if listed != ours:
            wrong.append(f"case {seed}: {texts} lists {listed}, decides {ours}")
    return wrong, seen


def test_what_decides_and_what_lists_agree_with_each_other_and_with_cedar(connection: sa.Connection) -> None:
    wrong, seen = campaign(connection, range(500_000, 500_150))
    assert not wrong
    assert seen["allowed"] > 200
    assert seen["listed"] > seen["decided"] * 0.8


@pytest.mark.parametrize("case", [1_044_045, 1_048_973, 1_068_887])
def test_what_was_found_among_a_million_rows_stays_mended(connection: sa.Connection, case: int) -> None:
    """An entity that is known by name but lies in a table was taken for absent beside an extension's value."""
    wrong, _ = campaign(connection, range(case - case % 20, case + 1))
    assert not wrong


def test_a_filter_that_takes_rows_for_absent_is_caught(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "follows", lambda *_: False)
    assert campaign(connection, range(1_048_960, 1_048_974))[0]


PARTS, CASES = 42, 2_000
"""A million rows on each database, in parts that can be run one by one: `-m soak -k "readers and part7-"`."""


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}-")
def test_a_million_rows_are_decided_and_listed_alike(
    connection: sa.Connection, part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    first = 1_000_000 + part * CASES
    wrong, seen = campaign(connection, range(first, first + CASES))
    with capsys.disabled():
        print(f"\npart {part}: {dict(seen)}, {len(wrong)} different", flush=True)
    assert not wrong, wrong[0]
    assert seen["decided"] == CASES * ROWS
