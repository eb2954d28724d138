"""Bounds of input: what is too big, too deep or ambiguous is refused before anything works with it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, Mapping
from typing import Any, NoReturn

from attrs import frozen

from .problem import Problem


@frozen
class InputLimits:
    """How much of everything one request may bring."""

    body_bytes: int = 1024 * 1024
    json_depth: int = 32
    json_members: int = 10_000
    text_chars: int = 100_000
    number_digits: int = 32
    form_fields: int = 200
    headers: int = 100
    header_bytes: int = 32 * 1024
    target_bytes: int = 8 * 1024


DEFAULT = InputLimits()
_SURROGATE = re.compile("[\ud800-\udfff]")


def too_large(limit: int) -> Problem:
    """Return the refusal of a body above `limit` bytes."""
    return Problem(
        413, "body-too-large", "The request body is too large.", detail=f"At most {limit} bytes are taken."
    )


def check_head(headers: list[tuple[bytes, bytes]], target: bytes, limits: InputLimits = DEFAULT) -> None:
    """Refuse a request by its head alone: too many or too large headers, a long target, an unclear or large length.

    `Content-Length` must be one plain number (RFC 9110, section 8.6), and not stand beside `Transfer-Encoding`
    (RFC 9112, section 6.1): servers that disagree about it can be made to see different requests.
    """
    if len(target) > limits.target_bytes:
        raise Problem(414, "target-too-long", "The request target is too long.")
    if len(headers) > limits.headers or sum(len(k) + len(v) for k, v in headers) > limits.header_bytes:
        raise Problem(431, "headers-too-large", "The request headers are too large.")
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    coded = any(name.lower() == b"transfer-encoding" for name, _ in headers)
    if (
        len(lengths) > 1
        or (lengths and coded)
        or any(not value.isdigit() or len(value) > 18 for value in lengths)
    ):
        raise Problem(400, "length-unclear", "The request's length is not clear.")
    if lengths and int(lengths[0]) > limits.body_bytes:
        raise too_large(limits.body_bytes)


async def read_body(chunks: AsyncIterable[bytes], limit: int = DEFAULT.body_bytes) -> bytes:
    """Return the whole body, or refuse it at the first byte above `limit`, whatever length it announced."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        parts.append(chunk)
    return b"".join(parts)


def parse_json(data: bytes, limits: InputLimits = DEFAULT) -> Any:
    """Return the JSON value in `data` (RFC 8259), or refuse it with 400 or 413.

    Refused: other encodings than UTF-8, duplicate names (RFC 8259 leaves their meaning open), NaN and infinities,
    lone surrogates, NUL in text, numbers and text of absurd length, too deep and too many members.
    """
    if len(data) > limits.body_bytes:
        raise too_large(limits.body_bytes)
    counter = _Counter(limits)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=counter.object,
            parse_int=counter.integer,
            parse_float=counter.real,
            parse_constant=lambda _: _refuse("NaN and Infinity are not JSON."),
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        _refuse("It does not parse.")
    counter.check(value)
    return value


def parse_json_object(data: bytes, limits: InputLimits = DEFAULT) -> dict[str, Any]:
    """Return the JSON object in `data`, or refuse it as `parse_json` does."""
    value = parse_json(data, limits)
    if not isinstance(value, dict):
        _refuse("An object is expected.")
    return value


def one_of_each(pairs: list[tuple[str, str]], limits: InputLimits = DEFAULT) -> dict[str, str]:
    """Return form or query fields as a mapping; a repeated, oversized or NUL-bearing field is refused with 400."""
    if len(pairs) > limits.form_fields:
        raise Problem(400, "form-invalid", "The form is not valid.", detail="It has too many fields.")
    fields: Mapping[str, str] = dict(pairs)
    if len(fields) != len(pairs):
        raise Problem(400, "form-invalid", "The form is not valid.", detail="A field is repeated.")
    for text in (*fields, *fields.values()):
        if len(text) > limits.text_chars or "\0" in text:
            raise Problem(
                400, "form-invalid", "The form is not valid.", detail="A field is too long or not text."
            )
    return dict(fields)


class _Counter:
    def __init__(self, limits: InputLimits) -> None:
        self._limits = limits
        self._left = limits.json_members

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            _refuse("A name is repeated in one object.")
        return found

    def integer(self, digits: str) -> int:
        if len(digits) > self._limits.number_digits:
            _refuse("A number is too long.")
        return int(digits)

    def real(self, digits: str) -> float:
        value = float(digits) if len(digits) <= self._limits.number_digits else float("inf")
        if value in (float("inf"), float("-inf")):
            _refuse("A number is too large.")
        return value

    def check(self, value: Any) -> None:
        """Walk the parsed value once: measure depth, count members, look at every text."""
        waiting = [(value, 0)]
        while waiting:
            here, depth = waiting.pop()
            self._left -= 1
            if self._left < 0:
                _refuse("It has too many members.")
            if isinstance(here, dict | list) and depth >= self._limits.json_depth:
                _refuse("It nests too deep.")
            if isinstance(here, str):
                self._text(here)
            elif isinstance(here, dict):
                for name in here:
                    self._text(name)
                waiting.extend((item, depth + 1) for item in here.values())
            elif isinstance(here, list):
                waiting.extend((item, depth + 1) for item in here)

    def _text(self, text: str) -> None:
        if len(text) > self._limits.text_chars:
            _refuse("A text is too long.")
        if "\0" in text or (not text.isascii() and _SURROGATE.search(text)):
            _refuse("A text holds what is no character.")


def _refuse(detail: str) -> NoReturn:
    raise Problem(400, "json-invalid", "The JSON is not valid.", detail=detail)
