"""What is known of entities: the ones given with a question, and through the mapping the ones in tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
from attrs import define, field

from ..models import Entity, EntityUid
from . import mapping as at
from .mapping import Untranslatable
from .sql import SQL, Condition, every, negate, some
from .values import FAILED, Constant, Part, Record, Rows, Scalar, Truth, constant


def _by_uid(entities: Iterable[Entity]) -> dict[EntityUid, Entity]:
    return {entity.uid: entity for entity in entities}


@define(eq=False)
class World:
    """Reads attributes, tags and ancestors.

    An entity that is given is read from there. Another one whose type has a table is read from that; any other does
    not exist.
    """

    mapping: at.Mapping
    given: dict[EntityUid, Entity] = field(converter=_by_uid)

    def lookup(self, uid: EntityUid) -> Entity | Scalar | None:
        """Return a known entity as given, as a row to be, or as absent."""
        entity = self.given.get(uid)
        if entity is None and uid.type in self.mapping.tables:
            if self.mapping.tables[uid.type].alone:
                raise Untranslatable(f"what {uid} has, beside the row.", hint="Decide row by row.")
            return Scalar("Entity", sa.literal(uid.id, sa.String()), True, uid.type)
        return entity

    # Attributes.

    def attribute(self, base: Part, name: str) -> Part:
        """Return an attribute of an entity or record; an absent one is an error."""
        entity = self.lookup(base.value) if isinstance(base, Constant) and base.kind == "Entity" else None
        match base:
            case Constant(kind="Record", value=fields):
                return dict(fields).get(name, FAILED)  # type: ignore[no-any-return]
            case Record(of=owner, fields=nested, known=known):
                if known is not None and name not in nested.fields:
                    return known.get(name, FAILED)
                return self._read(owner, self._mapped(nested.fields, name, owner), base.there)
            case Scalar(kind="Entity"):
                entity = base
        if isinstance(entity, Scalar):
            table = self.mapping.table(entity.type or "")
            if table.closed and name not in table.attributes:
                return FAILED
            return self._read(entity, self._mapped(table.attributes, name, entity), entity.there)
        return constant(entity.attrs[name]) if entity is not None and name in entity.attrs else FAILED

    def has(self, base: Part, name: str) -> Truth:
        """Return whether an attribute is there; what is neither entity nor record is an error."""
        match base:
            case Constant(kind="Record", value=fields):
                return _plain(name in dict(fields))
            case Constant(kind="Entity", value=uid):
                entity = self.lookup(uid)
                if not isinstance(entity, Scalar):
                    return _plain(entity is not None and name in entity.attrs)
                base = entity
            case Scalar(kind="Entity") | Record():
                pass
            case _:
                return Truth(False, False)
        found = self.attribute(base, name)
        present = found.there if isinstance(found, Scalar | Rows | Record) else isinstance(found, Constant)
        return Truth(every(base.there, present), every(base.there, negate(present)))

    def _mapped(self, attributes: Any, name: str, entity: Scalar) -> at.Attribute:
        found: at.Attribute | None = attributes.get(name)
        if found is None:
            raise Untranslatable(
                f"the attribute {name!r} of {entity.type} is in no column.",
                hint="Map it, or decide row by row.",
            )
        return found

    def _read(self, entity: Scalar, attribute: at.Attribute, sure: Condition) -> Part:
        match attribute:
            case at.Value(column=column, kind=kind):
                return self._column(entity, column, kind, None, sure)
            case at.Reference(column=column, type=name):
                return self._column(entity, column, "Entity", name, sure)
            case at.Nested():
                return Record(entity, attribute, every(sure, self.exists(entity)))
            case at.Child(owner=owner, column=column, kind=kind, type=name):
                return Rows(
                    kind, name, _elements(entity.sql, owner, column), every(sure, self.exists(entity))
                )

    def _column(
        self, entity: Scalar, column: sa.Column[Any], kind: at.Kind, name: str | None, sure: Condition
    ) -> Scalar:
        if entity.row:
            return Scalar(kind, column, every(sure, column.is_not(None) if column.nullable else True), name)
        table = self.mapping.table(entity.type or "")
        alias = column.table.alias()
        value = (
            sa.select(alias.c[column.key])
            .where(alias.c[table.id.key] == entity.sql)
            .correlate_except(alias)
            .scalar_subquery()
        )
        return Scalar(kind, value, every(sure, value.is_not(None)), name)

    def exists(self, entity: Scalar) -> Condition:
        """Return whether the row of an entity is there."""
        if entity.row:
            return True
        table = self.mapping.table(entity.type or "")
        alias = table.id.table.alias()
        return sa.exists(sa.literal(1)).where(alias.c[table.id.key] == entity.sql).correlate_except(alias)

    # Tags.

    def tag(self, base: Part, key: Part) -> Part:
        """Return a tag's value; an absent one is an error."""
        if not isinstance(key, Constant):
            raise Untranslatable("a tag's key that depends on the row.", hint="Decide row by row.")
        entity = self.lookup(base.value) if isinstance(base, Constant) and base.kind == "Entity" else base
        if key.kind != "String":
            return FAILED
        match entity:
            case Entity():
                return constant(entity.tags[key.value]) if key.value in entity.tags else FAILED
            case Scalar(kind="Entity"):
                tags = self.mapping.table(entity.type or "").tags
                if tags is None:
                    raise Untranslatable(f"the tags of {entity.type} have no table.", hint="Map them.")
                alias = tags.owner.table.alias()
                value = (
                    sa.select(alias.c[tags.value.key])
                    .where(alias.c[tags.owner.key] == entity.sql, alias.c[tags.key.key] == key.value)
                    .correlate_except(alias)
                    .scalar_subquery()
                )
                return Scalar(tags.kind, value, every(entity.there, self.exists(entity), value.is_not(None)))
            case _:
                return FAILED

    def has_tag(self, base: Part, key: Part) -> Truth:
        """Return whether a tag is there."""
        if isinstance(base, Constant) and base.kind == "Entity" and isinstance(key, Constant):
            if key.kind != "String":
                return Truth(False, False)
            entity = self.lookup(base.value)
            if not isinstance(entity, Scalar):
                return _plain(entity is not None and key.value in entity.tags)
            base = entity
        found = self.tag(base, key)
        if not isinstance(base, Scalar) or not isinstance(found, Scalar):
            return Truth(False, False)
        return Truth(found.there, every(base.there, negate(found.there)))

    # Ancestors.

    def ancestors(self, uid: EntityUid) -> frozenset[EntityUid]:
        """Return a known entity and all its ancestors among the given ones."""
        found, waiting = {uid}, [uid]
        while waiting:
            entity = self.given.get(waiting.pop())
            for parent in entity.parents if entity is not None else ():
                if parent not in found:
                    found.add(parent)
                    waiting.append(parent)
        return frozenset(found)

    def within(self, entity: Scalar, target: EntityUid) -> Condition:
        """Return whether the entity of a row is `target` or below it; meant where `entity.there`."""
        name = entity.type or ""
        parts: list[Condition] = []
        if name == target.type:
            parts.append(entity.sql == target.id)
        if not entity.row and (given := self._given_below(name, target)):
            parts.append(entity.sql.in_(given))
        table = self.mapping.tables.get(name)
        for parent in table.parents if table is not None else ():
            for column, choose in self._edges(entity, parent):
                parts.append(choose(column.in_(self._below(parent, target))))
        return some(*parts)

    def _given_below(self, name: str, target: EntityUid) -> list[str]:
        """Return the ids of the given entities of the type `name` that are below `target`: a row may refer to them."""
        found = []
        for uid in self.given:
            if uid.type != name or uid == target:
                continue
            above = self.ancestors(uid)
            if target in above:
                found.append(uid.id)
            elif any(self._goes_on(other) for other in above if other not in self.given):
                raise Untranslatable(f"the ancestors of {uid.type} were not given.", hint="Give them.")
        return sorted(found)

    def _goes_on(self, uid: EntityUid) -> bool:
        table = self.mapping.tables.get(uid.type)
        return table is not None and bool(table.parents)

    def _edges(
        self, entity: Scalar, parent: at.Parent | at.Link | at.Closure
    ) -> Iterable[tuple[SQL, Callable[[Any], Condition]]]:
        if isinstance(parent, at.Parent):
            found = self._column(entity, parent.column, "Entity", parent.type, True)
            yield found.sql, lambda condition: every(found.sql.is_not(None), condition)
            return
        near, far = (
            (parent.child, parent.parent)
            if isinstance(parent, at.Link)
            else (parent.descendant, parent.ancestor)
        )
        alias = near.table.alias()
        yield (
            alias.c[far.key],
            lambda condition: (
                sa.exists(sa.literal(1))
                .where(alias.c[near.key] == entity.sql, condition)
                .correlate_except(alias)
            ),
        )

    def _below(self, parent: at.Parent | at.Link | at.Closure, target: EntityUid) -> Any:
        """Return a query of the ids of `parent`'s type that are `target` or below it."""
        if isinstance(parent, at.Closure):
            itself = [target.id] if parent.type == target.type else []
            return itself + self._given_below(parent.type, target)
        return self._descendants(parent.type, target, ())

    def _descendants(self, name: str, target: EntityUid, seen: tuple[str, ...]) -> Any:
        if name in seen:
            raise Untranslatable(
                f"the parents of {name} go in a circle over other types.", hint="Keep a closure table."
            )
        table = self.mapping.tables.get(name)
        start = [target.id] if name == target.type else []
        start += self._given_below(name, target)
        own = [parent for parent in (table.parents if table else ()) if parent.type == name]
        seeds: list[Any] = [sa.select(sa.literal(value, sa.String()).label("id")) for value in start]
        for parent in table.parents if table else ():
            if parent.type == name and not isinstance(parent, at.Closure):
                continue
            child, above = _edge(parent, table)  # type: ignore[arg-type]
            if isinstance(parent, at.Closure):
                if parent.type == target.type:
                    seeds.append(sa.select(child.label("id")).where(above == target.id))
                continue
            ids = self._descendants(parent.type, target, (*seen, name))
            if not isinstance(ids, list):
                seeds.append(sa.select(child.label("id")).where(above.in_(ids)))
        if not seeds:
            return []
        walk: Any = sa.union(*seeds) if len(seeds) > 1 else seeds[0]
        recursive = [parent for parent in own if not isinstance(parent, at.Closure)]
        if not recursive:
            return walk.subquery().select() if len(seeds) > 1 else walk
        below: Any = walk.cte(recursive=True)
        steps = []
        for parent in recursive:
            child, above = _edge(parent, table)  # type: ignore[arg-type]
            steps.append(sa.select(child).join_from(child.table, below, above == below.c.id))
        if len(steps) > 1:
            raise Untranslatable(f"{name} has two kinds of parents of its own type.", hint="Keep a closure.")
        return sa.select(below.union(steps[0]).c.id)


def _edge(parent: at.Parent | at.Link | at.Closure, table: at.EntityTable) -> tuple[SQL, SQL]:
    if isinstance(parent, at.Parent):
        alias = parent.column.table.alias()
        return alias.c[table.id.key], alias.c[parent.column.key]
    near, far = (
        (parent.child, parent.parent) if isinstance(parent, at.Link) else (parent.descendant, parent.ancestor)
    )
    alias = near.table.alias()
    return alias.c[near.key], alias.c[far.key]


def _elements(
    owner_id: SQL, owner: sa.Column[Any], column: sa.Column[Any]
) -> Callable[[Callable[[SQL], Condition]], Condition]:
    def any_of(holds: Callable[[SQL], Condition]) -> Condition:
        alias = owner.table.alias()
        condition = holds(alias.c[column.key])
        if condition is False:
            return False
        return (
            sa.exists(sa.literal(1))
            .where(
                alias.c[owner.key] == owner_id,
                alias.c[column.key].is_not(None),
                *(() if condition is True else (condition,)),
            )
            .correlate_except(alias)
        )

    return any_of


def _plain(value: bool) -> Truth:
    return Truth(value, not value)
