"""Resolves a schema as written: names become full, common types are put in place of their names, faults are found.

A name is looked for in its namespace, then outermost, then among Cedar's own; a common type goes before an entity
type (Cedar RFC 24), and no namespace may shadow what is declared outermost (RFC 70).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field

from ..models import EntityUid
from .errors import Misread
from .raw import (
    BUILTIN,
    Kind,
    Place,
    RawAction,
    RawCommon,
    RawEntity,
    RawGroup,
    RawName,
    RawNamespace,
    RawSet,
    RawType,
)
from .types import (
    ActionType,
    Attribute,
    BoolType,
    EntityRef,
    EntityType,
    ExtensionType,
    LongType,
    RecordType,
    Schema,
    SetType,
    StringType,
    Type,
)

MAX_DEPTH = 64
"""How deep a type may nest, common types put in place."""
MAX_NODES = 200_000
"""How many types a schema may hold, common types put in place of every use."""
_BUILTINS: Mapping[str, Type] = {
    "Bool": BoolType(),
    "Long": LongType(),
    "String": StringType(),
    **{name: ExtensionType(name) for name in ("ipaddr", "decimal", "datetime", "duration")},
}


def resolve(spaces: Sequence[RawNamespace]) -> Schema:
    """Return the schema with every name resolved; raises Misread at the first fault."""
    names = _Names({space.name: space for space in spaces})
    names.check()
    entities: dict[str, EntityType] = {}
    actions: dict[EntityUid, ActionType] = {}
    for space in spaces:
        for name in space.commons:
            names.common(_join(space.name, name))
        for name, entity in space.entities.items():
            full = _join(space.name, name)
            entities[full] = names.entity(full, space.name, entity)
        for name, action in space.actions.items():
            uid = EntityUid(_join(space.name, "Action"), name)
            actions[uid] = names.action(uid, space.name, action)
    places = {
        EntityUid(_join(space.name, "Action"), name): action.at
        for space in spaces
        for name, action in space.actions.items()
    }
    _refuse_cycles({uid: action.member_of for uid, action in actions.items()}, places)
    return Schema(entities, actions)


def _join(space: str, name: str) -> str:
    return f"{space}::{name}" if space else name


@define
class _Sized:
    """A resolved type with its depth and its number of types, common types counted at each use."""

    type: Type
    depth: int = 1
    nodes: int = 1


@define
class _Names:
    spaces: Mapping[str, RawNamespace]
    resolved: dict[str, _Sized] = field(factory=dict)
    open: list[str] = field(factory=list)
    nodes: int = 0

    def check(self) -> None:
        """Refuse shadowing of what is outermost, and entity types called Action."""
        outer = self.spaces.get("", RawNamespace(""))
        for name, space in self.spaces.items():
            for short, entity in space.entities.items():
                if short == "Action":
                    raise Misread("no entity type may be called Action", entity.at)
            if not name:
                continue
            declared: dict[str, RawCommon | RawEntity] = {**space.commons, **space.entities}
            for short, item in declared.items():
                if short in outer.commons or short in outer.entities:
                    raise Misread(f"{name}::{short} shadows {short}", item.at)
            for short, action in space.actions.items():
                if short in outer.actions:
                    raise Misread(f'{name}::Action::"{short}" shadows Action::"{short}"', action.at)

    def entity(self, full: str, space: str, raw: RawEntity) -> EntityType:
        parents = frozenset(self.entity_name(parent, space) for parent in raw.member_of)
        shape = (
            RecordType()
            if raw.shape is None
            else self.record(raw.shape, space, raw.at, f"the shape of {full}")
        )
        tags = None if raw.tags is None else self.take(raw.tags, space, raw.at)
        return EntityType(full, parents, shape, tags, raw.enum, raw.annotations)

    def action(self, uid: EntityUid, space: str, raw: RawAction) -> ActionType:
        context = (
            RecordType()
            if raw.context is None
            else self.record(raw.context, space, raw.at, f"the context of {uid.id!r}")
        )
        return ActionType(
            uid,
            frozenset(self.group(group, space) for group in raw.member_of),
            frozenset(self.entity_name(name, space) for name in raw.principals),
            frozenset(self.entity_name(name, space) for name in raw.resources),
            context,
            raw.annotations,
        )

    def group(self, raw: RawGroup, space: str) -> EntityUid:
        kind = "Action" if raw.type is None else raw.type
        for candidate in self.candidates(kind, space):
            owner, _, last = candidate.rpartition("::")
            if last == "Action" and owner in self.spaces and raw.id in self.spaces[owner].actions:
                return EntityUid(candidate, raw.id)
        raise Misread(f'no action {kind}::"{raw.id}" is declared', raw.at)

    def entity_name(self, raw: RawName, space: str) -> str:
        for candidate in self.candidates(raw.path, space):
            if self.is_entity(candidate):
                return candidate
        raise Misread(f"no entity type {raw.path} is declared", raw.at)

    def record(self, raw: RawType, space: str, at: Place, what: str) -> RecordType:
        found = self.take(raw, space, at)
        if not isinstance(found, RecordType):
            raise Misread(f"{what} is no record", at)
        return found

    def take(self, raw: RawType, space: str, at: Place) -> Type:
        """Resolve a type that stands by itself, and count it."""
        sized = self.sized(raw, space, at, 1)
        self.nodes += sized.nodes
        if self.nodes > MAX_NODES:
            raise Misread(f"the schema holds more than {MAX_NODES} types", at)
        return sized.type

    def sized(self, raw: RawType, space: str, at: Place, level: int) -> _Sized:
        if level > MAX_DEPTH:
            raise Misread(f"types nest deeper than {MAX_DEPTH}", at)
        if isinstance(raw, RawName):
            found = self.named(raw, space)
        elif isinstance(raw, RawSet):
            inner = self.sized(raw.element, space, at, level + 1)
            found = _Sized(SetType(inner.type), inner.depth + 1, inner.nodes + 1)
        else:
            parts = {
                name: self.sized(attribute.type, space, at, level + 1)
                for name, attribute in raw.attributes.items()
            }
            found = _Sized(
                RecordType(
                    {
                        name: Attribute(parts[name].type, attribute.required, attribute.annotations)
                        for name, attribute in raw.attributes.items()
                    }
                ),
                1 + max((part.depth for part in parts.values()), default=0),
                1 + sum(part.nodes for part in parts.values()),
            )
        if found.depth > MAX_DEPTH or found.nodes > MAX_NODES:
            raise Misread(f"a type is deeper than {MAX_DEPTH} or larger than {MAX_NODES}", at)
        return found

    def named(self, raw: RawName, space: str) -> _Sized:
        for candidate in self.candidates(raw.path, space):
            if raw.kind is not Kind.ENTITY and self.is_common(candidate):
                return self.common(candidate, raw.at)
            if raw.kind is not Kind.COMMON and self.is_entity(candidate):
                return _Sized(EntityRef(candidate))
        builtin = _BUILTINS.get(raw.path.removeprefix(f"{BUILTIN}::"))
        if builtin is None or raw.kind is Kind.ENTITY:
            raise Misread(f"no {raw.kind.value} {raw.path} is declared", raw.at)
        return _Sized(builtin)

    def common(self, full: str, at: Place | None = None) -> _Sized:
        """Resolve a common type once; raises Misread where it contains itself."""
        if full not in self.resolved:
            space, _, name = full.rpartition("::")
            raw = self.spaces[space].commons[name]
            if full in self.open:
                raise Misread(f"the type {full} contains itself", at or raw.at)
            if len(self.open) >= MAX_DEPTH:
                raise Misread(f"types nest deeper than {MAX_DEPTH}", raw.at)
            self.open.append(full)
            self.resolved[full] = self.sized(raw.type, space, raw.at, 1)
            self.open.pop()
        return self.resolved[full]

    def is_common(self, full: str) -> bool:
        space, _, name = full.rpartition("::")
        return space in self.spaces and name in self.spaces[space].commons

    def is_entity(self, full: str) -> bool:
        space, _, name = full.rpartition("::")
        return space in self.spaces and name in self.spaces[space].entities

    @staticmethod
    def candidates(path: str, space: str) -> Iterable[str]:
        if space and "::" not in path:
            return (f"{space}::{path}", path)
        return (path,)


def _refuse_cycles(
    edges: Mapping[EntityUid, frozenset[EntityUid]], places: Mapping[EntityUid, Place]
) -> None:
    """Take away actions without a group that is left, until none is left, or those that are left form a cycle."""
    members: dict[EntityUid, list[EntityUid]] = {uid: [] for uid in edges}
    for uid, groups in edges.items():
        for group in groups:
            members[group].append(uid)
    waits = {uid: len(groups) for uid, groups in edges.items()}
    ready = [uid for uid, count in waits.items() if not count]
    while ready:
        for member in members[ready.pop()]:
            waits[member] -= 1
            if not waits[member]:
                ready.append(member)
    left = [uid for uid, count in waits.items() if count]
    if left:
        raise Misread(f"the action {left[0].id!r} is in a cycle of groups", places[left[0]])
