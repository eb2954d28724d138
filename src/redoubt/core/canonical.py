"""One byte sequence for one JSON value, so that it can be hashed and signed."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Return the canonical JSON of `value`: sorted keys, no space, UTF-8, no floats (RFC 8785 without its numbers).

    Raises TypeError for a float or for anything JSON has no form of: a hash over them would not be stable.
    """
    _refuse_floats(value, 0)
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _refuse_floats(value: Any, depth: int) -> None:
    if depth > 64:
        raise TypeError("canonical JSON nests at most 64 levels")
    if isinstance(value, float):
        raise TypeError("canonical JSON holds no floats; use integers in minor units or text")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError("canonical JSON keys are text")
            _refuse_floats(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item, depth + 1)
