"""Cedar's published cases through the prover: the store asserted, its answer is the case's decision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import cedarpy
import pytest
import z3
from attrs import frozen

from redoubt.authz.models import AuthzRequest, Entity, EntityUid, Extension
from redoubt.authz.policyset import unchecked
from redoubt.authz.prove.arithmetic import unary
from redoubt.authz.prove.compiler import Compiler, text_of
from redoubt.authz.prove.engine import bound, decision
from redoubt.authz.prove.errors import Unsupported
from redoubt.authz.prove.logic import both, either, negated
from redoubt.authz.prove.values import Atom, Fields, Members, Symbolic, boolean, number
from redoubt.authz.prove.world import World
from redoubt.authz.schema import EntityRef, Environment, ExtensionType, Schema, StringType, Type, read_schema
from tests.authz import corpus

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

    def assertions(self) -> Iterator[Any]:
        """All that the store says."""
        schema = self.world.schema
        for entity in self.entities.values():
            known = schema.entities.get(entity.type)
            if known is None:
                continue
            term = self.world.literal(entity.uid).term
            shape = self.world.unknown(known.shape, ("attribute", entity.type), (term,))
            yield from self.is_(shape, entity.attrs)
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


@frozen
class Tally:
    right: int
    outside: int
    unsupported: tuple[str, ...]
    wrong: tuple[str, ...]
    seconds: float


def answer(schema: Schema, items: Any, request: AuthzRequest) -> str:
    """The prover's answer about one request over one store: allow, deny, or what else its solver says."""
    world = World(schema)
    environment = Environment(request.principal.type, request.action, request.resource.type)
    compiler = Compiler(world, schema, environment)
    allowed = decision(compiler, items)
    store = Store(world, request.entities)
    for value in [request.principal, request.resource, *store.entities]:
        world.literal(value)
    facts = [
        compiler.principal.term == world.literal(request.principal).term,
        compiler.resource.term == world.literal(request.resource).term,
        *store.is_(compiler.context, request.context),
        *store.assertions(),
    ]
    facts += world.close()
    solver = z3.Solver()
    solver.set("timeout", 20_000)
    solver.add(*facts)
    can, cannot = solver.check(allowed), solver.check(z3.Not(allowed))
    verdicts = {"sat unsat": "allow", "unsat sat": "deny"}
    return verdicts.get(f"{can} {cannot}", f"{can} {cannot}")


def _referred(request: AuthzRequest) -> set[EntityUid]:
    """The entities that attributes, tags or the context refer to."""
    waiting: list[Any] = [
        request.context,
        *(part for item in request.entities for part in (item.attrs, item.tags)),
    ]
    found: set[EntityUid] = set()
    while waiting:
        match waiting.pop():
            case EntityUid() as uid:
                found.add(uid)
            case dict() as record:
                waiting += record.values()
            case list() | tuple() | set() | frozenset() as items:
                waiting += items
    return found


def run(every: int) -> Tally:
    started = time.monotonic()
    right = outside = 0
    unsupported: list[str] = []
    wrong: list[str] = []
    for case in corpus.cases(every):
        if not case.should_validate:
            continue
        try:
            schema = read_schema(case.schema)
            checked = unchecked(case.policies, case.schema)
            items = list(bound(checked).values())
        except ValueError as error:
            unsupported.append(f"{case.name}: {error}")
            continue
        known = set(schema.environments())
        present = {entity.uid for entity in case.entities}
        seen: set[str] = set()
        for document in case.requests:
            mark = repr(
                {
                    key: value
                    for key, value in document.items()
                    if key in ("principal", "action", "resource", "context")
                }
            )
            if mark in seen:
                continue
            seen.add(mark)
            request = corpus.request(document, case.entities)
            environment = Environment(request.principal.type, request.action, request.resource.type)
            shape = schema.actions[request.action].context.attributes if environment in known else {}
            conforms = all(name in request.context for name, item in shape.items() if item.required)
            # A validated policy errs where it reads an entity that is not there, which the loader of entities rules out.
            there = {request.principal, request.resource} <= present
            there = there and not (document["errors"] and not _referred(request) <= present)
            if environment not in known or not conforms or not there:
                outside += 1
                continue
            try:
                got = answer(schema, items, request)
            except Unsupported as error:
                unsupported.append(f"{case.name}: {error}")
                continue
            if got == document["decision"]:
                right += 1
            else:
                wrong.append(f"{case.name} {document.get('description')}: {got}")
    return Tally(right, outside, tuple(unsupported), tuple(wrong), time.monotonic() - started)


def test_the_solver_decides_a_sample_of_the_published_cases_as_they_say() -> None:
    found = run(300)
    assert found.wrong == ()
    assert found.right > 50


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_solver_decides_all_published_cases_as_they_say() -> None:
    found = run(1)
    print(
        f"{found.right} right, {found.outside} outside of the assumptions, {len(found.unsupported)} unsupported"
    )
    assert found.wrong == ()
    assert len({item.split(":")[0] for item in found.unsupported}) <= 1
