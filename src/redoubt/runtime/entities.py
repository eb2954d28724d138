"""An app's own entities: their fields, tables and what a client may write into them.

An emitted app declares its entities with these values and nothing more; tables, parsing and checks follow from
them. What is not declared cannot be written: an unknown or server-set field is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Values
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import field, frozen

from redoubt.authz import Entity as Resource
from redoubt.authz import user_uid
from redoubt.authz.access import USER_TYPE
from redoubt.authz.filter import EntityTable, Filters, KeptFilters, Mapping, Reference, Value, index_name
from redoubt.authz.policyset import PolicySet
from redoubt.core.db import Domain, Timestamp, Use, use
from redoubt.core.db.grants import rows_of
from redoubt.core.problem import Problem
from redoubt.payments.prices.defence import trigger_names

from .fields import Boolean, Field, FieldError, Lines, Money, Ref, State, Text

Row = Values[str, Any]

_PROCESSES = ("app", "worker")


@frozen
class Move:
    """An action: from any of these states to one."""

    from_: tuple[str, ...] = field(converter=tuple)
    to: str
    title: str = ""


@frozen
class Writes:
    """What one process writes of an entity: whether it makes and removes rows, and which fields it changes."""

    create: bool = False
    change: tuple[str, ...] = field(default=(), converter=tuple)
    delete: bool = False


@frozen
class EntityType:
    """A kind of row.

    `name` is what permissions call it, `plural` its place in addresses. `owned` rows belong to whoever made them.
    `events` are those that an outgoing webhook wants. `post_filter` lets lists fetch rows and decide about each where
    a policy cannot be said in SQL; without it such a list is refused. `indexes` are the columns of those that its lists
    want (`redoubt policy indexes`), beside the one of owners. `writes` says by process (`app`, `worker`) what it writes:
    nothing else is granted to it. None lets both write everything.
    """

    name: str
    plural: str
    fields: Values[str, Field]
    owned: bool = True
    title: str = ""
    label: str = ""
    moves: Values[str, Move] = field(factory=dict)
    events: frozenset[str] = field(default=frozenset(), converter=frozenset)
    post_filter: bool = False
    indexes: tuple[tuple[str, ...], ...] = field(default=(), converter=tuple)
    writes: Values[str, Writes] | None = None

    @property
    def word(self) -> str:
        """Its name in events and audit actions: `release_note`."""
        return "".join(f"_{char.lower()}" if char.isupper() else char for char in self.name).lstrip("_")

    @property
    def state_field(self) -> str | None:
        """The name of its state field, if it has one."""
        return next((name for name, kind in self.fields.items() if isinstance(kind, State)), None)

    @property
    def states(self) -> tuple[str, ...]:
        """Its states; the first is where rows begin."""
        return next((kind.states for kind in self.fields.values() if isinstance(kind, State)), ())

    @property
    def amount_field(self) -> str | None:
        """The name of its money field, if it has exactly one."""
        money = [name for name, kind in self.fields.items() if isinstance(kind, Money)]
        return money[0] if len(money) == 1 else None

    @property
    def prices(self) -> dict[str, Money]:
        """Its prices: fields whose changes wait for a second person."""
        return {name: kind for name, kind in self.fields.items() if isinstance(kind, Money) and kind.price}

    @property
    def label_field(self) -> str | None:
        """The field that names a row on pages."""
        texts = (name for name, kind in self.fields.items() if isinstance(kind, Text))
        return self.label or next(texts, None)

    def writable(self, row: Row | None) -> dict[str, Field]:
        """Return the fields that a client may send: for a new row, or for an existing one."""
        return {
            name: kind
            for name, kind in self.fields.items()
            if not kind.server_set and not (row is not None and kind.immutable)
        }

    def parse(self, sent: Any, row: Row | None = None) -> dict[str, Any]:
        """Return the values to store from what a client sent, all required ones present for a new row.

        Raises Problem 422 naming each field that is unknown, not the client's to set, missing or out of bounds; the
        values themselves are never repeated.
        """
        if not isinstance(sent, dict):
            raise invalid({"": "must be a JSON object"})
        errors: dict[str, str] = {}
        values: dict[str, Any] = {}
        writable = self.writable(row)
        for name in sent:
            if name not in writable:
                known = isinstance(name, str) and name in self.fields
                errors[str(name)[:80]] = "is not yours to set" if known else "is no field of it"
        for name, kind in writable.items():
            value = sent.get(name)
            if value is None:
                if kind.required and (row is None or name in sent):
                    errors[name] = "is required"
                elif name in sent or row is None:
                    values[name] = False if isinstance(kind, Boolean) else None
                continue
            try:
                values[name] = kind.parse(value)
            except FieldError as error:
                errors[name] = str(error)
        if errors:
            raise invalid(errors)
        return values

    def resource(self, row: Row) -> Resource:
        """Return a row as policies see it."""
        attrs: dict[str, Any] = {"tenant": row["tenant"]}
        if self.owned and row.get("owner_id") is not None:
            attrs["owner"] = user_uid(row["owner_id"])
        if self.state_field is not None:
            attrs["state"] = row[self.state_field]
        return Resource(self.name, row["id"], attrs)

    def mapped(self, table: sa.Table) -> EntityTable:
        """Return in which columns a query finds what `resource` shows policies of a row."""
        attributes: dict[str, Value | Reference] = {"tenant": Value(table.c.tenant, "String")}
        if self.owned:
            attributes["owner"] = Reference(table.c.owner_id, USER_TYPE)
        if self.state_field is not None:
            attributes["state"] = Value(table.c[self.state_field], "String")
        return EntityTable(self.name, table.c.id, attributes, closed=True, alone=True)

    def row_context(self, table: sa.Table) -> dict[str, Value]:
        """Return in which columns a query finds what a row adds to the context."""
        return {} if self.amount_field is None else {"amount": Value(table.c[self.amount_field], "Long")}

    def to_be(self, tenant: str, owner: str | None) -> Resource:
        """Return the row that a create would make, as policies see it."""
        row: dict[str, Any] = {"id": "new", "tenant": tenant, "owner_id": owner}
        if self.state_field is not None:
            row[self.state_field] = self.states[0]
        return self.resource(row)

    def amount(self, row: Row) -> int | None:
        """Return the row's amount where it has one money field, for rules with a bound."""
        value = row.get(self.amount_field) if self.amount_field is not None else None
        return value if isinstance(value, int) else None

    def to_json(self, row: Row) -> dict[str, Any]:
        """Return a row as clients see it."""
        body = {"id": row["id"], **{name: kind.to_json(row[name]) for name, kind in self.fields.items()}}
        if self.owned:
            body["owner"] = row["owner_id"]
        body |= {"version": row["version"], "created_at": row["created_at"].isoformat()}
        return body | {"updated_at": row["updated_at"].isoformat()}

    def to_event(self, row: Row) -> dict[str, Any]:
        """Return a row as partners see it: no personal data, no owner."""
        shown = {name: kind.to_json(row[name]) for name, kind in self.fields.items() if kind.pii == "none"}
        return {"id": row["id"], **shown, "updated_at": row["updated_at"].isoformat()}


