"""Self-elevation: a write that an action permits somebody, by which a request of their own is allowed that was denied.

The proposition, for an action A and what the schema lets it write (`Write`): there are a store S, a principal p, a
resource and a context for which the policies permit A, a store S' that is S but for the inputs of the write's targets
that A may write, changed in any way that the schema has, and a request of the same p that is denied in S and allowed in
S'. Where there is none, no sequence of such writes gives anybody anything: each leaves p at most what p had.

What a write by A changes follows from what A is about. The resource itself, where it is of the written type; the edge
between any entity of the written type and the resource, where it is of the type that the edge leads to; otherwise any
entity of the written type, p among them. One write may change all that A may write of its targets at once.

Z3 judges, cvc5 checks what it finds impossible, and what is found is replayed on the reference engine in both stores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import z3
from attrs import evolve

from ..models import AuthzRequest, Entity, EntityUid
from ..policyset import PolicySet
from ..schema.types import EntityRef, Environment, Schema
from .bounds import Bound, bound
from .engine import Cached, decision
from .errors import Unsupported
from .logic import both, is_false, negated
from .replay import allows
from .solve import solve
from .values import Atom
from .witness import Reader
from .world import World
from .writes import Elevation, Witness, Write
from .written import Change, Written

_TRIES = 200


def elevations(
    policies: PolicySet, schema: Schema, writes: Sequence[Write], seconds: float
) -> list[Elevation]:
    """Return, for each action and type of principal, how it elevates its doer, or why that is not ruled out.

    Takes about `seconds` of wall time at most. Empty: nobody can give themselves anything by these writes.
    """
    deadline = time.monotonic() + seconds
    items = list(bound(policies).values())
    environments = list(schema.environments())
    found = []
    for write in writes:
        mine = [item for item in environments if item.action == write.action]
        for kind in sorted({item.principal for item in mine}):
            one = _by(policies, schema, items, write, [x for x in mine if x.principal == kind], deadline)
            found += [one] if one is not None else []
    return found


def _by(
    policies: PolicySet,
    schema: Schema,
    items: list[Bound],
    write: Write,
    permitted: list[Environment],
    deadline: float,
) -> Elevation | None:
    """Return what one action gives principals of one type: a witness before a doubt, None where it is nothing."""
    kind = permitted[0].principal
    doubt: Elevation | None = None
    for first in permitted:
        for second in schema.environments():
            if second.principal != kind:
                continue
            try:
                witness = _Query(policies, schema, items, write, first, second, deadline).witness()
            except (Unsupported, z3.Z3Exception, RecursionError) as error:
                doubt = doubt or Elevation(write, kind, f"{_place(second)}: {error}")
                if time.monotonic() >= deadline:
                    return doubt
                continue
            if witness is not None:
                return Elevation(write, kind, witness=witness)
    return doubt


def _place(environment: Environment) -> str:
    return f"{environment.principal} · {environment.action.id} · {environment.resource}"


class _Query:
    """One action and one request that its doer may gain."""

    def __init__(
        self,
        policies: PolicySet,
        schema: Schema,
        items: list[Bound],
        write: Write,
        first: Environment,
        second: Environment,
        deadline: float,
    ) -> None:
        self.policies, self.schema, self.deadline = policies, schema, deadline
        self.before = World(schema, deadline)
        self.permitted = Cached(self.before, schema, first)
        changes = list(_changes(self.before, schema, write, self.permitted.resource))
        self.after = Written(self.before, changes)
        self.was = Cached(self.before, schema, second, "gained")
        self.will = Cached(self.after, schema, second, "gained")
        self.items, self.first, self.second = items, first, second

    def witness(self) -> Witness | None:
        """Return how the write elevates its doer, None where it is proven not to; raises Unsupported in doubt."""
        theirs = [item for item in self.items if item.applies(self.schema, self.second)]
        was, will = decision(self.was, theirs), decision(self.will, theirs)
        if is_false(will) or was.eq(will):
            return None
        may = decision(self.permitted, [item for item in self.items if item.applies(self.schema, self.first)])
        goal = both(may, will, negated(was))
        if is_false(goal):
            return None
        found = solve([goal, *self.after.close()], self.deadline)
        if found.possible is None:
            raise Unsupported(found.why)
        if not found.possible:
            return None
        return self._shown(found.model)

    def _shown(self, model: Any) -> Witness:
        reader = Reader(self.before, model)
        new = list(self.after.new_values())
        targets = [change.target for change in self.after.changes]
        read, entities = reader.store(
            self.permitted.principal, self.permitted.resource, self.permitted.context,
            self.was.resource, self.was.context, *targets, *new, *self._parents(model),
        )  # fmt: skip
        principal, resource, context, other, more = read[:5]
        written = tuple(self._written(model, reader, entities, change) for change in self.after.changes)
        known = tuple(entities.values())
        found = Witness(
            AuthzRequest(principal, self.first.action, resource, context, known),
            AuthzRequest(principal, self.second.action, other, more, known),
            tuple(item for item in written if item != entities[item.uid]),
        )
        if not elevates(self.policies, found):
            raise Unsupported("the solver's witness does not replay on the reference engine")
        return _minimised(self.policies, found, self.deadline)

    def _parents(self, model: Any) -> Iterator[Atom]:
        """Yield what the targets are below after the write, so that it is in the store."""
        reader = Reader(self.after, model)
        for change in self.after.changes:
            for uid in reader.ancestors(change.kind, change.target.term):
                yield self.before.literal(uid)

    def _written(
        self, model: Any, reader: Reader, entities: dict[EntityUid, Entity], change: Change
    ) -> Entity:
        """Return a target after the write: nothing differs but what the write may change."""
        after = Reader(self.after, model)
        uid = after.uid_of(change.target)
        old, new = entities[uid], after.entity(uid, change.target.term)
        limited = {kind: after.uid_of(end) for kind, end in change.onto.items()}
        parents = [
            parent
            for parent in old.parents
            if parent.type not in change.edges or parent != limited.get(parent.type, parent)
        ]
        for kind, end in limited.items():
            if after.below(change.target, change.onto[kind]):
                parents.append(end)
        for above in (
            after.ancestors(change.kind, change.target.term) if change.edges - limited.keys() else ()
        ):
            ways = [
                kind
                for kind in sorted(change.edges - limited.keys())
                if above.type in {kind, *self.schema.ancestor_types(kind)}
            ]
            if above.type in ways:
                parents.append(above)
            elif ways:
                between = EntityUid(ways[0], f"between {uid.type} {uid.id} {above.type} {above.id}")
                if between not in entities:
                    reader.add_plain(entities, between)
                reader.join(entities, between, above)
                parents.append(between)
        return evolve(new, parents=tuple(dict.fromkeys(parents)))


def _changes(world: World, schema: Schema, write: Write, resource: Atom) -> Iterator[Change]:
    assert isinstance(resource.type, EntityRef)
    about = resource.type.name
    for kind, inputs in sorted(write.inputs.items()):
        if kind == about:
            yield Change(resource, inputs.attributes, inputs.tags, inputs.edges)
            continue
        target = world.unknown(EntityRef(kind), ("target", kind))
        assert isinstance(target, Atom)
        onto = {about: resource} if about in inputs.edges else {}
        yield Change(target, inputs.attributes, inputs.tags, inputs.edges, onto)


def elevates(policies: PolicySet, found: Witness) -> bool:
    """Say whether the reference engine permits the write, denies the request before it and allows it after."""
    return bool(found.written) and (
        allows(found.permitted, policies.engine, policies.schema) is True
        and allows(found.gained, policies.engine, policies.schema) is False
        and allows(found.after, policies.engine, policies.schema) is True
    )


def _minimised(policies: PolicySet, found: Witness, deadline: float) -> Witness:
    """Return a witness without entities and edges that it can miss."""
    for _ in range(_TRIES):
        for smaller in _smaller(found):
            if time.monotonic() >= deadline:
                return found
            if elevates(policies, smaller):
                found = smaller
                break
        else:
            break
    return found


def _smaller(found: Witness) -> Iterator[Witness]:
    needed = {found.permitted.principal, found.permitted.resource, found.gained.resource}
    needed |= {item.uid for item in found.written}
    said = repr([(item.attrs, item.parents, item.tags) for item in (*found.gained.entities, *found.written)])
    said += repr((found.permitted.context, found.gained.context))
    for entity in found.gained.entities:
        if entity.uid not in needed and repr(entity.uid) not in said:
            yield _with(found, tuple(item for item in found.gained.entities if item is not entity))
    for entity in found.gained.entities:
        for parent in entity.parents:
            smaller = evolve(entity, parents=tuple(item for item in entity.parents if item != parent))
            written = tuple(
                evolve(item, parents=tuple(one for one in item.parents if one != parent))
                if item.uid == entity.uid
                else item
                for item in found.written
            )
            entities = tuple(smaller if item is entity else item for item in found.gained.entities)
            yield _with(evolve(found, written=written), entities)


def _with(found: Witness, entities: tuple[Entity, ...]) -> Witness:
    return evolve(
        found,
        permitted=evolve(found.permitted, entities=entities),
        gained=evolve(found.gained, entities=entities),
    )
