"""What each process may do in the database, declared by each domain beside its tables.

One declaration has two readers: PostgreSQL roles are granted exactly it (`roles`), and on SQLite, which knows no roles,
each connection of a process is held to it (`authorizer`). What is declared nowhere is granted to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import sqlalchemy as sa
from attrs import evolve, field, frozen

Process = Literal["app", "worker", "charge"]
Verb = Literal["select", "insert", "update", "delete"]
Grant = tuple[Verb, str, str]
"""A right in its smallest part: verb, table, column; the column is `*` where the verb takes whole rows."""

ALL = "*"
_NO_COLUMN: frozenset[str] = frozenset()
_EVERY_COLUMN = frozenset({ALL})


@frozen
class Use:
    """What one process does with one table: the columns it reads and changes, and whether it adds and removes rows.

    `select` and `update` hold column names, or `*` alone for all. `when` names the feature that needs it, of those that an
    app's spec can ask for; empty: every app does.
    """

    table: str
    select: frozenset[str] = _NO_COLUMN
    insert: bool = False
    update: frozenset[str] = _NO_COLUMN
    delete: bool = False
    when: str = ""

    def with_(self, other: Use) -> Use:
        """Return what both declare together."""
        return Use(
            self.table,
            _whole(self.select | other.select),
            self.insert or other.insert,
            _whole(self.update | other.update),
            self.delete or other.delete,
        )

    def parts(self) -> frozenset[Grant]:
        """Return its rights one by one."""
        found: set[Grant] = {("select", self.table, column) for column in self.select}
        found |= {("update", self.table, column) for column in self.update}
        found |= {("insert", self.table, ALL)} if self.insert else set()
        return frozenset(found | ({("delete", self.table, ALL)} if self.delete else set()))


def use(
    table: sa.Table,
    *,
    select: bool | Iterable[str] = True,
    insert: bool = False,
    update: bool | Iterable[str] = (),
    delete: bool = False,
    when: str = "",
) -> Use:
    """Return what a process does with `table`; raises ValueError for a column that the table does not have."""
    return Use(table.name, _columns(table, select), insert, _columns(table, update), delete, when)


STAMPS = ("version", "updated_at")
"""The columns of an app's own rows that change with every field."""


def rows_of(
    table: str, process: str, *, create: bool = False, change: Iterable[str] = (), delete: bool = False
) -> Use | None:
    """Return what a process does with rows of the app's own that it makes, whose fields it changes, or that it removes.

    The app reads every such table, another process only rows that it changes. None where it does nothing.
    """
    changed = frozenset(change)
    if process != "app" and not changed:
        return Use(table, insert=True) if create else None
    return Use(table, _EVERY_COLUMN, create, changed | frozenset(STAMPS) if changed else _NO_COLUMN, delete)


@frozen
class Access:
    """Everything that one process may do: its use of each table, and where triggers write for it.

    `definers` names, by trigger, the tables that it writes with its owner's rights, whoever caused it.
    """

    process: str
    uses: Mapping[str, Use]
    definers: Mapping[str, frozenset[str]] = field(factory=dict)

    def parts(self) -> frozenset[Grant]:
        """Return its rights one by one."""
        return frozenset().union(*(one.parts() for one in self.uses.values()))

    def unused(self, used: Iterable[Grant]) -> frozenset[Grant]:
        """Return the rights that nothing of `used` needed, as rights or as the columns that were touched."""
        touched = set(used)
        touched |= {(verb, table, ALL) for verb, table, _ in touched}
        return self.parts() - touched

    def reading(self) -> Access:
        """Return what of it only reads."""
        return evolve(
            self, uses={name: Use(name, one.select) for name, one in self.uses.items()}, definers={}
        )


def merged(process: str, uses: Iterable[Use], definers: Mapping[str, frozenset[str]]) -> Access:
    """Return the access of a process whose parts are `uses`; two for one table count together."""
    found: dict[str, Use] = {}
    for one in uses:
        known = found.get(one.table)
        found[one.table] = one if known is None else known.with_(one)
    return Access(process, found, dict(definers))


def _columns(table: sa.Table, names: bool | Iterable[str]) -> frozenset[str]:
    if isinstance(names, bool):
        return _EVERY_COLUMN if names else _NO_COLUMN
    wanted = frozenset(names)
    if unknown := wanted - set(table.c.keys()):
        raise ValueError(f"{table.name} has no column {', '.join(sorted(unknown))}")
    return wanted


def _whole(columns: frozenset[str]) -> frozenset[str]:
    return _EVERY_COLUMN if ALL in columns else columns
