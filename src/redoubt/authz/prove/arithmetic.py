"""Numbers, addresses, decimals and times: what they come to, and where they overflow (an error in Cedar)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import z3
from cedarpy import pst

from ..schema.types import ExtensionType, LongType, Type
from .errors import Unsupported
from .literals import datetime_of, decimal_of, duration_of, ip_of
from .logic import both, choose, either, negated
from .values import Atom, Outcome, Symbolic, boolean, in_range, number

_DAY = 86_400_000
_UNITS = {
    "to_milliseconds": 1,
    "to_seconds": 1000,
    "to_minutes": 60_000,
    "to_hours": 3_600_000,
    "to_days": _DAY,
}
_DECIMAL, _MOMENT, _SPAN, _IP = (
    ExtensionType("decimal"),
    ExtensionType("datetime"),
    ExtensionType("duration"),
    ExtensionType("ipaddr"),
)
_PARSERS: dict[str, tuple[ExtensionType, Callable[[str], int]]] = {
    "decimal": (_DECIMAL, decimal_of),
    "datetime": (_MOMENT, datetime_of),
    "duration": (_SPAN, duration_of),
}


def unary(expr: pst.UnaryOp, evaluate: Callable[[pst.Expr], Outcome]) -> Outcome:
    """Evaluate an operator with one operand; raises Unsupported."""
    op = expr.op
    if op in _PARSERS or op == "ip":
        if not isinstance(expr.arg, pst.StringLit):
            raise Unsupported(f"{op} of what is not written out")
        if op == "ip":
            return Outcome(_address(expr.arg.value))
        kind, parse = _PARSERS[op]
        return Outcome(Atom(kind, (z3.IntVal(parse(expr.arg.value)),)))
    got = evaluate(expr.arg)
    if op == "neg":
        term = _folded(-_term(got.value, LongType()))
        return Outcome(number(term), both(got.ok, in_range(term)))
    if op in _UNITS:
        return Outcome(number(_toward_zero(_term(got.value, _SPAN), _UNITS[op])), got.ok)
    if op == "to_time":
        term = _term(got.value, _MOMENT)
        return Outcome(Atom(_SPAN, (_folded(term % _DAY),)), got.ok)
    if op == "to_date":
        term = _term(got.value, _MOMENT)
        start = _folded(term - term % _DAY)
        return Outcome(Atom(_MOMENT, (start,)), both(got.ok, in_range(start)))
    return Outcome(boolean(_address_is(op, got.value)), got.ok)


def binary(op: str, one: Outcome, two: Outcome, ok: Any) -> Outcome:
    """Evaluate an operator with two operands; raises Unsupported."""
    if op in ("add", "sub", "mul"):
        left, right = _term(one.value, LongType()), _term(two.value, LongType())
        term = _folded({"add": left + right, "sub": left - right, "mul": left * right}[op])
        return Outcome(number(term), both(ok, in_range(term)))
    if op in ("less", "less_eq", "greater", "greater_eq"):
        return Outcome(boolean(_compared(op, *_ordered(one.value, two.value))), ok)
    if op.startswith("decimal_"):
        name = {"decimal_less_than": "less"}.get(op, op.removeprefix("decimal_"))
        return Outcome(boolean(_compared(name, _term(one.value, _DECIMAL), _term(two.value, _DECIMAL))), ok)
    if op == "offset":
        term = _folded(_term(one.value, _MOMENT) + _term(two.value, _SPAN))
        return Outcome(Atom(_MOMENT, (term,)), both(ok, in_range(term)))
    if op == "duration_since":
        term = _folded(_term(one.value, _MOMENT) - _term(two.value, _MOMENT))
        return Outcome(Atom(_SPAN, (term,)), both(ok, in_range(term)))
    if op == "is_in_range":
        return Outcome(boolean(_within(_terms(one.value), _terms(two.value))), ok)
    raise Unsupported(f"the operator {op}")


def _compared(op: str, left: Any, right: Any) -> Any:
    return _folded(
        {"less": left < right, "less_eq": left <= right, "greater": left > right}.get(op, left >= right)
    )


def _ordered(one: Symbolic, two: Symbolic) -> tuple[Any, Any]:
    if not (isinstance(one, Atom) and isinstance(two, Atom)):
        raise Unsupported("an order of what has none")
    if one.type == two.type and one.type in (LongType(), _MOMENT, _SPAN):
        return one.term, two.term
    raise Unsupported("an order of these types")


def _term(value: Symbolic, kind: Type) -> Any:
    if not (isinstance(value, Atom) and value.type == kind):
        raise Unsupported("an operand of another type")
    return value.term


def _terms(value: Symbolic) -> tuple[Any, ...]:
    if not (isinstance(value, Atom) and value.type == _IP):
        raise Unsupported("what should be an address is none")
    return value.terms


def _folded(term: Any) -> Any:
    return z3.simplify(term) if all(z3.is_const(child) for child in term.children()) else term


def _toward_zero(term: Any, unit: int) -> Any:
    return term if unit == 1 else _folded(z3.If(term >= 0, term / unit, -(-term / unit)))


def _address(text: str) -> Atom:
    sixth, number_, prefix = ip_of(text)
    fourth = (0, 0) if sixth else (number_, prefix)
    long = (number_, prefix) if sixth else (0, 0)
    return Atom(
        _IP,
        (
            z3.BoolVal(sixth),
            *(z3.BitVecVal(item, 32) for item in fourth),
            *(z3.BitVecVal(item, 128) for item in long),
        ),
    )


def _ends(address: Any, prefix: Any, bits: int) -> tuple[Any, Any]:
    """The first and last address of a range (a shift by all bits leaves none)."""
    host = z3.LShR(z3.BitVecVal(2**bits - 1, bits), prefix)
    return address & ~host, address | host


def _within(one: tuple[Any, ...], two: tuple[Any, ...]) -> Any:
    def inside(at: int, bits: int) -> Any:
        low, high = _ends(one[at], one[at + 1], bits)
        first, last = _ends(two[at], two[at + 1], bits)
        return z3.simplify(z3.And(z3.UGE(low, first), z3.ULE(high, last)))

    return choose(one[0], both(two[0], inside(3, 128)), both(negated(two[0]), inside(1, 32)))


def _address_is(op: str, value: Symbolic) -> Any:
    sixth, short, short_prefix, long, long_prefix = _terms(value)
    if op == "is_ipv4":
        return negated(sixth)
    if op == "is_ipv6":
        return sixth
    if op == "is_loopback":
        fourth = z3.And(z3.LShR(short, 24) == 127, z3.UGE(short_prefix, 8))
        other = z3.And(long == 1, long_prefix == 128)
    elif op == "is_multicast":
        fourth = z3.And(z3.LShR(short, 28) == 14, z3.UGE(short_prefix, 4))
        other = z3.And(z3.LShR(long, 120) == 255, z3.UGE(long_prefix, 8))
    else:
        raise Unsupported(f"the operator {op}")
    return either(both(sixth, z3.simplify(other)), both(negated(sixth), z3.simplify(fourth)))
