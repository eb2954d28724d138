"""Where entities live: from entity types to tables, from attributes to columns, from parents to keys."""

from __future__ import annotations

import collections.abc
from typing import Any, Literal

import sqlalchemy as sa
from attrs import field, frozen

from ..errors import AuthzError

Kind = Literal["Bool", "Long", "String", "Entity"]
SQL = sa.ColumnElement[Any]


class Untranslatable(AuthzError):
    """A policy cannot be said in SQL over this mapping; nothing was queried."""

    code = "filter-untranslatable"


@frozen
class Value:
    """An attribute in a column: a boolean, a 64-bit integer or text. NULL is an attribute that is not there.

    Text holds no NUL character (PostgreSQL has none; SQLite's patterns stop at one).
    """

    column: sa.Column[Any]
    kind: Literal["Bool", "Long", "String"]


@frozen
class Reference:
    """An attribute that is another entity of the type `type`: its id in a column; NULL is an absent attribute."""

    column: sa.Column[Any]
    type: str


@frozen
class Child:
    """An attribute that is a set: one row of another table an element. Without rows the set is empty, not absent.

    `owner` is the column with the id of the entity, `column` the element's; `type` names the entity type of elements
    that are entities.
    """

    owner: sa.Column[Any]
    column: sa.Column[Any]
    kind: Kind
    type: str | None = None


@frozen
class Nested:
    """An attribute that is a record which is always there, its fields in columns of the same table."""

    fields: collections.abc.Mapping[str, Attribute]


Attribute = Value | Reference | Child | Nested


@frozen
class Tags:
    """Tags of entities: one row a tag, with the entity's id, the tag's key and its value."""

    owner: sa.Column[Any]
    key: sa.Column[Any]
    value: sa.Column[Any]
    kind: Literal["Bool", "Long", "String"]


@frozen
class Parent:
    """A parent of the type `type` by a key in the entity's own row; NULL is none."""

    column: sa.Column[Any]
    type: str


@frozen
class Link:
    """Parents of the type `type` in a table of edges."""

    child: sa.Column[Any]
    parent: sa.Column[Any]
    type: str


@frozen
class Closure:
    """All ancestors of the type `type`, near and far, in a table of pairs that the app keeps."""

    descendant: sa.Column[Any]
    ancestor: sa.Column[Any]
    type: str


def _parents(
    values: collections.abc.Iterable[Parent | Link | Closure],
) -> tuple[Parent | Link | Closure, ...]:
    return tuple(values)


@frozen
class EntityTable:
    """One entity type: the column with its id, its attributes, tags and parents.

    `closed` says that an entity of it has no other attributes: one that is not listed is absent, rather than unknown.
    `alone` says that a row is decided about without the other entities of its type: where a policy reads one of them by
    its name, nothing is known of it one by one, and so it cannot be said in SQL.
    """

    type: str
    id: sa.Column[Any]
    attributes: collections.abc.Mapping[str, Attribute] = field(factory=dict)
    parents: tuple[Parent | Link | Closure, ...] = field(default=(), converter=_parents)
    tags: Tags | None = None
    closed: bool = False
    alone: bool = False


@frozen(init=False)
class Mapping:
    """The tables of all entity types that live in the database, by type."""

    tables: collections.abc.Mapping[str, EntityTable]

    def __init__(self, *tables: EntityTable) -> None:
        self.__attrs_init__({table.type: table for table in tables})

    def table(self, name: str) -> EntityTable:
        """Return the table of a type; raises Untranslatable where there is none."""
        found = self.tables.get(name)
        if found is None:
            raise Untranslatable(f"the type {name} has no table.", hint="Map it, or decide row by row.")
        return found
