"""What an expression is while the resource is unknown: a known value, a column's value, or a pair of conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from ..models import EntityUid, Extension
from . import mapping as at
from .sql import SQL, Condition, every, negate, some


@frozen
class Constant:
    """A known value with its kind, so that `true` is not 1.

    Sets are frozensets of constants, records tuples of (name, constant) in order.
    """

    kind: str
    value: Any


@frozen
class Failed:
    """An expression that is an error on every row."""


@frozen
class Truth:
    """A boolean of a row: `yes` where it is true, `no` where it is false, an error where neither holds."""

    yes: Condition
    no: Condition

    def __invert__(self) -> Truth:
        return Truth(self.no, self.yes)


@frozen(eq=False)
class Scalar:
    """A single value of a row, meant where `there` holds and an error elsewhere.

    `type` is set where the kind is Entity. `row` marks the resource itself, whose columns are at hand.
    """

    kind: at.Kind
    sql: SQL
    there: Condition
    type: str | None = None
    row: bool = False


@frozen(eq=False)
class Rows:
    """A set in a table of its own; `any_of` says whether an element fulfils a condition."""

    kind: at.Kind
    type: str | None
    any_of: Callable[[Callable[[SQL], Condition]], Condition]
    there: Condition


@frozen(eq=False)
class Listed:
    """A set literal of which some element is a row's."""

    items: tuple[Part, ...]


@frozen(eq=False)
class Fields:
    """A record literal of which some field is a row's."""

    fields: dict[str, Part]


@frozen(eq=False)
class Record:
    """A record in columns of the entity `of`.

    `known` holds its other fields, where there can be such: the context of a question about rows. A field that is
    neither known nor in a column is absent then.
    """

    of: Scalar
    fields: at.Nested
    there: Condition
    known: dict[str, Constant] | None = None


Part = Constant | Failed | Truth | Scalar | Rows | Listed | Fields | Record

FAILED = Failed()
TRUE, FALSE = Constant("Bool", True), Constant("Bool", False)


def constant(value: Any) -> Constant:
    """Return a value of a request or entity as a constant; raises TypeError for what Cedar does not have."""
    if isinstance(value, bool):
        return Constant("Bool", value)
    if isinstance(value, int):
        return Constant("Long", value)
    if isinstance(value, str):
        return Constant("String", value)
    if isinstance(value, EntityUid):
        return Constant("Entity", value)
    if isinstance(value, Extension):
        return Constant("Extension", value)
    if isinstance(value, dict):
        return Constant("Record", tuple(sorted((name, constant(item)) for name, item in value.items())))
    if isinstance(value, list | tuple | set | frozenset):
        return Constant("Set", frozenset(constant(item) for item in value))
    raise TypeError(f"a value of the type {type(value).__name__}")


def there(part: Part) -> Condition:
    """Return where a part is a value and no error."""
    match part:
        case Constant():
            return True
        case Failed():
            return False
        case Truth(yes=yes, no=no):
            return some(yes, no)
        case Scalar(there=condition) | Rows(there=condition) | Record(there=condition):
            return condition
        case Listed(items=items):
            return every(*(there(item) for item in items))
        case Fields(fields=fields):
            return every(*(there(item) for item in fields.values()))


def truth(part: Part) -> Truth:
    """Return a part as a boolean; what is none is an error."""
    match part:
        case Constant(kind="Bool", value=value):
            return Truth(value, not value)
        case Truth():
            return part
        case Scalar(kind="Bool", sql=sql, there=condition):
            return where(condition, sql == sa.true())
        case _:
            return Truth(False, False)


def where(there: Condition, holds: Condition) -> Truth:
    """Return a boolean that is `holds` where `there`; `holds` may be NULL elsewhere."""
    return Truth(every(there, holds), every(there, negate(holds)))


def settled(part: Truth) -> Part:
    """Return a boolean that needs no row as a constant."""
    if part.yes is True:
        return TRUE
    if part.no is True:
        return FALSE
    return FAILED if part.yes is False and part.no is False else part
