"""Data that hold nothing to redact, told at a glance: the way that nearly every decision takes.

`Committer.value` walks data value by value. Here the whole is written once, and its texts are compared as a set with
those that the walk leaves alone. Whatever is not plainly plain takes the walk, so the outcome is the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .models import Written
from .personal import MAX_DEPTH, MAX_ITEMS, are_identifiers, is_identifier, is_plain, is_plain_name

# The same bytes as `canonical_json`, without its search for floats: the committer lets none through, nor is any plain.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
# A float, or a whole number that is long enough for a card's.
_NUMBER = re.compile(r"[0-9](?:[.eE]|[0-9]{12})")
_BRACKETS = str.maketrans(
    "[]", "{}", ",:-0123456789aeflnrstu"
)  # what else JSON has outside of texts falls away
_MAX_CHARS = 8192
_MAX_KNOWN, _MAX_WORD, _MAX_REST = 4096, 64, 512

_known: set[str] = {""}  # plain as a text and as a member's name
_sound: set[str] = set()  # brackets and numbers that were looked at


def canonical_text(value: Any) -> str:
    """Return the canonical JSON of a value that holds no float."""
    return _ENCODER.encode(value)


def plain_text(data: Mapping[str, Any]) -> str | None:
    """Return the canonical JSON of `data` where a `Committer` would leave every part as it is, else None."""
    try:
        text = data.text if type(data) is Written else _ENCODER.encode(data)
    except (TypeError, ValueError, RecursionError):  # what JSON has no form of, the committer gives one
        return None
    if len(text) > _MAX_CHARS or "\\" in text or text.count(",") >= MAX_ITEMS:
        return None
    parts = text.split('"')  # nothing is escaped, so texts stand at the odd places
    new = set(parts[1::2]) - _known
    if not (new and are_identifiers('"'.join(new))) and not all(map(_is_plain, new)):
        return None
    rest = "".join(parts[::2])  # what is no text; of that, there are few kinds
    if rest not in _sound:
        if _NUMBER.search(rest) or not _depth_holds(rest):
            return None
        if len(_sound) >= _MAX_KNOWN:
            _sound.clear()
        if len(rest) <= _MAX_REST:
            _sound.add(rest)
    return text


def _is_plain(text: str) -> bool:
    if is_identifier(text):
        return True
    if not (is_plain(text) and is_plain_name(text)):
        return False
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    if len(text) <= _MAX_WORD:
        _known.add(text)
    return True


def _depth_holds(rest: str) -> bool:
    brackets = rest.translate(_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace("{}", "")
        if not brackets:
            return True
    return False