@frozen
class Entities:
    """All entities of one app, with their tables. Raises ValueError where lines charge by what is no price."""

    types: tuple[EntityType, ...] = field(converter=tuple)
    migrations: Path
    metadata: sa.MetaData = field(factory=sa.MetaData, eq=False)

    _filters: KeptFilters = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._check_prices()
        for kind in self.types:
            _make_table(kind, self.metadata, {other.name: table_name(other.plural) for other in self.types})
        mapping = Mapping(*(kind.mapped(self.table(kind.name)) for kind in self.types))
        object.__setattr__(self, "_filters", KeptFilters(mapping))

    def __getitem__(self, name: str) -> EntityType:
        return next(kind for kind in self.types if kind.name == name)

    def table(self, name: str) -> sa.Table:
        """Return the table of the entity `name`."""
        return self.metadata.tables[table_name(self[name].plural)]

    def filters(self, policies: PolicySet) -> Filters:
        """Return `policies` as they are read for lists, once a version. Raises Untranslatable."""
        return self._filters.of(policies)

    @property
    def domain(self) -> Domain:
        """Return what the runtime migrates: the app's own revisions and tables, and what defends their prices."""
        triggers = [
            name
            for kind in self.types
            for price in kind.prices
            for name in trigger_names(table_name(kind.plural), price)
        ]
        return Domain(
            name="app",
            migrations=self.migrations,
            metadata=self.metadata,
            triggers=frozenset(triggers),
            grants={process: tuple(self._uses(process)) for process in _PROCESSES},
        )

    def _check_prices(self) -> None:
        for kind in self.types:
            for name, declared in kind.fields.items():
                if not isinstance(declared, Lines):
                    continue
                source = next((other for other in self.types if other.name == declared.of), None)
                if source is None or declared.price not in source.prices:
                    raise ValueError(
                        f"{kind.name}.{name} charges by {declared.of}.{declared.price}, which is no price:"
                        " declare it as Money(…, price=True)"
                    )

    def _uses(self, process: str) -> Iterable[Use]:
        for kind in self.types:
            table = self.table(kind.name)
            if kind.writes is None:
                yield use(table, insert=True, update=True, delete=process == "app")
                continue
            writes = kind.writes.get(process, Writes())
            found = rows_of(
                table.name, process, create=writes.create, change=writes.change, delete=writes.delete
            )
            if found is not None:
                yield found


def table_name(plural: str) -> str:
    """Return the table of an entity: a name that no table of the library has."""
    return f"app_{plural}"


def invalid(errors: Values[str, str]) -> Problem:
    """Return the one problem for input that was understood and refused; `errors` says why, by field."""
    return Problem(422, "invalid", "Some fields cannot be accepted.", extra={"errors": dict(errors)})


def _make_table(kind: EntityType, metadata: sa.MetaData, tables: Values[str, str]) -> sa.Table:
    name = table_name(kind.plural)
    columns: list[Any] = [
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.Column("updated_at", Timestamp, nullable=False),
    ]
    if kind.owned:
        columns.append(sa.Column("owner_id", sa.Text, nullable=False))
    columns += [_column(key, declared, tables) for key, declared in kind.fields.items()]
    columns += _uniques(kind, name)
    table = sa.Table(name, metadata, *columns)
    if kind.owned:
        sa.Index(f"{name}_owner", table.c.tenant, table.c.owner_id, table.c.id)
    for wanted in kind.indexes:
        sa.Index(index_name(name, wanted), *(table.c[column] for column in wanted))
    return table


def _column(key: str, declared: Field, tables: Values[str, str]) -> sa.Column[Any]:
    always = declared.required or isinstance(declared, State | Boolean)
    points = (
        [sa.ForeignKey(f"{tables[declared.to]}.id", name=f"{key}_exists")]
        if isinstance(declared, Ref)
        else []
    )
    return sa.Column(key, declared.column_type(), *points, nullable=not always)


def _uniques(kind: EntityType, name: str) -> Iterable[sa.UniqueConstraint]:
    for key, declared in kind.fields.items():
        if declared.unique:
            yield sa.UniqueConstraint("tenant", key, name=f"{name}_{key}_once")
