"""Who gains: the requests that a change newly allows, held against people there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import z3
from attrs import frozen

from ..models import Entity, EntityUid
from ..policyset import PolicySet
from ..schema.types import EntityRef, Environment, Schema, StringType
from .bounds import bound
from .compiler import text_of
from .engine import Cached, decision
from .errors import Unsupported
from .logic import both, either, negated
from .replay import widens
from .solve import solve
from .values import Atom, Fields, Symbolic, boolean, number
from .witness import Reader
from .world import World

MAX_PROFILES = 400


@frozen
class Gain:
    """Who of some people newly can do something in one environment: surely, and where no answer was had in time."""

    environment: Environment
    people: tuple[EntityUid, ...] = ()
    undecided: tuple[EntityUid, ...] = ()


def gaining(
    old: PolicySet | None,
    old_schema: Schema,
    new: PolicySet,
    new_schema: Schema,
    environment: Environment,
    people: Iterable[Entity],
    deadline: float,
) -> Gain:
    """Return who of `people` may do in `environment` under `new` what they may not do under `old`.

    Without `old` nothing was allowed before. `people` are entities of the environment's principal type with all of
    their attributes and parents. Who has the same of both, and is named by no policy, has the same answer, so it is
    asked once for all of them. Each gain is shown by a request that the reference engine decides so; `deadline` is on
    the monotonic clock.
    """
    world = World(new_schema, deadline)
    everybody = [one for one in people if one.type == environment.principal]
    try:
        after = Cached(world, new_schema, environment)
        before = after if old_schema == new_schema else Cached(world, old_schema, environment)
        goal = decision(
            after, [item for item in bound(new).values() if item.applies(new_schema, environment)]
        )
        if old is not None:
            items = [item for item in bound(old).values() if item.applies(old_schema, environment)]
            goal = both(goal, negated(decision(before, items)))
        groups = _groups(everybody, world)
        if len(groups) > MAX_PROFILES:
            raise Unsupported("too many kinds of people")
        _mention(world, environment.principal, after.principal, everybody)
        axioms = [goal, *world.close()]
    except (Unsupported, z3.Z3Exception, RecursionError):
        return Gain(environment, undecided=tuple(one.uid for one in everybody))
    gains: list[EntityUid] = []
    undecided: list[EntityUid] = []
    for named, group in groups:
        try:
            found = solve([*axioms, *_is(world, after.principal, group[0], named)], deadline)
            if found.possible:
                shown = widens(Reader(world, found.model).request(after), old, new)
                (gains if shown else undecided).extend(one.uid for one in group)
            elif found.possible is None:
                undecided.extend(one.uid for one in group)
        except (Unsupported, z3.Z3Exception):
            undecided.extend(one.uid for one in group)
    return Gain(environment, tuple(gains), tuple(undecided))


def _groups(people: Sequence[Entity], world: World) -> list[tuple[bool, list[Entity]]]:
    """Return people who have everything alike, and whether policies name them; who is named stands alone."""
    named = world.named()
    found: dict[Any, list[Entity]] = defaultdict(list)
    for one in people:
        alone = one.id if one.uid in named else None
        found[alone, repr(sorted(one.attrs.items())), repr(sorted(map(str, one.parents)))].append(one)
    return [(key[0] is not None, group) for key, group in found.items()]


def _mention(world: World, kind: str, principal: Atom, people: Sequence[Entity]) -> None:
    """Let the axioms speak of every parent that somebody has."""
    mention(world, principal, {parent for one in people for parent in one.parents})
    world.unknown(world.schema.entities[kind].shape, ("attribute", kind), (principal.term,))


def mention(world: World, principal: Atom, parents: Iterable[EntityUid]) -> None:
    """Let the axioms speak of these entities as ancestors of the principal."""
    for parent in sorted(parents, key=str):
        below = world.literal(parent)
        world.inside(world.schema, principal, below)
        for above in sorted(world.schema.ancestor_types(parent.type)):
            for term in list(world.right.get(above, {}).values()):
                world.inside(world.schema, below, Atom(EntityRef(above), (term,)))


def _is(world: World, principal: Atom, person: Entity, named: bool) -> list[Any]:
    """Return what says that the principal is this person, or one who has the same and is not named."""
    kind = person.type
    known = [world.literal(uid).term for uid in sorted(world.named(), key=str) if uid.type == kind]
    said = (
        [principal.term == world.literal(person.uid).term]
        if named
        else [negated(principal.term == term) for term in known]
    )
    shape = world.unknown(world.schema.entities[kind].shape, ("attribute", kind), (principal.term,))
    assert isinstance(shape, Fields)
    for name, part in shape.parts.items():
        if name not in person.attrs:
            said.append(negated(part.present))
            continue
        said += [part.present, world.equal(part.value, _constant(world, person.attrs[name]))]
    return [*said, *below_exactly(world, principal, person.parents)]


def below_exactly(world: World, principal: Atom, uids: Iterable[EntityUid]) -> list[Any]:
    """Return what says that a principal is below these entities and what they are below, and below nothing else."""
    assert isinstance(principal.type, EntityRef)
    kind, said = principal.type.name, []
    parents = [(uid, world.literal(uid)) for uid in uids]
    for above in sorted(world.schema.ancestor_types(kind)):
        for term in {**world.left.get(above, {}), **world.right.get(above, {})}.values():
            through = [parent.term == term for uid, parent in parents if uid.type == above]
            through += [
                world.below(uid.type, parent.term, above, term)
                for uid, parent in parents
                if above in world.schema.ancestor_types(uid.type)
            ]
            said.append(world.below(kind, principal.term, above, term) == either(*through))
    return said


def _constant(world: World, value: Any) -> Symbolic:
    match value:
        case bool():
            return boolean(z3.BoolVal(value))
        case int():
            return number(z3.IntVal(value))
        case str():
            return Atom(StringType(), (text_of(value),))
        case EntityUid():
            return Atom(EntityRef(value.type), (world.literal(value).term,))
    raise Unsupported("an attribute that is no plain value")
