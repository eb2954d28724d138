"""Bodies are bounded before they are held, and read once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from redoubt.core.problem import Problem
from redoubt.runtime.body import ClientGone, form_field, read_body, replay


def source(*chunks: bytes, gone: bool = False) -> Any:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]
    if gone:
        messages[-1:] = [{"type": "http.disconnect"}]
    seen: list[int] = []

    async def receive() -> dict[str, Any]:
        seen.append(1)
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    receive.seen = seen  # type: ignore[attr-defined]
    return receive


async def test_a_body_arrives_whole() -> None:
    assert await read_body(source(b"ab", b"cd"), "4", 10) == b"abcd"


async def test_a_declared_excess_is_refused_before_anything_is_read() -> None:
    receive = source(b"x" * 11)
    with pytest.raises(Problem) as refused:
        await read_body(receive, "11", 10)
    assert refused.value.status == 413
    assert receive.seen == []


async def test_a_lying_length_does_not_help() -> None:
    with pytest.raises(Problem) as refused:
        await read_body(source(b"x" * 6, b"x" * 6, b"x" * 6), "3", 10)
    assert refused.value.status == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "", "0x10", "1, 1"])
async def test_a_malformed_length_is_refused(length: str) -> None:
    with pytest.raises(Problem) as refused:
        await read_body(source(b""), length, 10)
    assert refused.value.status == 400


async def test_a_body_that_never_ends_is_not_waited_for() -> None:
    async def stalled() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(Problem) as refused:
        await read_body(stalled, "100", 1000, within=0.01)
    assert refused.value.status == 408


async def test_a_client_that_leaves_is_noticed() -> None:
    with pytest.raises(ClientGone):
        await read_body(source(b"a", b"b", gone=True), None, 10)


async def test_what_was_read_is_given_again_once() -> None:
    receive = source(b"")
    await receive()
    again = replay(b"body", receive)
    assert await again() == {"type": "http.request", "body": b"body", "more_body": False}
    assert (await again())["type"] == "http.disconnect"


def test_a_field_given_twice_counts_as_none() -> None:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    assert form_field(headers, b"a=1&csrf_token=x", "csrf_token") == "x"
    assert form_field(headers, b"csrf_token=x&csrf_token=y", "csrf_token") is None
    assert form_field({"content-type": "application/json"}, b"csrf_token=x", "csrf_token") is None
    assert form_field(headers, b"&".join(b"a=1" for _ in range(500)), "a") is None
