"""What is too large, too deep or not text at all is refused with an error, never with a crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redoubt.authz.schema import SchemaError, read_schema


@pytest.mark.parametrize(
    "text",
    [
        "entity A { a: " + "Set<" * 5000 + "Long" + ">" * 5000 + "};",
        "entity A { a: " + "{b: " * 5000 + "Long" + "}" * 5000 + "};",
        '{"": {"entityTypes": {"A": {"shape": '
        + '{"type": "Set", "element": ' * 90
        + '{"type": "Long"}'
        + "}" * 94,
        "[" * 100_000,
        "{" + '"":{' * 100_000,
        "type T0 = Long;" + "".join(f"type T{n} = {{a: T{n - 1}}};" for n in range(1, 100)),
        "type T0 = Long;"
        + "".join(f"type T{n} = {{a: T{n - 1}, b: T{n - 1}}};" for n in range(1, 30))
        + "entity A {t: T29};",
        "// " + "x" * (2 * 1024 * 1024),
        "entity \ud800;",
    ],
)
def test_bounds_hold(text: str) -> None:
    with pytest.raises(SchemaError):
        read_schema(text)


def test_a_wide_use_of_one_large_type_is_counted_at_every_use() -> None:
    wide = "type T = {" + "".join(f"a{n}: Long, " for n in range(1000)) + "};"
    assert read_schema(wide + "entity A {t: T};").entities["A"]
    with pytest.raises(SchemaError, match="more than"):
        read_schema(wide + "".join(f"entity A{n} {{t: T}};" for n in range(250)))


_WORDS = st.sampled_from(
    ["entity", "action", "type", "A", "B", "in", "Set", "<", ">", "{", "}", "[", "]", ":", "::", ",", ";", "=", "?",
     '"x"', "@", "namespace", "appliesTo", "principal", "resource", "context", "Long", "tags", "enum", "(", ")"]
)  # fmt: skip


def place(text: str) -> tuple[int, int]:
    """Return where a text is at fault, or its beginning where it is none."""
    try:
        read_schema(text)
    except SchemaError as error:
        return error.line, error.column
    return 1, 1


@given(st.lists(_WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused_at_a_place_in_it(text: str) -> None:
    line, column = place(text)
    assert 1 <= line <= text.count("\n") + 1
    assert 1 <= column <= len(text) + 1
