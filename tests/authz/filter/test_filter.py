"""A list by filter holds exactly the rows that cedarpy allows one by one, on both databases.

The long campaign of these cases asks the other readers too: `tests/authz/test_readers.py`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve

from redoubt.authz.filter import Known, Untranslatable, entities, expressions, list_filter, reader, sql
from redoubt.authz.filter import values as parts
from redoubt.authz.models import Entity, EntityUid, action_uid

from . import world

ROWS = 12


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    """A connection to a database with the world's tables."""
    engine = sa.create_engine(sa.make_url(database_url))
    with engine.begin() as conn:
        world.metadata.create_all(conn)
    with engine.connect() as conn:
        yield conn
    engine.dispose()


@pytest.fixture
def memory() -> Iterator[sa.Connection]:
    """A connection to SQLite in memory with the world's tables."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as conn:
        world.metadata.create_all(conn)
        yield conn
    engine.dispose()


def store(conn: sa.Connection, rng: random.Random) -> list[Entity]:
    """Put new rows into the tables and return them as entities."""
    made = world.rows(rng, ROWS)
    world.fill(conn, made)
    return world.entities(made)


def listed(conn: sa.Connection, texts: list[str], question: Known) -> set[str]:
    """Return the ids of the documents that the filter lists."""
    found = list_filter(world.policy_set(texts), world.MAPPING, "Doc", question)
    return set(conn.execute(sa.select(world.docs.c.id).where(found.condition)).scalars())


def campaign(conn: sa.Connection, seeds: range) -> tuple[list[str], Counter[str]]:
    """Return the differences over cases of these numbers, and how the cases came out."""
    wrong, seen = [], Counter[str]()
    there: list[Entity] = []
    for seed in seeds:
        rng = random.Random(seed)
        if not there or seed % 20 == 0:
            there = store(conn, rng)
        texts, question = world.random_policies(rng), world.known(rng)
        try:
            got = listed(conn, texts, question)
        except Untranslatable:
            seen["untranslatable"] += 1
            continue
        expected = world.allowed(world.policy_set(texts), question, there)
        seen["some" if 0 < len(expected) < ROWS else "all" if expected else "none"] += 1
        if got != expected:
            wrong.append(f"case {seed}: {texts} lists {got}, allows {expected}")
    return wrong, seen


def test_random_policies_list_what_cedarpy_allows_row_by_row(connection: sa.Connection) -> None:
    wrong, seen = campaign(connection, range(160))
    assert not wrong
    assert seen["some"] > 20
    assert seen["all"] > 4
    assert seen["untranslatable"] < 30


def question(**attrs: Any) -> Known:
    """Return user u1's question."""
    user = Entity("User", "u1", attrs, (EntityUid("Role", "r1"),))
    return Known(user.uid, action_uid("read"), {"risk": 1}, (user, Entity("Action", "read")))


@pytest.mark.parametrize(
    "texts",
    [
        ["permit (principal, action, resource) when { !(resource.title == \"a\") };"],
        ["permit (principal, action, resource);", "forbid (principal, action, resource) when { resource.size < 3 };"],
        ["permit (principal, action, resource) unless { resource.open };"],
        ["permit (principal, action, resource) when { resource.size + 9223372036854775807 > 0 };"],
        ["permit (principal, action, resource) when { resource.size * resource.score >= 0 };"],
        ["permit (principal, action, resource) when { resource.readers.contains(principal) };"],
        ['permit (principal, action, resource in Folder::"f1");'],
        ['permit (principal, action, resource) when { resource.folder.level > -10 || resource.title like "a*" };'],
        ['permit (principal, action, resource) when { resource.title like "A*" || resource.title like "*b" };'],
        ['permit (principal, action, resource) when { resource has owner && resource.owner == principal };'],
        ['permit (principal, action, resource) when { resource.getTag("k") like "*a*" };'],
        ['permit (principal, action, resource) when { resource.owner in Role::"r1" };'],
        ['permit (principal, action, resource) when { !(resource.owner in Role::"r1") };'],
        ['permit (principal, action, resource) unless { resource.folder.owner in [Role::"r1", Role::"r2"] };'],
    ],
)  # fmt: skip
def test_absent_values_overflow_children_and_hierarchies(connection: sa.Connection, texts: list[str]) -> None:
    outcomes = set()
    for seed in range(4):
        there = store(connection, random.Random(seed))
        expected = world.allowed(world.policy_set(texts), question(), there)
        assert listed(connection, texts, question()) == expected
        outcomes.add(len(expected))
    assert outcomes & set(range(1, ROWS))


