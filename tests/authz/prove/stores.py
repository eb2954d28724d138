"""One concrete store and request, asserted: then what the prover says is a decision, as any reader's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cedarpy
import pytest
import z3

from redoubt.authz.models import AuthzRequest, Entity, EntityUid, Extension
from redoubt.authz.prove.arithmetic import unary
from redoubt.authz.prove.compiler import Compiler, text_of
from redoubt.authz.prove.engine import decision
from redoubt.authz.prove.errors import Unsupported
from redoubt.authz.prove.logic import both, either, negated
from redoubt.authz.prove.values import Atom, Fields, Members, Symbolic, boolean, number
from redoubt.authz.prove.world import World
from redoubt.authz.schema import (
    EntityRef,
    Environment,
    ExtensionType,
    RecordType,
    Schema,
    SetType,
    StringType,
    Type,
)

CONSTRUCTORS = {"ip": "ip", "decimal": "decimal", "datetime": "datetime", "duration": "duration"}


class Store:
    """One concrete store, asserted for the terms that occur in a query."""

    def __init__(self, world: World, entities: tuple[Entity, ...]) -> None:
        self.world = world
        self.entities = {entity.uid: entity for entity in entities}

    def constant(self, value: Any) -> Symbolic:
        """A value without parts, or a record of them, as a symbolic one."""
        match value:
            case bool():
                return boolean(z3.BoolVal(value))
            case int():
                return number(z3.IntVal(value))
            case str():
                return Atom(StringType(), (text_of(value),))
            case EntityUid():
                return self.world.literal(value)
            case Extension(fn="offset", args=(moment, span)):
                one, two = self.constant(moment), self.constant(span)
                assert isinstance(one, Atom)
                assert isinstance(two, Atom)
                return Atom(one.type, (z3.simplify(one.term + two.term),))
            case Extension(fn=name, args=(text,)):
                call = cedarpy.pst.UnaryOp(CONSTRUCTORS[name], cedarpy.pst.StringLit(text))  # type: ignore[arg-type]
                return unary(call, lambda expr: pytest.fail("a literal")).value
        raise Unsupported(f"a value of the type {type(value).__name__}")

    def is_(self, symbol: Symbolic, value: Any) -> Iterator[Any]:
        """The assertions that a symbolic value is a concrete one."""
        match symbol:
            case Atom():
                yield self.world.equal(symbol, self.constant(explicit(symbol.type, value)))
            case Fields(parts=parts):
                for name, part in parts.items():
                    yield part.present if name in value else negated(part.present)
                    if name in value:
                        yield from self.is_(part.value, value[name])
            case Members(element=element):
                for item in list(self.world.pool.get(element, {}).values()):
                    options = [both(*self.is_(item, one)) for one in value]
                    yield symbol.holds(item) == either(*options)

    def pool(self, kind: Type, value: Any) -> None:
        """Let the axioms speak of every element of a set, wherever it lies in a value."""
        match kind:
            case SetType(element=element):
                plain = not isinstance(element, SetType | RecordType)
                for one in value if plain else ():
                    self.world.pooled(self.constant(explicit(element, one)))
            case RecordType(attributes=parts):
                for name, one in value.items():
                    self.pool(parts[name].type, one)

    def assertions(self) -> Iterator[Any]:
        """All that the store says."""
        schema = self.world.schema
        for entity in self.entities.values():
            if entity.type in schema.entities:
                self.pool(schema.entities[entity.type].shape, entity.attrs)
        for entity in self.entities.values():
            known = schema.entities.get(entity.type)
            if known is None:
                continue
            term = self.world.literal(entity.uid).term
            yield from self._attributes(entity, known.shape, term)
            for tag in list(self.world.pool.get("tag", {}).values()):
                assert isinstance(tag, Atom)
                assert known.tags is not None or not entity.tags
                if known.tags is None:
                    continue
                there = self.world.predicate(("tag?", entity.type), (term, tag.term))
                names = [both(tag.term == text_of(name)) for name in entity.tags]
                yield there == either(*names)
                for name, value in entity.tags.items():
                    read = self.world.unknown(known.tags, ("tag", entity.type), (term, tag.term))
                    yield z3.Implies(tag.term == text_of(name), z3.And(*self.is_(read, value), True))
        yield from self.order()

    def _attributes(self, entity: Entity, shape: RecordType, term: Any) -> Iterator[Any]:
        """What the store says of the attributes that are read of some entity of this type, and of no other."""
        asked = {key[2] for key in self.world.asked if key[:2] == ("attribute", entity.type) and len(key) > 2}
        symbol = self.world.unknown(shape, ("attribute", entity.type), (term,))
        assert isinstance(symbol, Fields)
        read = {name: symbol.parts[name] for name in shape.attributes if name in asked}
        yield from self.is_(Fields(read), {name: one for name, one in entity.attrs.items() if name in asked})

    def order(self) -> Iterator[Any]:
        """Which of the terms are below which."""
        pairs = [(low, high) for low in self.entities for high in self.above(low)]
        for one, terms in self.world.left.items():
            for other in self.world.schema.ancestor_types(one):
                ends = {**self.world.left.get(other, {}), **self.world.right.get(other, {})}
                for term in terms.values():
                    for end in ends.values():
                        options = [
                            z3.And(term == self.world.literal(low).term, end == self.world.literal(high).term)
                            for low, high in pairs
                            if low.type == one and high.type == other
                        ]
                        yield self.world.below(one, term, other, end) == either(*options)

    def above(self, low: EntityUid) -> set[EntityUid]:
        found: set[EntityUid] = set()
        waiting = [low]
        while waiting:
            entity = self.entities.get(waiting.pop())
            fresh = set(entity.parents if entity is not None else ()) - found
            found |= fresh
            waiting += fresh
        return found


def explicit(kind: Type, value: Any) -> Any:
    """A value that stands in the short form which its type allows."""
    match kind, value:
        case EntityRef(), {"type": str(name), "id": str(identity)}:
            return EntityUid(name, identity)
        case ExtensionType(), {"fn": str(name), "arg": argument}:
            return Extension(name, (argument,))
        case ExtensionType(name=name), str():
            return Extension("ip" if name == "ipaddr" else name, (value,))
    return value


def answer(schema: Schema, items: Any, request: AuthzRequest) -> str:
    """The prover's answer about one request over one store: allow, deny, or what else its solver says."""
    return answers(schema, items, request, [request.resource])[0]


def answers(schema: Schema, items: Any, request: AuthzRequest, resources: Sequence[EntityUid]) -> list[str]:
    """The prover's answers about one request for each of some resources of one type, by one solver."""
    world = World(schema)
    environment = Environment(request.principal.type, request.action, request.resource.type)
    compiler = Compiler(world, schema, environment)
    allowed = decision(compiler, items)
    store = Store(world, request.entities)
    for value in [request.principal, *resources, *store.entities]:
        world.literal(value)
    store.pool(schema.actions[request.action].context, request.context)
    said = list(store.assertions())  # which pool what the sets hold, so that they come first
    facts = [
        compiler.principal.term == world.literal(request.principal).term,
        *store.is_(compiler.context, request.context),
        *said,
    ]
    facts += world.close()
    solver = z3.Solver()
    solver.set("timeout", 20_000)
    solver.add(*facts)
    verdicts = {"sat unsat": "allow", "unsat sat": "deny"}
    found = []
    for uid in resources:
        here = compiler.resource.term == world.literal(uid).term
        can, cannot = solver.check(here, allowed), solver.check(here, z3.Not(allowed))
        found.append(verdicts.get(f"{can} {cannot}", f"{can} {cannot}"))
    return found
