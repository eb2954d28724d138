"""Connectives that fold constants: what a type already decides never reaches a solver, nor is it ever evaluated."""

from __future__ import annotations

from typing import Any

import z3

TRUE, FALSE = z3.BoolVal(True), z3.BoolVal(False)
# A solver keeps one term for one meaning, so a constant is known by where it lies: asking it costs a hundred times more.
_TRUE, _FALSE = TRUE.ast.value, FALSE.ast.value


def is_true(term: Any) -> bool:
    """Say whether `term` is the constant true."""
    return bool(term.ast.value == _TRUE)


def is_false(term: Any) -> bool:
    """Say whether `term` is the constant false."""
    return bool(term.ast.value == _FALSE)


def both(*terms: Any) -> Any:
    """Return the conjunction."""
    if any(is_false(term) for term in terms):
        return FALSE
    open_terms = [term for term in terms if not is_true(term)]
    if not open_terms:
        return TRUE
    return open_terms[0] if len(open_terms) == 1 else z3.And(open_terms)


def either(*terms: Any) -> Any:
    """Return the disjunction."""
    if any(is_true(term) for term in terms):
        return TRUE
    open_terms = [term for term in terms if not is_false(term)]
    if not open_terms:
        return FALSE
    return open_terms[0] if len(open_terms) == 1 else z3.Or(open_terms)


def negated(term: Any) -> Any:
    """Return the negation."""
    if is_true(term):
        return FALSE
    return TRUE if is_false(term) else z3.Not(term)


def implies(left: Any, right: Any) -> Any:
    """Return that `left` implies `right`."""
    return either(negated(left), right)


def same(left: Any, right: Any) -> Any:
    """Return that two terms are equal, decided at once where both are constants."""
    if left.ast.value == right.ast.value:
        return TRUE
    return z3.simplify(left == right) if z3.is_const(left) and z3.is_const(right) else left == right


def choose(condition: Any, then: Any, other: Any) -> Any:
    """Return `then` where `condition` holds, else `other`."""
    if is_true(condition) or then.ast.value == other.ast.value:
        return then
    return other if is_false(condition) else z3.If(condition, then, other)
