"""Cedar's values as Python's: quick to compare, and never equal across types (`true` is not `1`).

| Cedar | Python |
| --- | --- |
| Bool, Long, String | `bool`, `int`, `str` |
| entity reference | `Ref` |
| decimal, ipaddr, datetime, duration | `Ext` |
| record | `dict` |
| set | `frozenset` of the keys of its elements (see `key`) |
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from ..models import EntityUid, Extension

MIN_LONG, MAX_LONG = -(2**63), 2**63 - 1
MAX_DEPTH = 100


class CedarError(Exception):
    """An expression has no value here (Cedar, "Error handling"): the policy that holds it is skipped."""


class Ref(NamedTuple):
    """A reference to an entity. Its hash and equality are the tuple's, which run in C."""

    type: str
    id: str


class Ext(NamedTuple):
    """A value of an extension type. What stands second is never text, so none equals a Ref."""

    kind: str
    value: Any


reference = lru_cache(maxsize=8192)(Ref)
"""`reference(type, id)`: as `Ref`, and the very same object for the same names while it is remembered."""


def ref_of(uid: EntityUid) -> Ref:
    """Return the reference that a uid names."""
    return reference(uid.type, uid.id)


def key(value: Any) -> Any:
    """Return what stands for `value` within a set: hashable, equal exactly when the Cedar values are equal."""
    kind = type(value)
    if kind is bool:
        return ("bool", value)
    if kind is dict:
        return ("record", frozenset((name, key(item)) for name, item in value.items()))
    return value


def equal(left: Any, right: Any) -> bool:
    """Say whether two Cedar values are equal; values of different types are not."""
    kind = type(left)
    if kind is not type(right):
        return False
    if kind is dict:
        return bool(key(left) == key(right))
    return bool(left == right)


def value_of(value: Any, depth: int = 0) -> Any:
    """Return the Cedar value of an attribute as the app gives it.

    Raises TypeError for what Cedar does not have (floats, None, numbers beyond 64 bits, too deep a nesting) and
    CedarError for an extension value that does not parse.
    """
    if depth > MAX_DEPTH:
        raise TypeError("a value nests too deeply")
    kind = type(value)
    if kind is str or kind is bool:
        return value
    if kind is EntityUid:
        return ref_of(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if not MIN_LONG <= value <= MAX_LONG:
            raise TypeError("a number beyond 64 bits")
        return int(value)
    if isinstance(value, Extension):
        from .extensions import construct  # which is made of these values

        return construct(value.fn, [value_of(item, depth + 1) for item in value.args])
    if isinstance(value, Mapping):
        if any(not isinstance(name, str) or name.startswith("__") for name in value):
            raise TypeError("a record key that is not plain text")
        return {name: value_of(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return frozenset(key(value_of(item, depth + 1)) for item in value)
    raise TypeError(f"a value of the type {type(value).__name__}")
