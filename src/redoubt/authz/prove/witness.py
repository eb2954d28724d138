"""A model of a solver as a request with its entities: what the claim "this is wider" is shown and replayed with."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import z3
from attrs import evolve

from ..models import AuthzRequest, Entity, EntityUid, Extension
from ..schema.types import BoolType, EntityRef, ExtensionType, LongType, Schema, StringType
from .characters import read_back
from .compiler import Compiler
from .errors import Unsupported
from .values import Atom, Fields, Members, Symbolic
from .world import World

_ESCAPE = re.compile(r"\\u\{([0-9a-fA-F]+)\}")
_MOST = 400
_Place = tuple[str, int]


class Reader:
    """Reads one model back as Cedar data."""

    def __init__(self, world: World, model: Any) -> None:
        """Read `model` of what was asked of `world`."""
        self.world = world
        self.schema: Schema = world.schema
        self.model = model
        self._waiting: list[tuple[str, int]] = []

    def request(self, compiler: Compiler) -> AuthzRequest:
        """Return the request and every entity that it reaches; raises Unsupported for what data cannot say."""
        (principal, resource, context), entities = self.store(
            compiler.principal, compiler.resource, compiler.context
        )
        return AuthzRequest(
            principal, compiler.environment.action, resource, context, tuple(entities.values())
        )

    def store(self, *values: Symbolic) -> tuple[list[Any], dict[EntityUid, Entity]]:
        """Return `values` as data, and every entity that they reach; raises Unsupported for what data cannot say."""
        read = [self._read(value) for value in values]
        above = self._above()
        entities: dict[EntityUid, Entity] = {}
        while self._waiting:
            kind, number = self._waiting.pop()
            uid = self.world.uid(kind, number)
            if uid in entities or kind not in self.schema.entities:
                continue
            if len(entities) >= _MOST:
                raise Unsupported("a witness with too many entities")
            entities[uid] = self._entity(uid, kind, number)
        for low, high in above:
            self.join(entities, self.world.uid(*low), self.world.uid(*high))
        return read, entities

    def uid_of(self, value: Atom) -> EntityUid:
        """Return the uid that the model gives to an entity."""
        found: EntityUid = self._atom(value)
        return found

    def below(self, low: Atom, high: Atom) -> bool:
        """Say whether one entity has another as an ancestor."""
        kinds = [item.type.name for item in (low, high) if isinstance(item.type, EntityRef)]
        return self._true(self.world.below(kinds[0], low.term, kinds[1], high.term))

    def entity(self, uid: EntityUid, term: Any) -> Entity:
        """Return the entity that a term means, as this world has it, without its parents."""
        return self._entity(uid, uid.type, self._int(term))

    def ancestors(self, kind: str, term: Any) -> list[EntityUid]:
        """Return the direct ancestors of one entity, among those that were asked about."""
        number = self._int(term)
        return [self.world.uid(*high) for low, high in self._above() if low == (kind, number)]

    def _above(self) -> list[tuple[_Place, _Place]]:
        found = []
        for one, terms in self.world.left.items():
            for other in self.schema.ancestor_types(one):
                ends = {**self.world.left.get(other, {}), **self.world.right.get(other, {})}
                for term in terms.values():
                    for end in ends.values():
                        if self._true(self.world.below(one, term, other, end)):
                            pair = ((one, self._int(term)), (other, self._int(end)))
                            found.append(pair)
                            self._waiting += pair
        return _reduced(found)

    def join(self, entities: dict[EntityUid, Entity], low: EntityUid, high: EntityUid) -> None:
        """Put one entity below another, through new ones where the schema has no direct edge."""
        path = self._path(low.type, high.type)
        for step in path[1:-1]:
            between = EntityUid(step, f"between {low.type} {low.id} {high.type} {high.id}")
            if between not in entities:
                self.add_plain(entities, between)
            entities[low] = _under(entities[low], between)
            low = between
        entities[low] = _under(entities[low], high)

    def add_plain(self, entities: dict[EntityUid, Entity], uid: EntityUid) -> None:
        """Add an entity of which nothing is asked, with what it refers to."""
        number = self.world.literal(uid).term.as_long()
        entities[uid] = self._entity(uid, uid.type, number)
        while self._waiting:
            kind, value = self._waiting.pop()
            other = self.world.uid(kind, value)
            if other not in entities and kind in self.schema.entities:
                entities[other] = self._entity(other, kind, value)

    def _path(self, low: str, high: str) -> list[str]:
        paths, seen = [[low]], {low}
        while paths:
            path = paths.pop(0)
            for step in sorted(self.schema.entities[path[-1]].member_of):
                if step == high:
                    return [*path, step]
                if step not in seen:
                    seen.add(step)
                    paths.append([*path, step])
        raise Unsupported(f"no way from {low} to {high}")

    def _entity(self, uid: EntityUid, kind: str, number: int) -> Entity:
        known = self.schema.entities[kind]
        term = z3.IntVal(number)
        attrs = self._read(self.world.unknown(known.shape, ("attribute", kind), (term,)))
        tags = {}
        if known.tags is not None:
            for item in list(self.world.pool.get("tag", {}).values()):
                assert isinstance(item, Atom)
                name = self._eval(item.term)
                if self._true(self.world.predicate(("tag?", kind), (term, name))):
                    tags[_text(name)] = self._read(
                        self.world.unknown(known.tags, ("tag", kind), (term, name))
                    )
        return Entity(kind, uid.id, attrs, (), tags)

    def _read(self, value: Symbolic) -> Any:
        match value:
            case Atom():
                return self._atom(value)
            case Fields(parts=parts):
                return {
                    name: self._read(part.value) for name, part in parts.items() if self._true(part.present)
                }
            case Members(element=element):
                found = []
                for item in list(self.world.pool.get(element, {}).values()):
                    if self._true(value.holds(item)):
                        read = self._read(item)
                        if read not in found:
                            found.append(read)
                return found

    def _atom(self, value: Atom) -> Any:
        match value.type:
            case BoolType():
                return self._true(value.term)
            case LongType():
                return self._int(value.term)
            case StringType():
                return _text(self._eval(value.term))
            case EntityRef(name=name):
                known, number = self.schema.entities.get(name), self._int(value.term)
                if known is not None and known.enum and self.world.uid(name, number).id not in known.enum:
                    # The query never spoke of this one, so nothing holds it to the list: any of it will do.
                    number = self.world.literal(EntityUid(name, known.enum[0])).term.as_long()
                self._waiting.append((name, number))
                return self.world.uid(name, number)
            case ExtensionType(name="ipaddr"):
                return self._address(value)
            case ExtensionType(name=name):
                return _extension(name, self._int(value.term))
        raise Unsupported("a value without data")

    def _address(self, value: Atom) -> Extension:
        at = 3 if self._true(value.terms[0]) else 1
        number, prefix = self._int(value.terms[at]), self._int(value.terms[at + 1])
        known = ipaddress.IPv6Address(number) if at == 3 else ipaddress.IPv4Address(number)
        return Extension("ip", (f"{known}/{prefix}",))

    def _eval(self, term: Any) -> Any:
        return self.model.eval(term, model_completion=True)

    def _true(self, term: Any) -> bool:
        return bool(z3.is_true(self._eval(term)))

    def _int(self, term: Any) -> int:
        return int(self._eval(term).as_long())


def _reduced(pairs: list[tuple[_Place, _Place]]) -> list[tuple[_Place, _Place]]:
    """Return the pairs of an order that do not follow from two others: an entity's nearest ancestors."""
    above: dict[_Place, set[_Place]] = {}
    for low, high in pairs:
        above.setdefault(low, set()).add(high)
    return [
        (low, high)
        for low, high in dict.fromkeys(pairs)
        if not any(high in above.get(between, ()) for between in above[low])
    ]


def _under(entity: Entity, parent: EntityUid) -> Entity:
    return entity if parent in entity.parents else evolve(entity, parents=(*entity.parents, parent))


def _text(term: Any) -> str:
    found = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), str(term.as_string()))
    if any("\ud800" <= char <= "\udfff" for char in found):
        raise Unsupported("half a character")
    return read_back(found)


def _extension(name: str, number: int) -> Extension:
    if name == "decimal":
        whole, rest = divmod(abs(number), 10_000)
        return Extension("decimal", (f"{'-' if number < 0 else ''}{whole}.{rest:04}",))
    if name == "duration":
        return Extension("duration", (f"{number}ms",))
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)
    except OverflowError as error:
        raise Unsupported("a date beyond the years that can be written") from error
    written = f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
    return Extension("datetime", (written,))
