"""Symbolic values: a value of each Cedar type as terms of a solver.

Longs are whole numbers held to 64 bits by axioms, entities are numbers within their type (so two literals differ by
themselves), records are taken apart into their fields, and a set is the question whether something is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import z3
from attrs import frozen

from ..schema.types import BoolType, EntityRef, ExtensionType, LongType, StringType, Type
from .errors import Unsupported
from .literals import MAX_LONG, MIN_LONG
from .logic import TRUE, both, choose, same


@frozen(eq=False)
class Atom:
    """A value without parts: one term, five for an address (is it IPv6, then address and prefix of both kinds)."""

    type: Type
    terms: tuple[Any, ...]

    @property
    def term(self) -> Any:
        """Return the one term."""
        return self.terms[0]


@frozen(eq=False)
class Part:
    """A field of a record: whether it is there, and its value."""

    present: Any
    value: Symbolic


@frozen(eq=False)
class Fields:
    """A record."""

    parts: Mapping[str, Part]


@frozen(eq=False)
class Members:
    """A set: `holds` says whether a value is in it; `elements` are all there are where it was written out."""

    element: str
    holds: Callable[[Symbolic], Any]
    elements: tuple[Symbolic, ...] | None = None
    type: Type | None = None


Symbolic = Atom | Fields | Members


@frozen(eq=False)
class Outcome:
    """What an expression comes to: its value, which means something only where `ok` holds (else it is an error)."""

    value: Symbolic
    ok: Any = TRUE


def boolean(term: Any) -> Atom:
    """Return a boolean value."""
    return Atom(BoolType(), (term,))


def number(term: Any) -> Atom:
    """Return a long."""
    return Atom(LongType(), (term,))


def in_range(term: Any) -> Any:
    """Return that a number fits in 64 bits with a sign."""
    if z3.is_int_value(term):
        return z3.BoolVal(MIN_LONG <= term.as_long() <= MAX_LONG)
    return z3.And(term >= MIN_LONG, term <= MAX_LONG)


def sorts_of(kind: Type) -> tuple[Any, ...]:
    """Return the sorts of the terms of a type without parts."""
    match kind:
        case BoolType():
            return (z3.BoolSort(),)
        case StringType():
            return (z3.StringSort(),)
        case LongType() | EntityRef():
            return (z3.IntSort(),)
        case ExtensionType(name="ipaddr"):
            return (z3.BoolSort(), *[z3.BitVecSort(32)] * 2, *[z3.BitVecSort(128)] * 2)
        case ExtensionType():
            return (z3.IntSort(),)
    raise Unsupported("a set within a set")


def kind_of(value: Symbolic) -> str:
    """Return a name for the type of a value: two values can be equal only if theirs are the same."""
    match value:
        case Atom(type=EntityRef(name=name)):
            return f"entity {name}"
        case Atom(type=ExtensionType(name=name)):
            return f"extension {name}"
        case Atom():
            return type(value.type).__name__
        case Fields():
            inner = ", ".join(f"{key!r}: {kind_of(part.value)}" for key, part in sorted(value.parts.items()))
            return "{" + inner + "}"
        case Members(elements=elements, element=element) if elements is not None:
            return f"set of {element}"  # written out, so it is compared element by element
        case Members():
            raise Unsupported("a set within a set")


def flat(value: Symbolic) -> tuple[Any, ...]:
    """Return a value as terms such that equal values have equal terms: what is absent has one fixed value."""
    match value:
        case Atom():
            return value.terms
        case Fields():
            terms: list[Any] = []
            for _, part in sorted(value.parts.items()):
                terms.append(part.present)
                terms += [choose(part.present, term, _fixed(term)) for term in flat(part.value)]
            return tuple(terms)
        case Members():
            raise Unsupported("a set within a set")


def equal_atoms(left: Atom, right: Atom) -> Any:
    """Return that two values without parts of one type are equal."""
    if left.type == ExtensionType("ipaddr"):
        old, new = left.terms, right.terms
        fourth = both(same(old[1], new[1]), same(old[2], new[2]))
        sixth = both(same(old[3], new[3]), same(old[4], new[4]))
        return both(same(old[0], new[0]), choose(old[0], sixth, fourth))
    return same(left.term, right.term)


def merged(condition: Any, then: Symbolic, other: Symbolic) -> Symbolic:
    """Return `then` where `condition` holds, else `other`; raises Unsupported when their types differ."""
    match then, other:
        case Atom(), Atom() if kind_of(then) == kind_of(other):
            pairs = zip(then.terms, other.terms, strict=True)
            return Atom(then.type, tuple(choose(condition, one, two) for one, two in pairs))
        case Fields(), Fields() if set(then.parts) == set(other.parts):
            return Fields(
                {
                    name: Part(
                        choose(condition, part.present, other.parts[name].present),
                        merged(condition, part.value, other.parts[name].value),
                    )
                    for name, part in then.parts.items()
                }
            )
        case Members(), Members() if then.element == other.element or "" in (then.element, other.element):
            rich = then if then.element else other
            return Members(
                rich.element,
                lambda item: choose(condition, then.holds(item), other.holds(item)),
                type=rich.type,
            )
    raise Unsupported("branches of different types")


def _fixed(term: Any) -> Any:
    sort = term.sort()
    if sort == z3.BoolSort():
        return z3.BoolVal(False)
    if sort == z3.IntSort():
        return z3.IntVal(0)
    return z3.StringVal("") if sort == z3.StringSort() else z3.BitVecVal(0, sort)
