"""Input: too big, too deep or ambiguous is refused, the rest comes through unchanged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.core.limits import InputLimits, check_head, one_of_each, parse_json, parse_json_object, read_body
from redoubt.core.problem import Problem

SMALL = InputLimits(
    body_bytes=100,
    json_depth=3,
    json_members=10,
    text_chars=20,
    form_fields=3,
    headers=3,
    header_bytes=100,
    target_bytes=10,
)


def status(call, *args):
    with pytest.raises(Problem) as problem:
        call(*args)
    return problem.value.status


async def chunks(*parts):
    for part in parts:
        yield part


async def test_a_body_is_read_up_to_its_limit_and_no_further():
    assert await read_body(chunks(b"ab", b"", b"c"), 3) == b"abc"
    sent = []

    async def endless():
        while len(sent) < 1000:
            sent.append(1)
            yield b"x" * 10

    with pytest.raises(Problem) as problem:
        await read_body(endless(), 95)
    assert problem.value.status == 413
    assert len(sent) == 10


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**20), 10**20)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        lambda c: (
            st.lists(c, max_size=5)
            | st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), c, max_size=5
            )
        ),
        max_leaves=20,
    )
)
def test_good_json_comes_through_unchanged(value):
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{} {}",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":1,"\\u0061":2}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b'"\\ud800"',
        b'"a\\u0000b"',
        b'{"\\u0000":1}',
        b'"\xff"',
        '"é"'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"'a'",
        b"[1,]",
        b"1" * 33,
        b"[[[[1]]]]",
        b'{"a":[{"b":[]}]}',
        b"[1,2,3,4,5,6,7,8,9,10]",
        b'"' + b"x" * 21 + b'"',
        b'{"' + b"x" * 21 + b'":1}',
    ],
)
def test_bad_json_is_refused_with_400(data):
    assert status(parse_json, data, SMALL) == 400


def test_a_bomb_of_brackets_is_refused_not_crashed_on():
    for bomb in (b"[" * 900_000, b'{"a":' * 180_000, b"[" * 450_000 + b"]" * 450_000):
        assert status(parse_json, bomb) == 400
    assert status(parse_json, b" " * 101, SMALL) == 413


def test_brackets_inside_text_do_not_count_as_depth():
    assert parse_json(b'"[[[[[[\\"[[[["', SMALL) == '[[[[[["[[[['


def test_an_object_is_asked_for_and_nothing_else_taken():
    assert parse_json_object(b'{"a":1}') == {"a": 1}
    for data in (b"[]", b"1", b"null", b'"a"'):
        assert status(parse_json_object, data) == 400


def test_form_fields_come_once_and_bounded():
    assert one_of_each([("a", "1"), ("b", "2")], SMALL) == {"a": "1", "b": "2"}
    for pairs in (
        [("a", "1"), ("a", "1")],
        [(str(i), "") for i in range(4)],
        [("a", "x" * 21)],
        [("a", "\0")],
        [("\0", "")],
    ):
        assert status(one_of_each, pairs, SMALL) == 400


@pytest.mark.parametrize(
    ("headers", "target", "expected"),
    [
        ([(b"content-length", b"101")], b"/", 413),
        ([(b"Content-Length", b"5"), (b"content-length", b"5")], b"/", 400),
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], b"/", 400),
        ([(b"content-length", b"+5")], b"/", 400),
        ([(b"content-length", b"5, 5")], b"/", 400),
        ([(b"content-length", b"-1")], b"/", 400),
        ([(b"content-length", b"")], b"/", 400),
        ([(b"content-length", b"9" * 19)], b"/", 400),
        ([(b"a", b"b")] * 4, b"/", 431),
        ([(b"a", b"b" * 101)], b"/", 431),
        ([], b"/" * 11, 414),
    ],
)
def test_a_bad_head_is_refused(headers, target, expected):
    assert status(check_head, headers, target, SMALL) == expected


def test_a_good_head_passes():
    check_head([(b"content-length", b"100"), (b"host", b"x")], b"/", SMALL)
    check_head([(b"transfer-encoding", b"chunked")], b"/", SMALL)
