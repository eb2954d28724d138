"""Indexes that lists want: read from the conditions which the policies become for each kind of caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Values
from dataclasses import fields, is_dataclass
from typing import Any

import sqlalchemy as sa
from attrs import field, frozen
from cedarpy import pst
from sqlalchemy.sql import operators, visitors

from redoubt.core.canonical import sha256_hex

from ..access import ANONYMOUS_TYPE, ROLE_TYPE, USER_TYPE
from ..models import Entity, EntityUid
from ..policyset import PolicySet
from .mapping import Attribute
from .reader import Filters, Known

_ID, _TENANT = "id", "tenant"
_LONGEST_NAME = 63
_CONTEXT = {"risk": 0, "step_up": True}


def _names(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@frozen(order=True)
class Way:
    """How one permit shows rows of `resource` to `caller`: by which index, and what that leaves to be looked at.

    `index` are its columns: what must be equal, then the id, in whose order pages go. `unindexed` are columns that the
    condition reads in another way than as equal to something: each row of the index is looked at for these. `sorted`
    says that a column has several values, so that the rows of a page are put in order first.
    """

    resource: str
    caller: str
    index: tuple[str, ...] = field(converter=_names)
    unindexed: tuple[str, ...] = field(default=(), converter=_names)
    sorted: bool = False


def ways(
    filters: Filters,
    resource: str,
    action: str,
    row_context: Values[str, Attribute] | None = None,
) -> list[Way]:
    """Return how rows of `resource` are found for `action`, for a caller of each role, one without, and nobody.

    Raises Untranslatable where a policy cannot be said in SQL.
    """
    table = filters.mapping.table(resource).id.table
    found: set[Way] = set()
    for name, caller in callers(filters.policies):
        known = Known.of(caller, action, _CONTEXT)
        for part in filters.of(resource, known, row_context=row_context).parts:
            found.add(_way(resource, name, part, table))
    return sorted(found)


def callers(policies: PolicySet) -> Iterator[tuple[str, Entity]]:
    """Yield a caller of each kind that the policies tell apart: each role that they name, no role, nobody."""
    tenant = {_TENANT: "main"}
    for role in sorted(_roles(policies.tree())):
        yield role, Entity(USER_TYPE, "caller", tenant, (EntityUid(ROLE_TYPE, role),))
    yield "authenticated", Entity(USER_TYPE, "caller", tenant)
    yield "anonymous", Entity(ANONYMOUS_TYPE, "anonymous", tenant)


def proposed(found: Iterable[Way]) -> dict[str, list[tuple[str, ...]]]:
    """Return the indexes that `found` want, by resource type, each once."""
    wanted: dict[str, set[tuple[str, ...]]] = {}
    for way in found:
        wanted.setdefault(way.resource, set()).add(way.index)
    return {name: sorted(indexes) for name, indexes in sorted(wanted.items())}


def served(index: tuple[str, ...], existing: Iterable[tuple[str, ...]]) -> bool:
    """Say whether one of the `existing` indexes finds what `index` would: the equal columns in any order, then the id."""
    equal = set(index[:-1])
    return any(
        set(columns[: len(equal)]) == equal and columns[len(equal) : len(equal) + 1] == (_ID,)
        for columns in existing
    )


def index_name(table: str, columns: Iterable[str]) -> str:
    """Return the name of an index: at most 63 bytes, as PostgreSQL keeps."""
    name = f"{table}_by_{'_'.join(columns)}"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    return f"{name.encode()[: _LONGEST_NAME - 9].decode(errors='ignore')}_{sha256_hex(name.encode())[:8]}"


def existing_indexes(table: sa.Table) -> list[tuple[str, ...]]:
    """Return the columns of each index that a table declares, its keys among them."""
    listed: list[Any] = [
        *table.indexes,
        *(c for c in table.constraints if isinstance(c, sa.UniqueConstraint)),
    ]
    return [tuple(column.name for column in table.primary_key), *(_columns(item) for item in listed)]


def _columns(item: Any) -> tuple[str, ...]:
    return tuple(column.name for column in item.columns)


def _way(resource: str, caller: str, part: sa.ColumnElement[bool], table: Any) -> Way:
    equal, several, rest = {_TENANT}, False, set()
    present: set[str] = set()
    for term in _terms(part):
        name, values = _equal(term, table)
        if name is not None:
            equal.add(name)
            several = several or values > 1
        elif (tested := _tested(term, table)) is not None:
            present.add(tested)
        else:
            rest |= _read(term, table)
    middle = sorted(equal - {_TENANT, _ID})
    return Way(resource, caller, (_TENANT, *middle, _ID), sorted((rest | present) - equal), several)


def _terms(part: Any) -> Iterator[Any]:
    if isinstance(part, sa.sql.elements.BooleanClauseList) and part.operator is operators.and_:
        for item in part.clauses:
            yield from _terms(item)
    elif isinstance(part, sa.sql.elements.Grouping):
        yield from _terms(part.element)
    elif not isinstance(part, sa.sql.elements.True_):
        yield part


def _equal(term: Any, table: Any) -> tuple[str | None, int]:
    """Return the column that `term` holds to known values, and how many."""
    if not isinstance(term, sa.sql.elements.BinaryExpression):
        return None, 0
    for one, other in ((term.left, term.right), (term.right, term.left)):
        if not (isinstance(one, sa.Column) and one.table is table):
            continue
        if not isinstance(other, sa.sql.elements.BindParameter):
            continue
        if term.operator is operators.eq:
            return one.name, 1
        if term.operator is operators.in_op and one is term.left:
            return one.name, len(other.value) if isinstance(other.value, list | tuple) else 1
    return None, 0


def _tested(term: Any, table: Any) -> str | None:
    """Return the column of which `term` says that it is there."""
    if isinstance(term, sa.sql.elements.BinaryExpression) and term.operator is operators.is_not:
        column = term.left
        if isinstance(column, sa.Column) and column.table is table:
            return str(column.name)
    return None


def _read(term: Any, table: Any) -> set[str]:
    found = {
        str(node.name)
        for node in visitors.iterate(term)
        if isinstance(node, sa.Column) and node.table is table
    }
    others = {
        f"{node.table.name}.{node.name}"
        for node in visitors.iterate(term)
        if isinstance(node, sa.Column) and node.table is not table and isinstance(node.table, sa.Table)
    }
    return found | others


def _roles(tree: Any) -> set[str]:
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, pst.EntityUid):
            if str(node.type) == ROLE_TYPE:
                found.add(node.id)
        elif isinstance(node, tuple | list | set | frozenset):
            waiting += node
        elif isinstance(node, Values):
            waiting += node.values()
        elif is_dataclass(node) and not isinstance(node, type):
            waiting += [getattr(node, item.name) for item in fields(node)]
    return found
