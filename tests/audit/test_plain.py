"""The glance at plain data comes to what the walk comes to, or leaves it to the walk."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redoubt.audit.personal import MAX_DEPTH, MAX_ITEMS, Committer
from redoubt.audit.plain import canonical_text, plain_text
from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json

UUID = "0190aaaa-0000-7000-8000-000000000001"
DECISION: dict[str, Any] = {
    "action": "Order.read",
    "version": "a" * 64,
    "reasons": ["order-read"],
    "errors": [],
    "values": {
        "principal": {"type": "User", "id": UUID},
        "context": {"risk": 5, "step_up": False},
        "entities": [{"uid": {"type": "Order", "id": UUID}, "attrs": {"owner": {"__entity": {"id": UUID}}}}],
    },
}
HOSTILE = st.sampled_from(
    [
        "alice@example.com", "10.0.0.1", "2001:db8::1", "4242 4242 4242 4242", "sk_live_abcdefghijklmnop1234", "{}", "[",
        "]", '"', "\\", "\n", ":", ",", "", "password", "email", "ip", "Order.read", UUID, f"secret:{UUID}", "a" * 64,
        "é", "+49 30 1234567", "DE89370400440532013000", "1e9", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ]
)  # fmt: skip
TEXTS = HOSTILE | st.text(max_size=60) | st.from_regex(r"[A-Za-z_.:/-]{0,50}", fullmatch=True)
LEAVES = TEXTS | st.integers() | st.booleans() | st.none() | st.floats() | st.binary(max_size=4)
DATA = st.dictionaries(
    TEXTS,
    st.recursive(LEAVES, lambda one: st.lists(one, max_size=4) | st.dictionaries(TEXTS, one, max_size=4)),
    max_size=6,
)


def walked(core: Core, data: Any) -> tuple[str, int]:
    committer = Committer(core, UUID)
    return canonical_text(committer.value(data)), len(committer.disclosures)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(data=DATA)
def test_what_is_told_at_a_glance_is_what_the_walk_leaves(idle: Core, data: dict[str, Any]) -> None:
    text = plain_text(data)
    assert text is None or (text, 0) == walked(idle, data)


def test_a_decision_is_plain(idle: Core) -> None:
    walked(idle, DECISION)
    assert plain_text(DECISION) == canonical_json(DECISION).decode() == walked(idle, DECISION)[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("owner", "alice@example.com"), ("from", "192.0.2.7"), ("email", "alice"), ("ip", "localhost"),
        ("password", "hunter"), ("note", "my card is 4242424242424242"), ("number", 4242424242424242), ("price", 1.5),
        ("when", {1, 2}), ("blob", b"x"), ("token", 7), ("alice@example.com", True),
    ],
)  # fmt: skip
def test_one_part_that_is_not_plain_leaves_all_to_the_walk(idle: Core, name: str, value: Any) -> None:
    for _ in range(2):  # what the walk learns changes nothing
        assert plain_text({**DECISION, "more": [{name: value}]}) is None
        walked(idle, {**DECISION, "more": [{name: value}]})


def test_what_the_walk_would_cut_is_left_to_it(idle: Core) -> None:
    deep: Any = "x"
    for depth in range(MAX_DEPTH + 1):
        data = {"a": deep}
        text = plain_text(data)
        assert (text is None) == (depth >= MAX_DEPTH)
        assert text is None or text == walked(idle, data)[0]
        deep = [deep]
    assert plain_text({"many": [1] * (MAX_ITEMS + 1)}) is None
    # Brackets in texts are none: they neither deepen nor flatten.
    assert plain_text({"a": "}", "b": deep, "c": "{"}) is None
