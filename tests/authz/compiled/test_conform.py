"""Entities held to a schema: refused exactly where the reference engine refuses them."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.authz.compiled import CedarError
from redoubt.authz.compiled.conform import Conformer
from redoubt.authz.compiled.values import Ref
from redoubt.authz.models import Entity, EntityUid, action_uid
from redoubt.authz.schema import read_schema

SCHEMA = """
entity Team in [Org]; entity Org; entity Colour enum ["red", "blue"];
entity User in [Team, Colour] { name: String, age?: Long, boss?: User, likes?: Set<Colour>, at?: ipaddr } tags Set<String>;
entity Doc { owner: User, inner?: { n: Long, s?: String }, open: Bool };
action all; action some in [all]; action read in [some] appliesTo { principal: [User], resource: [Doc] };
"""
CONFORMER, THEIRS = Conformer(read_schema(SCHEMA)), cedarpy.Schema.from_str(SCHEMA)


def uid(kind: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": kind, "id": name}}


IDS = st.sampled_from(["u", "v", "red", "blue"])
LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [
        "x", 1, True, -1, [], ["a"], ["a", 1], {}, {"n": 1}, {"n": True}, {"n": 1, "s": "x"}, {"n": 1, "more": 1},
        uid("User", "u"), uid("Doc", "d"), uid("Colour", "red"), uid("Colour", "green"), [uid("Colour", "blue")],
        [uid("Colour", "green")], [uid("User", "u")], {"__extn": {"fn": "ip", "arg": "10.0.0.1"}},
        {"__extn": {"fn": "decimal", "arg": "1.0"}},
    ]
)  # fmt: skip
PARENTS = st.sampled_from(
    [
        ("Team", "t"),
        ("Org", "o"),
        ("Colour", "red"),
        ("Colour", "green"),
        ("User", "w"),
        ("Doc", "d"),
        ("No", "n"),
    ]
)
USER = st.fixed_dictionaries(
    {"name": st.just("x") | LEAVES},
    optional={"age": LEAVES, "boss": LEAVES, "likes": LEAVES, "at": LEAVES, "more": LEAVES},
)
DOC = st.fixed_dictionaries(
    {"owner": st.just(uid("User", "u")) | LEAVES, "open": st.just(True) | LEAVES}, optional={"inner": LEAVES}
)


def entity(kind: str, name: str, attrs: Any, parents: Any = (), tags: Any = None) -> dict[str, Any]:
    return {
        "uid": {"type": kind, "id": name},
        "attrs": attrs,
        "parents": [{"type": one, "id": other} for one, other in parents],
        **({"tags": tags} if tags else {}),
    }


def theirs(entities: list[dict[str, Any]]) -> bool:
    try:
        cedarpy.Entities.from_json_str(json.dumps(entities), schema=THEIRS)
    except ValueError:
        return False
    return True


def ours(entities: list[dict[str, Any]]) -> bool:
    try:
        CONFORMER.store(tuple(Entity.from_json(item) for item in entities), action_uid("read"))
    except CedarError:
        return False
    return True


@given(
    USER,
    st.lists(PARENTS, max_size=2, unique=True),
    st.dictionaries(st.sampled_from("ab"), LEAVES, max_size=1),
)
def test_a_person_is_refused_where_the_reference_engine_refuses_it(
    attrs: Any, parents: Any, tags: Any
) -> None:
    given_ = [entity("User", "u", attrs, parents, tags)]
    assert ours(given_) == theirs(given_)


@given(DOC)
def test_a_thing_is_refused_where_the_reference_engine_refuses_it(attrs: Any) -> None:
    given_ = [entity("Doc", "d", attrs)]
    assert ours(given_) == theirs(given_)


@given(
    st.lists(
        st.builds(
            entity,
            st.sampled_from(["User", "Team", "Org", "Colour", "Nobody"]),
            IDS,
            st.just({}) | st.just({"name": "x"}),
            st.lists(
                PARENTS | st.tuples(st.sampled_from(["User", "Team", "Org"]), IDS), max_size=2, unique=True
            ),
        ),
        max_size=4,
        unique_by=lambda one: json.dumps(one["uid"], sort_keys=True),
    )
)
def test_a_graph_is_refused_where_the_reference_engine_refuses_it(entities: list[dict[str, Any]]) -> None:
    assert ours(entities) == theirs(entities)


def test_ancestors_are_closed_over_what_was_given() -> None:
    entities = (
        Entity("User", "u", {"name": "x"}, (EntityUid("Team", "t"),)),
        Entity("Team", "t", {}, (EntityUid("Org", "o"),)),
    )
    store = CONFORMER.store(entities, action_uid("read"))
    assert store[Ref("User", "u")].ancestors == {Ref("Team", "t"), Ref("Org", "o")}
    assert store[Ref("Action", "read")].ancestors == {Ref("Action", "some"), Ref("Action", "all")}


@pytest.mark.parametrize(
    "false",
    [
        Entity("Action", "drop"),
        Entity("Action", "all", {}, (EntityUid("Action", "read"),)),
        Entity("Action", "read", {"x": 1}),
        Entity("User", "u", {"name": "x"}, (EntityUid("User", "u"),)),
    ],
)
def test_a_false_action_or_a_person_within_themselves_is_refused(false: Entity) -> None:
    with pytest.raises(CedarError):
        CONFORMER.store((false,), action_uid("read"))


def test_the_schemas_own_actions_may_be_repeated() -> None:
    group = Entity("Action", "read", {}, (EntityUid("Action", "some"), EntityUid("Action", "all")))
    assert CONFORMER.store((group,), action_uid("read"))[Ref("Action", "read")].ancestors == {
        Ref("Action", "some"), Ref("Action", "all"),
    }  # fmt: skip


def test_two_entities_of_one_uid_are_refused() -> None:
    twin = Entity("User", "u", {"name": "x"})
    with pytest.raises(CedarError):
        CONFORMER.store((twin, twin), action_uid("read"))


def test_text_is_never_taken_for_a_reference_or_an_address() -> None:
    """Where the reference engine would: data that says `{"type": …, "id": …}` must not become an owner."""
    for attrs in ({"name": "x", "boss": {"type": "User", "id": "v"}}, {"name": "x", "at": "10.0.0.1"}):
        assert theirs([entity("User", "u", attrs)])
        assert not ours([entity("User", "u", attrs)])
