"""Card numbers in a request, in whatever spelling what reads it later would understand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import Scope

from redoubt.core.pan import contains_pan


def card_in(scope: Scope, headers: Headers, body: bytes) -> bytes | str | None:
    """Return the first part of a request that holds a card number, or None: address, headers, cookies and body.

    Nothing cheaper stands before `contains_pan`: a filter that sees fewer spellings than it does lets them by.
    """
    query = unquote_to_bytes(scope.get("query_string", b"").replace(b"+", b" "))
    path = unquote_to_bytes(scope.get("raw_path") or scope["path"].encode())
    head = b"\n".join([value for _, value in scope["headers"]])
    # No card number goes over a line's end, so one search over all of them finds what a search in each would.
    whole = b"\n".join((path, query, head, body))
    found = contains_pan(whole)
    meant = _meant(headers, body) if body else ()
    if not found and not meant:
        return None
    for part in (path, query, head, body, *meant):
        if part and contains_pan(part):
            return part
    return whole if found else None


def _meant(headers: Headers, body: bytes) -> tuple[bytes | str, ...]:
    """Return what a parser makes of an encoded body: a form's percent signs, the escapes of JSON (RFC 8259, section 7)."""
    if "urlencoded" in headers.get("content-type", "").lower():
        return (unquote_to_bytes(body.replace(b"+", b" ")),)
    if b"\\" in body:
        try:
            return ("\n".join(_texts(json.loads(body))),)
        except (ValueError, RecursionError):  # no JSON, so nothing reads it as such
            return ()
    return ()


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, str):
            yield here
        elif isinstance(here, dict):
            waiting += [*here.keys(), *here.values()]
        elif isinstance(here, list):
            waiting += here
