"""A question's text, put together from parts, is the canonical JSON of its values, or there is none of either."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.authz.models import AuthzRequest, Caller, Entity, EntityUid, Extension, value_to_json
from redoubt.authz.written import Written, value_text
from redoubt.core.canonical import canonical_json, sha256_hex

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", '"', "\\", "\n", "\u2028", "ä", "🦀", "__entity", "\x7f", "</"]
)
UIDS = st.builds(EntityUid, TEXTS, TEXTS)
LEAVES = TEXTS | st.integers() | st.booleans() | UIDS | st.none() | st.floats(allow_nan=False)
EXTENSIONS = st.builds(Extension, st.sampled_from(["ip", "decimal"]), st.lists(TEXTS, max_size=2).map(tuple))
VALUES = st.recursive(
    LEAVES | EXTENSIONS,
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(TEXTS, one, max_size=3)
        | st.sets(TEXTS | UIDS, max_size=3)
    ),
    max_leaves=12,
)
RECORDS = st.dictionaries(TEXTS, VALUES, max_size=3)
ENTITIES = st.builds(Entity, TEXTS, TEXTS, RECORDS, st.lists(UIDS, max_size=2), RECORDS)


def tried(make: Any) -> Any:
    try:
        return make()
    except TypeError:
        return TypeError


@given(VALUES)
def test_a_value_is_written_as_its_json(value: Any) -> None:
    assert tried(lambda: value_text(value)) == tried(lambda: canonical_json(value_to_json(value)).decode())


@given(UIDS, UIDS, UIDS, RECORDS, st.lists(ENTITIES, max_size=3))
def test_a_question_is_written_as_its_values(
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    context: dict[str, Any],
    entities: list[Entity],
) -> None:
    request = AuthzRequest(principal, action, resource, context, tuple(entities))

    def expected() -> Written:
        text = canonical_json(request.values())
        return Written(text.decode(), sha256_hex(text))

    assert tried(lambda: Written.of(request)) == tried(expected)


def test_nesting_beyond_the_bound_has_no_text() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert tried(lambda: value_text(deep)) is TypeError
    assert tried(lambda: value_to_json(deep)) is TypeError


def test_a_kept_principal_is_the_same_person_in_the_same_roles_and_cannot_be_changed() -> None:
    one, same = Caller(user_id="u", roles=frozenset({"a"})), Caller(user_id="u", roles=frozenset({"a"}))
    assert one.principal() is same.principal()
    for other in (
        Caller(user_id="u", roles=frozenset({"a", "b"})), Caller(user_id="v", roles=frozenset({"a"})),
        Caller(user_id="u", roles=frozenset({"a"}), tenant="t"), Caller(),
    ):  # fmt: skip
        assert other.principal() is not one.principal()
        assert other.principal() != one.principal()
    with pytest.raises(TypeError):
        one.principal().attrs["tenant"] = "other"  # type: ignore[index]
    assert one.principal().attrs == {"tenant": "main"}
