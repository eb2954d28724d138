"""Cedar text from values, so that no value can become syntax (Cedar reference, "String literals")."""

from __future__ import annotations

import cedarpy

from .errors import AccessModelError

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}


def quote(value: str) -> str:
    """Return `value` as a Cedar string literal.

    What a reviewer could not see (control and direction characters) is escaped too. Raises AccessModelError for a
    lone surrogate, which no Cedar string can hold.
    """
    return f'"{"".join(_escape(char) for char in value)}"'


def uid(type_name: str, entity_id: str) -> str:
    """Return the entity literal `Type::"id"`; `type_name` must be a checked identifier."""
    return f"{type_name}::{quote(entity_id)}"


def _escape(char: str) -> str:
    short = _SHORT.get(char)
    if short is not None:
        return short
    if "\ud800" <= char <= "\udfff":
        raise AccessModelError("text with a lone surrogate cannot be written as Cedar.")
    return char if char.isprintable() else f"\\u{{{ord(char):x}}}"


def laid_out(text: str) -> str:
    """Return a file of policies in Cedar's layout, comments kept; raises ValueError where it does not parse."""
    return cedarpy.format_policies(text).rstrip("\n") + "\n" if text.strip() else text
