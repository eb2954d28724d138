"""All stores at once: attributes, tags and ancestors as unknown functions, and what every well-formed store keeps.

Nothing is quantified: each axiom stands for exactly the terms that occur, so that a query stays decidable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import z3

from ..models import EntityUid
from ..schema.types import (
    Attribute,
    EntityRef,
    ExtensionType,
    LongType,
    RecordType,
    Schema,
    SetType,
    StringType,
    Type,
)
from .errors import Unsupported
from .logic import FALSE, TRUE, both, either, implies, negated
from .values import (
    Atom,
    Fields,
    Members,
    Part,
    Symbolic,
    equal_atoms,
    flat,
    in_range,
    kind_of,
    sorts_of,
)

Terms = tuple[Any, ...]


class World:
    """The unknown store of one query, with the axioms for the terms that were asked about."""

    def __init__(self, schema: Schema, deadline: float | None = None) -> None:
        """Hold stores to `schema`: the one that they will conform to.

        After `deadline`, on the monotonic clock, nothing more is built: Unsupported.
        """
        self.schema = schema
        self.deadline = deadline
        self.axioms: list[Any] = []
        self.pool: dict[str, dict[Any, Symbolic]] = {}
        self.left: dict[str, dict[int, Any]] = {}
        self.right: dict[str, dict[int, Any]] = {}
        self._ids: dict[EntityUid, int] = {}
        self._functions: dict[Any, Any] = {}
        self._universal: list[tuple[str, Callable[[Symbolic], Any]]] = []
        self._seen: dict[Any, Terms] = {}
        self._kept: dict[Any, Terms] = {}  # the terms are kept: an id is used again once its term is gone
        self._values: dict[
            Any, tuple[Type, Terms, Symbolic]
        ] = {}  # type and terms are kept: so are their places
        self._closed: set[tuple[int, Any]] = set()
        self._fresh = count(1)

    def tick(self) -> None:
        """Raise Unsupported when the time is over: terms are built in it, not only solved."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise Unsupported("out of time")

    def literal(self, uid: EntityUid) -> Atom:
        """Return the entity with this uid."""
        return Atom(EntityRef(uid.type), (z3.IntVal(self._ids.setdefault(uid, len(self._ids))),))

    def named(self) -> frozenset[EntityUid]:
        """Return the entities that were named so far."""
        return frozenset(self._ids)

    @property
    def asked(self) -> frozenset[tuple[str, ...]]:
        """Return the names of all unknown functions and predicates that terms were made of."""
        return frozenset(key for key, _, _ in self._functions)

    def uid(self, kind: str, value: int) -> EntityUid:
        """Return the uid of the entity that is `value` in a model."""
        for uid, known in self._ids.items():
            if known == value and uid.type == kind:
                return uid
        taken = {uid.id for uid in self._ids if uid.type == kind}
        name = f"x{value}"
        while name in taken:
            name += "_"
        return EntityUid(kind, name)

    def unknown(self, kind: Type, key: tuple[str, ...], args: Terms = ()) -> Symbolic:
        """Return the value of the unknown function `key` for `args`, the same each time."""
        place = id(kind), key, tuple(term.ast.value for term in args)
        known = self._values.get(place)
        if known is None:
            known = self._values[place] = kind, args, self._unknown(kind, key, args)
        return known[2]

    def _unknown(self, kind: Type, key: tuple[str, ...], args: Terms) -> Symbolic:
        if isinstance(kind, RecordType):
            return Fields(_Parts(kind, lambda name: self._part(kind.attributes[name], (*key, name), args)))
        if isinstance(kind, SetType):
            shape = _name_of(kind.element)
            return Members(
                shape,
                lambda item: self._apply((*key, "in", shape), args + flat(item), z3.BoolSort()),
                type=kind.element,
            )
        terms = tuple(
            self._apply((*key, str(index), str(kind)), args, sort)
            for index, sort in enumerate(sorts_of(kind))
        )
        self._hold(kind, terms)
        return Atom(kind, terms)

    def _part(self, item: Attribute, key: tuple[str, ...], args: Terms) -> Part:
        present = TRUE if item.required else self._apply((*key, "?"), args, z3.BoolSort())
        return Part(present, self.unknown(item.type, key, args))

    def fresh(self, kind: Type) -> Symbolic:
        """Return a value that nothing is known about."""
        return self.unknown(kind, ("fresh", str(next(self._fresh))))

    def predicate(self, key: tuple[str, ...], args: Terms) -> Any:
        """Return whether the unknown predicate `key` holds for `args`."""
        return self._apply(key, args, z3.BoolSort())

    def holds(self, of: Members, item: Symbolic) -> Any:
        """Return that `item` is in a set; raises Unsupported for a set of sets that is not written out."""
        if isinstance(item, Members) and of.elements is None:
            raise Unsupported("a set within a set")
        if of.element != kind_of(item):
            return FALSE
        self.pooled(item)
        return of.holds(item)

    def pooled(self, item: Symbolic) -> None:
        """Remember a term that may be an element of some set; a set is one of sets that are written out, and of no other."""
        if isinstance(item, Members):
            kind_of(item)
            return
        terms = flat(item)
        marks = tuple(term.get_id() for term in terms)
        self._kept[marks] = terms
        self.pool.setdefault(kind_of(item), {}).setdefault(marks, item)

    def named_tag(self, name: Any) -> None:
        """Remember a term that names a tag."""
        self.pool.setdefault("tag", {})[(name.get_id(),)] = Atom(StringType(), (name,))

    def some(self, of: Members, test: Callable[[Symbolic], Any]) -> Any:
        """Return that an element of a set passes `test`."""
        if of.elements is not None:
            return either(*(test(item) for item in of.elements))
        if of.type is None:
            raise Unsupported("a set without a type")
        found = z3.Bool(f"some{next(self._fresh)}")
        one = self.fresh(of.type)
        self.pooled(one)
        self.axioms.append(implies(found, both(of.holds(one), test(one))))
        self._universal.append(
            (of.element, lambda item: either(found, negated(both(of.holds(item), test(item)))))
        )
        return found

    def subset(self, small: Members, large: Members) -> Any:
        """Return that every element of `small` is in `large`."""
        return negated(self.some(small, lambda item: negated(self.holds(large, item))))

    def equal(self, left: Symbolic, right: Symbolic) -> Any:
        """Return that two values are equal."""
        match left, right:
            case Atom(), Atom():
                return equal_atoms(left, right) if kind_of(left) == kind_of(right) else FALSE
            case Members(), Members():
                return both(self.subset(left, right), self.subset(right, left))
            case Fields(), Fields():
                return both(
                    *(
                        self._equal_parts(left.parts.get(name), right.parts.get(name))
                        for name in sorted({*left.parts, *right.parts})
                    )
                )
        return FALSE

    def inside(self, schema: Schema, one: Atom, other: Atom) -> Any:
        """Return that an entity is another, or is below it."""
        if not (isinstance(one.type, EntityRef) and isinstance(other.type, EntityRef)):
            raise Unsupported("`in` of what is no entity")
        itself = self.equal(one, other)
        actions = {uid.type for uid in schema.actions}
        if one.type.name in actions:  # an action is in nothing but groups of actions
            return self._action_inside(schema, one, other) if other.type.name in actions else itself
        if other.type.name not in self.schema.ancestor_types(one.type.name) or itself.eq(TRUE):
            return itself
        _note(self.left, one.type.name, one.term)
        _note(self.right, other.type.name, other.term)
        return either(itself, self._below(one.type.name, one.term, other.type.name, other.term))

    def below(self, one: str, term: Any, other: str, above: Any) -> Any:
        """Return that an entity (type and term) has another as an ancestor."""
        return self._below(one, term, other, above)

    def close(self) -> list[Any]:
        """Return all axioms for the terms that occurred."""
        for place, (name, rule) in enumerate(self._universal):
            for marks, item in list(self.pool.get(name, {}).items()):
                if (place, marks) not in self._closed:
                    self._closed.add((place, marks))
                    self.axioms.append(rule(item))
        return self.axioms + self._order()

    def _order(self) -> list[Any]:
        found = []
        above = {
            name: list({**self.left.get(name, {}), **self.right.get(name, {})}.values())
            for name in {*self.left, *self.right}
        }
        for one, terms in sorted(self.left.items()):
            reach = self.schema.ancestor_types(one)
            for term in terms.values():
                if one in reach:
                    found.append(negated(self._below(one, term, one, term)))
                for middle in sorted(reach & set(self.left)):
                    for via in self.left[middle].values():
                        step = self._below(one, term, middle, via)
                        for top in sorted(self.schema.ancestor_types(middle) & set(above)):
                            found += [
                                implies(
                                    both(step, self._below(middle, via, top, end)),
                                    self._below(one, term, top, end),
                                )
                                for end in above[top]
                            ]
        return found

    def _below(self, one: str, term: Any, other: str, above: Any) -> Any:
        return self._apply(("below", one, other), (term, above), z3.BoolSort())

    def _action_inside(self, schema: Schema, one: Atom, other: Atom) -> Any:
        names = {number: uid for uid, number in self._ids.items()}
        if not (z3.is_int_value(one.term) and z3.is_int_value(other.term)):
            raise Unsupported("an action that is not named")
        low, high = names[one.term.as_long()], names[other.term.as_long()]
        return z3.BoolVal(low == high or high in schema.action_ancestors(low))

    def _equal_parts(self, left: Part | None, right: Part | None) -> Any:
        if left is None or right is None:
            there = left or right
            return negated(there.present) if there is not None else TRUE
        values = self.equal(left.value, right.value)
        return either(
            both(left.present, right.present, values), both(negated(left.present), negated(right.present))
        )

    def _apply(self, key: tuple[str, ...], args: Terms, sort: Any) -> Any:
        self.tick()
        sorts = tuple(term.sort() for term in args)
        found = self._functions.get((key, sorts, sort))
        if found is None:
            found = z3.Function(f"f{len(self._functions)}", *sorts, sort)
            self._functions[key, sorts, sort] = found
        return found(*args)

    def _hold(self, kind: Type, terms: Terms) -> None:
        marks = tuple(term.get_id() for term in terms)
        if marks in self._seen:
            return
        self._seen[marks] = terms
        if isinstance(kind, EntityRef):
            known = self.schema.entities.get(kind.name)
            if known is not None and known.enum is not None:
                ids = [self.literal(EntityUid(kind.name, name)).term for name in known.enum]
                self.axioms.append(either(*(terms[0] == item for item in ids)))
            else:
                self.axioms.append(terms[0] >= 0)
        elif isinstance(kind, ExtensionType) and kind.name == "ipaddr":
            self.axioms += [z3.ULE(terms[2], 32), z3.ULE(terms[4], 128)]
        elif isinstance(kind, LongType | ExtensionType):
            self.axioms.append(in_range(terms[0]))


class _Parts(Mapping[str, Part]):
    """The fields of an unknown record, each made when it is asked for: most policies read few."""

    def __init__(self, kind: RecordType, make: Callable[[str], Part]) -> None:
        self._names, self._make = kind.attributes, make
        self._made: dict[str, Part] = {}

    def __getitem__(self, name: str) -> Part:
        found = self._made.get(name)
        if found is None:
            if name not in self._names:
                raise KeyError(name)
            found = self._made[name] = self._make(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _note(known: dict[str, dict[int, Any]], name: str, term: Any) -> None:
    known.setdefault(name, {})[term.get_id()] = term


def _name_of(kind: Type) -> str:
    match kind:
        case EntityRef(name=name):
            return f"entity {name}"
        case ExtensionType(name=name):
            return f"extension {name}"
        case RecordType(attributes=items):
            return (
                "{"
                + ", ".join(f"{key!r}: {_name_of(item.type)}" for key, item in sorted(items.items()))
                + "}"
            )
        case SetType():
            return "set"
    return type(kind).__name__
