"""Conditions that are never NULL, and the few constructs that the two databases say differently."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

SQL = sa.ColumnElement[Any]
Condition = bool | sa.ColumnElement[bool]
"""True or false on every row. A plain bool is one that needs no row."""

MIN_LONG, MAX_LONG = -(2**63), 2**63 - 1


def every(*parts: Condition) -> Condition:
    """Return the conjunction."""
    if any(part is False for part in parts):
        return False
    terms = [part for part in parts if not isinstance(part, bool)]
    return sa.and_(*terms) if terms else True


def some(*parts: Condition) -> Condition:
    """Return the disjunction."""
    if any(part is True for part in parts):
        return True
    terms = [part for part in parts if not isinstance(part, bool)]
    return sa.or_(*terms) if terms else False


def negate(part: Condition) -> Condition:
    """Return the negation: safe, since a condition is never NULL."""
    return (not part) if isinstance(part, bool) else sa.not_(part)


class Arithmetic(FunctionElement[int]):
    """A sum, difference or product that overflows into no error: PostgreSQL widens, SQLite turns to a float."""

    inherit_cache = False

    def __init__(self, op: Literal["+", "-", "*"], left: SQL, right: SQL) -> None:
        self.sign = op
        super().__init__(left, right)
        self.type = sa.BigInteger()


class Fits(FunctionElement[bool]):
    """Whether an arithmetic value is one of 64 bits."""

    inherit_cache = False

    def __init__(self, value: SQL) -> None:
        super().__init__(value)
        self.type = sa.Boolean()


class Matches(FunctionElement[bool]):
    """Whether text matches a pattern: `pattern` holds text, and None for a wildcard; case counts."""

    inherit_cache = False

    def __init__(self, value: SQL, pattern: tuple[str | None, ...]) -> None:
        self.pattern = pattern
        super().__init__(value)
        self.type = sa.Boolean()


@compiles(Arithmetic, "sqlite")
def _arithmetic(element: Arithmetic, compiler: Any, **kw: Any) -> str:
    left, right = (compiler.process(part, **kw) for part in element.clauses)
    return f"(({left}) {element.sign} ({right}))"


@compiles(Arithmetic, "postgresql")
def _arithmetic_wide(element: Arithmetic, compiler: Any, **kw: Any) -> str:
    left, right = (compiler.process(part, **kw) for part in element.clauses)
    return f"(CAST({left} AS NUMERIC) {element.sign} CAST({right} AS NUMERIC))"


@compiles(Fits, "sqlite")
def _fits(element: Fits, compiler: Any, **kw: Any) -> str:
    return f"(typeof({compiler.process(next(iter(element.clauses)), **kw)}) = 'integer')"


@compiles(Fits, "postgresql")
def _fits_wide(element: Fits, compiler: Any, **kw: Any) -> str:
    value = compiler.process(next(iter(element.clauses)), **kw)
    return f"coalesce({value} BETWEEN {MIN_LONG} AND {MAX_LONG}, false)"


@compiles(Matches, "sqlite")
def _glob(element: Matches, compiler: Any, **kw: Any) -> str:
    parts = [
        "*" if part is None else "".join(f"[{char}]" if char in "*?[" else char for char in part)
        for part in element.pattern
    ]
    return _match(element, compiler, "GLOB", "".join(parts), "", **kw)


@compiles(Matches, "postgresql")
def _like(element: Matches, compiler: Any, **kw: Any) -> str:
    parts = [
        "%" if part is None else "".join(f"\\{char}" if char in "%_\\" else char for char in part)
        for part in element.pattern
    ]
    return _match(element, compiler, "LIKE", "".join(parts), " ESCAPE '\\'", **kw)


def _match(element: Matches, compiler: Any, operator: str, pattern: str, tail: str, **kw: Any) -> str:
    value = compiler.process(next(iter(element.clauses)), **kw)
    bound = compiler.process(sa.literal(pattern, sa.String()), **kw)
    return f"(({value}) {operator} {bound}{tail})"
