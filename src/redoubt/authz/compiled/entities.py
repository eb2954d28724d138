"""The entities that a decision may read, with all of their ancestors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..models import Entity
from .values import CedarError, Ref, ref_of, value_of


class Node:
    """One stored entity: its attributes, tags and ancestors as Cedar values. Not changed once it is built."""

    __slots__ = ("ancestors", "attrs", "tags")

    def __init__(self, attrs: dict[str, Any], tags: dict[str, Any], ancestors: frozenset[Ref]) -> None:
        self.attrs = attrs
        self.tags = tags
        self.ancestors = ancestors


ABSENT = Node({}, {}, frozenset())
"""What stands for an entity that is not stored."""

Store = Mapping[Ref, Node]
"""Entities by reference; one that is missing is Cedar's absent entity: it has no attribute and no ancestor."""


def store_of(entities: Iterable[Entity]) -> Store:
    """Return the store over `entities`, ancestors closed.

    Raises TypeError or CedarError for a value that Cedar does not have, for a cycle of parents, and for two entities
    of one uid that are not the same.
    """
    given: dict[Ref, Entity] = {}
    for entity in entities:
        known = given.setdefault(ref_of(entity.uid), entity)
        if known is not entity and known != entity:
            raise CedarError("two entities have one uid")
    parents = {ref: {ref_of(parent) for parent in entity.parents} for ref, entity in given.items()}
    return {
        ref: Node(
            {name: value_of(item) for name, item in entity.attrs.items()},
            {name: value_of(item) for name, item in entity.tags.items()},
            _ancestors(ref, parents),
        )
        for ref, entity in given.items()
    }


def _ancestors(ref: Ref, parents: Mapping[Ref, set[Ref]]) -> frozenset[Ref]:
    found: set[Ref] = set()
    waiting = list(parents[ref])
    while waiting:
        parent = waiting.pop()
        if parent == ref:
            raise CedarError("the entities' parents form a cycle")
        if parent not in found:
            found.add(parent)
            waiting += parents.get(parent, ())
    return frozenset(found)
