"""A schema as it was written: names as the author wrote them, each with its place. Both forms are read into this."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum

from attrs import field, frozen

Place = tuple[int, int]
RESERVED = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has"})
"""Words that no name may be (Cedar grammar, reserved identifiers)."""
RESERVED_TYPES = frozenset({"Bool", "Boolean", "Entity", "Extension", "Long", "Record", "Set", "String"})
"""Words that no common type may be called."""
BUILTIN = "__cedar"
_IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Kind(Enum):
    """What a name may stand for: in the human form either, in the JSON form the author says."""

    ANY = "type"
    COMMON = "common type"
    ENTITY = "entity type"


@frozen
class RawName:
    """A type named by a path."""

    path: str
    at: Place
    kind: Kind = Kind.ANY


@frozen
class RawSet:
    """A set of a type."""

    element: RawType


@frozen
class RawAttribute:
    """An attribute as written."""

    type: RawType
    required: bool
    annotations: Mapping[str, str]


@frozen
class RawRecord:
    """A record as written."""

    attributes: Mapping[str, RawAttribute]
    at: Place


RawType = RawName | RawSet | RawRecord


@frozen
class RawCommon:
    """A common type."""

    type: RawType
    at: Place


@frozen
class RawEntity:
    """An entity type."""

    at: Place
    member_of: Sequence[RawName] = ()
    shape: RawType | None = None
    tags: RawType | None = None
    enum: tuple[str, ...] | None = None
    annotations: Mapping[str, str] = field(factory=dict)


@frozen
class RawGroup:
    """A group that an action is in; `type` is None for an action of the same namespace."""

    type: str | None
    id: str
    at: Place


@frozen
class RawAction:
    """An action."""

    at: Place
    member_of: Sequence[RawGroup] = ()
    principals: Sequence[RawName] = ()
    resources: Sequence[RawName] = ()
    context: RawType | None = None
    annotations: Mapping[str, str] = field(factory=dict)


@frozen
class RawNamespace:
    """What one namespace declares; the empty name is the outermost one."""

    name: str
    commons: dict[str, RawCommon] = field(factory=dict)
    entities: dict[str, RawEntity] = field(factory=dict)
    actions: dict[str, RawAction] = field(factory=dict)


def is_name(word: str) -> bool:
    """Say whether `word` may be the name of a type or a part of a path."""
    return _IDENT.fullmatch(word) is not None and word not in RESERVED and word != BUILTIN


def is_path(path: str) -> bool:
    """Say whether `path` is names joined by `::`; the first may be `__cedar`."""
    first, *rest = path.split("::")
    return (first == BUILTIN or is_name(first)) and all(map(is_name, rest))
