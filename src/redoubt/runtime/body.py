"""The request's body: read once, bounded, before anything parses it."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Message, Receive

from redoubt.core.problem import Problem

_MAX_FIELDS = 200
WITHIN = 15.0  # seconds for a whole body: who sends a byte a minute holds no memory of ours


def too_large() -> Problem:
    """Return the refusal of a body beyond the cap."""
    return Problem(413, "too-large", "The request is larger than this app accepts.")


async def read_body(receive: Receive, declared: str | None, limit: int, *, within: float = WITHIN) -> bytes:
    """Return the whole body; raises Problem 413 once it is known to be larger than `limit`, 408 after `within` seconds."""
    if declared is not None:
        if not declared.isascii() or not declared.isdigit():
            raise Problem(400, "bad-request", "The request cannot be understood.")
        if int(declared) > limit:
            raise too_large()
    try:
        async with asyncio.timeout(within):
            return await _whole(receive, limit)
    except TimeoutError:
        raise Problem(
            408, "too-slow", "The request did not arrive in time.", headers={"Connection": "close"}
        ) from None


async def _whole(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large()
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


class ClientGone(Exception):
    """The client went away before its body had arrived."""


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives `body` once and then whatever the connection says."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def form_field(headers: MutableMapping[str, str] | Any, body: bytes, name: str) -> str | None:
    """Return the only value of `name` in a urlencoded form body; None when it is absent, given twice or no form."""
    kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return None
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    values = [value for key, value in pairs if key == name]
    return values[0] if len(values) == 1 else None
