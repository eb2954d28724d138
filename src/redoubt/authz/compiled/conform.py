"""Entities held to the schema while they are read: what does not conform is never decided about.

As the reference engine does it when it parses entities with a schema, with one difference: values have their own
types here, so text is never taken for an address, nor a record for a reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from attrs import frozen

from ..models import Entity, EntityUid
from ..schema import Schema
from .check import fits
from .entities import Node, Store, store_of
from .python import Later
from .values import CedarError, Ref, ref_of, value_of

_NOTHING: dict[str, Any] = {}


@frozen
class _Type:
    attributes: Later
    tags: Later | None
    ancestors: frozenset[str]
    enum: frozenset[str] | None


class Conformer:
    """Reads the entities of requests under one schema; immutable and safe to share between threads."""

    def __init__(self, schema: Schema) -> None:
        """Prepare the checks of every entity type of `schema`, and the groups of its actions."""
        self._types = {
            name: _Type(
                Later(partial(fits, kind.shape, schema.entities)),
                None if kind.tags is None else Later(partial(fits, kind.tags, schema.entities)),
                schema.ancestor_types(name),
                None if kind.enum is None else frozenset(kind.enum),
            )
            for name, kind in schema.entities.items()
        }
        self._actions: dict[Ref, Node] = {
            ref_of(uid): Node({}, {}, frozenset(map(ref_of, schema.action_ancestors(uid))))
            for uid in schema.actions
        }
        self._action_types = frozenset(uid.type for uid in schema.actions)

    def store(self, entities: tuple[Entity, ...], action: EntityUid) -> Store:
        """Return the store over `entities` and the action with its groups.

        Raises CedarError for an entity that is not as the schema says, for a cycle, and for two entities of one uid;
        TypeError for a value that Cedar does not have.
        """
        named = ref_of(action)
        found: dict[Ref, Node] = {}
        known = self._actions.get(named)
        if known is not None:
            found[named] = known
        plain = entities
        if self._action_types and any(entity.type in self._action_types for entity in entities):
            plain = tuple(entity for entity in entities if not self._is_action(entity))
        for entity in plain:
            kept = entity.kept
            node = None if kept is None else kept.get(self)
            if node is None:
                node = self.node(entity)
                if kept is not None:
                    kept[self] = node
            ref = Ref(entity.type, entity.id)
            if ref in found:
                raise CedarError("two entities have one uid")
            found[ref] = node
        for entity in plain:
            for parent in entity.parents:
                if ref_of(parent) in found:  # a parent that has parents: the ancestors must be closed
                    return self._closed(plain, found)
        return found

    def _is_action(self, entity: Entity) -> bool:
        """Say whether this is one of the schema's actions, which are known already; raises CedarError for a false one."""
        if entity.type not in self._action_types:
            return False
        known = self._actions.get(ref_of(entity.uid))
        if known is None or entity.attrs or entity.tags:
            raise CedarError("an action that is not as the schema says")
        if not known.ancestors.issuperset(map(ref_of, entity.parents)):
            raise CedarError("an action in a group where the schema does not have it")
        return True

    def _closed(self, entities: tuple[Entity, ...], found: dict[Ref, Node]) -> Store:
        closed = store_of(entities)
        for ref, node in closed.items():
            self._check_ancestors(self._types[ref.type], node.ancestors)
        return {**found, **closed}

    def node(self, entity: Entity) -> Node:
        """Return one entity with its parents as its ancestors; raises as `store` does."""
        kind = self._types.get(entity.type)
        if kind is None:
            raise CedarError("an entity of a type that the schema does not have")
        if kind.enum is not None and entity.id not in kind.enum:
            raise CedarError("the schema lists no entity of this id")
        attrs = {name: value_of(item) for name, item in entity.attrs.items()}
        if not kind.attributes.run(attrs):
            raise CedarError("an entity whose attributes are not as the schema says")
        tags = {name: value_of(item) for name, item in entity.tags.items()} if entity.tags else _NOTHING
        if tags and (kind.tags is None or not all(map(kind.tags.run, tags.values()))):
            raise CedarError("an entity whose tags are not as the schema says")
        ancestors = frozenset([ref_of(parent) for parent in entity.parents])
        self._check_ancestors(kind, ancestors)
        if Ref(entity.type, entity.id) in ancestors:
            raise CedarError("the entities' parents form a cycle")
        return Node(attrs, tags, ancestors)

    def _check_ancestors(self, kind: _Type, ancestors: frozenset[Ref]) -> None:
        types: Mapping[str, _Type] = self._types
        for ref in ancestors:
            if ref.type not in kind.ancestors:
                raise CedarError("an entity within one of a type that the schema does not allow there")
            enum = types[ref.type].enum
            if enum is not None and ref.id not in enum:
                raise CedarError("the schema lists no entity of this id")
