"""Canonical JSON: one byte sequence for one value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.core.canonical import canonical_json, sha256_hex

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    if isinstance(value, list):
        return [shuffled(item) for item in value]
    return value


@given(values)
def test_order_of_members_does_not_matter_and_nothing_is_lost(value: Any) -> None:
    data = canonical_json(value)
    assert data == canonical_json(shuffled(value))
    assert json.loads(data) == value


@pytest.mark.parametrize("value", [1.0, {"a": 0.1}, [float("nan")], {1: "a"}, object(), b"bytes"])
def test_what_has_no_stable_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


def test_depth_is_bounded() -> None:
    value: Any = []
    for _ in range(100):
        value = [value]
    with pytest.raises(TypeError, match="64"):
        canonical_json(value)


def test_a_known_value_has_its_known_hash() -> None:
    assert canonical_json({"b": [1, True, None], "a": "é"}) == '{"a":"é","b":[1,true,null]}'.encode()
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