@pytest.mark.parametrize(
    "text",
    [
        'permit (principal, action, resource in Org::"o");',
        'permit (principal, action, resource) unless { resource in Org::"o" };',
        'permit (principal, action, resource) when { !(resource in [Org::"o", Folder::"f2"]) };',
    ],
)
def test_parents_of_a_row_that_are_given_go_on_to_their_own(connection: sa.Connection, text: str) -> None:
    asked = question()
    teams = (Entity("Team", "t1", {}, (EntityUid("Org", "o"),)), Entity("Team", "t2"), Entity("Org", "o"))
    asked = evolve(asked, entities=(*asked.entities, *teams))
    there = store(connection, random.Random(2))
    expected = world.allowed(world.policy_set([text]), asked, there)
    assert 0 < len(expected) < ROWS
    assert listed(connection, [text], asked) == expected


def test_given_entities_whose_ancestors_lie_in_tables_are_refused() -> None:
    user = Entity("User", "u1", {}, (EntityUid("Folder", "f3"),))
    asked = Known(user.uid, action_uid("read"), {}, (user, Entity("Action", "read")))
    text = 'permit (principal, action, resource) when { resource.owner in Folder::"f1" };'
    with pytest.raises(Untranslatable, match="not given"):
        list_filter(world.policy_set([text]), world.MAPPING, "Doc", asked)


@pytest.mark.parametrize(
    "condition",
    [
        "resource.secret == 1",
        "resource in resource.folder",
        "resource.title.getTag(resource.title) == \"a\"",
        'ip(resource.title).isIpv4()',
    ],
)  # fmt: skip
def test_what_cannot_be_said_raises_and_names_its_policy(condition: str) -> None:
    text = f'@id("mine") permit (principal, action, resource) when {{ {condition} }};'
    with pytest.raises(Untranslatable, match="mine"):
        list_filter(world.policy_set([text]), world.MAPPING, "Doc", question())


def test_post_filtering_by_name_lists_no_less_and_says_what_is_pending(memory: sa.Connection) -> None:
    texts = [
        '@id("by-size") permit (principal, action, resource) when { resource.size > 0 };',
        '@id("far") forbid (principal, action, resource) when { ip(resource.title).isIpv4() };',
    ]
    there = store(memory, random.Random(1))
    found = list_filter(world.policy_set(texts), world.MAPPING, "Doc", question(), post_filter=True)
    assert not found.exact
    assert found.pending == ("far",)
    got = set(memory.execute(sa.select(world.docs.c.id).where(found.condition)).scalars())
    assert got >= world.allowed(world.policy_set(texts), question(), there)


def test_a_condition_that_would_grow_without_bound_is_refused() -> None:
    text = "resource.open"
    for _ in range(20):
        text = f"(({text} && resource.open) || resource.open)"
    with pytest.raises(Untranslatable, match="too many terms"):
        list_filter(
            world.policy_set([f"permit (principal, action, resource) when {{ {text} }};"]),
            world.MAPPING,
            "Doc",
            question(),
        )


def _always(*_: Any) -> Any:
    return True


def _loose(there: Any, holds: Any) -> Any:
    return parts.Truth(sql.every(there, holds), sql.negate(sql.every(there, holds)))


MUTANTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "a missing value negates to true": (expressions, "where", _loose),
    "forbids are dropped": (reader, "negate", _always),
    "a sum always fits": (expressions, "Fits", lambda value: sa.true()),
    "case does not count": (expressions, "Matches", lambda value, parts_: value.ilike("".join("%" if p is None else p for p in parts_))),
    "parents are not followed": (entities.World, "_below", lambda self, parent, target: [target.id] if parent.type == target.type else []),
    "what is given of a row's references is not looked at": (entities.World, "_given_below", lambda self, name, target: []),
    "a set has every element": (expressions, "_contains", lambda a, b: parts.Truth(True, False)),
    "a row exists always": (entities.World, "_column", lambda self, entity, column, kind, name, sure, old=entities.World._column: parts.Scalar(kind, old(self, entity, column, kind, name, sure).sql, sure, name)),
    "an entity of another type is the same": (reader, "_type", lambda value: "Doc"),
}  # fmt: skip


_FIRST_SHOWN = {
    "case does not count": 75,
    "a row exists always": 20,
    "a set has every element": 20,
    "what is given of a row's references is not looked at": 2035,
}
"""Where in the campaign a fault is seen first, to spare what comes before."""


@pytest.mark.parametrize("name", MUTANTS)
def test_each_fault_in_the_translation_shows(
    name: str, memory: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, attribute, fault = MUTANTS[name]
    monkeypatch.setattr(module, attribute, fault)
    first = _FIRST_SHOWN.get(name, 0)
    for start in range(first, first + 600, 5):
        wrong, _ = campaign(memory, range(start, start + 5))
        if wrong:
            return
    pytest.fail(f"nothing showed that {name}")
