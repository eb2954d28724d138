"""A store after one write: all as in the store before, but for what the write may change of its targets.

Ancestors are one relation before and another after. Who neither is a target nor reaches one keeps their ancestors; a
target may get or lose those that an edge of a type that is written leads to, and whoever is below it with it. Where the
relation says more than edges could do, the witness does not replay: nothing is claimed then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import z3
from attrs import field, frozen

from ..schema.types import EntityRef, RecordType, Type
from .compiler import text_of
from .logic import FALSE, both, choose, either, implies, is_false, negated, same
from .values import Atom, Fields, Part, Symbolic, merged
from .world import Terms, World, _note

ANY_TAG = "*"


@frozen(eq=False)
class Change:
    """What a write may change of its `target`, an entity of one type: anything of these, in any way.

    `edges` are types of direct parents; `onto` limits those of a type to one entity.
    """

    target: Atom
    attributes: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    edges: frozenset[str] = frozenset()
    onto: Mapping[str, Atom] = field(factory=dict)

    @property
    def kind(self) -> str:
        """Return the target's type."""
        assert isinstance(self.target.type, EntityRef)
        return self.target.type.name


class Written(World):
    """The store `base` after the changes; it shares all terms with it, and closes for both."""

    def __init__(self, base: World, changes: Sequence[Change]) -> None:
        """Stand beside `base`: policies that are compiled over either may stand in one query."""
        super().__init__(base.schema, base.deadline)
        self.base = base
        self.changes = changes
        self.axioms, self.pool, self.left, self.right = base.axioms, base.pool, base.left, base.right
        self._ids, self._functions, self._universal = base._ids, base._functions, base._universal
        self._seen, self._kept, self._fresh = base._seen, base._kept, base._fresh
        for change in changes:
            if change.edges:
                _note(self.left, change.kind, change.target.term)
                for kind, end in change.onto.items():
                    _note(self.right, kind, end.term)
                    _note(self.left, kind, end.term)

    def unknown(self, kind: Type, key: tuple[str, ...], args: Terms = ()) -> Symbolic:
        """Return the value of an unknown function after the write."""
        found = self.base.unknown(kind, key, args)
        for change in self.changes:
            if key == ("attribute", change.kind) and change.attributes:
                assert isinstance(found, Fields)
                assert isinstance(kind, RecordType)
                found = self._rewritten(change, kind, found, args[0])
            elif key == ("tag", change.kind) and change.tags:
                here = self._tag_changes(change, args)
                if not is_false(here):
                    new = self.base.unknown(kind, ("written tag", change.kind), (args[1],))
                    found = merged(here, new, found)
        return found

    def predicate(self, key: tuple[str, ...], args: Terms) -> Any:
        """Return whether an unknown predicate holds after the write."""
        found = self.base.predicate(key, args)
        for change in self.changes:
            if key == ("tag?", change.kind) and change.tags:
                new = self.base.predicate(("written tag?", change.kind), (args[1],))
                found = choose(self._tag_changes(change, args), new, found)
        return found

    def new_values(self) -> Iterator[Symbolic]:
        """Yield the values that attributes are written to."""
        for change in self.changes:
            shape = self.schema.entities[change.kind].shape
            for name in sorted(change.attributes):
                yield self.base.unknown(shape.attributes[name].type, ("written", change.kind, name))

    def close(self) -> list[Any]:
        """Return all axioms of the stores before and after."""
        return [*self.base.close(), *self._order(), *self._frame()]

    def _rewritten(self, change: Change, kind: RecordType, old: Fields, owner: Any) -> Fields:
        here = same(owner, change.target.term)
        if is_false(here):
            return old
        parts = dict(old.parts)
        for name in sorted(change.attributes):
            item, was = kind.attributes[name], old.parts[name]
            new = self.base.unknown(item.type, ("written", change.kind, name))
            there = was.present
            if not item.required:
                there = choose(here, self.base.predicate(("written?", change.kind, name), ()), was.present)
            parts[name] = Part(there, merged(here, new, was.value))
        return Fields(parts)

    def _tag_changes(self, change: Change, args: Terms) -> Any:
        owner, name = args
        here = same(owner, change.target.term)
        if ANY_TAG in change.tags:
            return here
        return both(here, either(*(same(name, text_of(tag)) for tag in sorted(change.tags))))

    def _below(self, one: str, term: Any, other: str, above: Any) -> Any:
        if not self._touched(one, other):
            return super()._below(one, term, other, above)
        return self._apply(("below, written", one, other), (term, above), z3.BoolSort())

    def _touched(self, one: str, other: str) -> bool:
        """Say whether some write can change what of the type `other` an entity of the type `one` is below."""
        return any(
            one in self._low(change) and other in self._high(kind)
            for change in self.changes
            for kind in change.edges
        )

    def _low(self, change: Change) -> set[str]:
        return {
            name
            for name in self.schema.entities
            if name == change.kind or change.kind in self.schema.ancestor_types(name)
        }

    def _high(self, kind: str) -> set[str]:
        return {kind, *self.schema.ancestor_types(kind)}

    def _frame(self) -> Iterator[Any]:
        """Yield what the write leaves as it was, for all terms that occurred."""
        for one, other, low, high in self._pairs():
            was = self.base.below(one, low, other, high)
            now = self.below(one, low, other, high)
            reached = [
                (change, self._reaches(change, one, low))
                for change in self.changes
                if any(other in self._high(kind) for kind in change.edges)
            ]
            yield either(*(reach for _, reach in reached), both(implies(was, now), implies(now, was)))
            through = [
                both(reach, self.below(change.kind, change.target.term, other, high))
                for change, reach in reached
            ]
            yield implies(both(now, negated(was)), either(*through))
        writing = [change for change in self.changes if change.edges]
        if len(writing) == 1:  # of several, one may change what another's end leads to
            yield from self._ends(writing[0])

    def _ends(self, change: Change) -> Iterator[Any]:
        """Yield what a target gets or loses: what the entities lead to that its edges are limited to."""
        kind, target = change.kind, change.target.term
        for other in sorted(self._others()):
            ways = [name for name in sorted(change.edges) if other in self._high(name)]
            if not ways or any(name not in change.onto for name in ways):
                continue
            for high in self._ends_of(other):
                was, now = (world.below(kind, target, other, high) for world in (self.base, self))
                got = [
                    both(self._end(change, name), self._leads(change, name, self, other, high))
                    for name in ways
                ]
                lost = [
                    both(
                        self.base.below(kind, target, name, change.onto[name].term),
                        negated(self._end(change, name)),
                        self._leads(change, name, self.base, other, high),
                    )
                    for name in ways
                ]
                yield implies(both(now, negated(was)), either(*got))
                yield implies(both(was, negated(now)), either(*lost))

    def _end(self, change: Change, kind: str) -> Any:
        """Return that the target is, after the write, below the entity that its edges are limited to."""
        return self.below(change.kind, change.target.term, kind, change.onto[kind].term)

    def _leads(self, change: Change, kind: str, world: World, other: str, high: Any) -> Any:
        end = change.onto[kind].term
        itself = same(end, high) if kind == other else FALSE
        if other not in self.schema.ancestor_types(kind):
            return itself
        return either(itself, world.below(kind, end, other, high))

    def _reaches(self, change: Change, one: str, low: Any) -> Any:
        """Return that an entity is the target, or was or is below it."""
        ways = [same(low, change.target.term)] if one == change.kind else []
        if change.kind in self.schema.ancestor_types(one):
            ways += [world.below(one, low, change.kind, change.target.term) for world in (self.base, self)]
        return either(*ways)

    def _others(self) -> set[str]:
        return {*self.left, *self.right}

    def _ends_of(self, other: str) -> list[Any]:
        return list({**self.left.get(other, {}), **self.right.get(other, {})}.values())

    def _pairs(self) -> Iterator[tuple[str, str, Any, Any]]:
        for one, terms in sorted(self.left.items()):
            for other in sorted(self.schema.ancestor_types(one) & self._others()):
                if self._touched(one, other):
                    for low in list(terms.values()):
                        for high in self._ends_of(other):
                            yield one, other, low, high
