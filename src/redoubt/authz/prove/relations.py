"""How a principal stands to a resource by the names that schemas use: `owner` and `tenant`."""

from __future__ import annotations

from typing import Any

from ..schema.types import EntityRef
from .compiler import Compiler
from .logic import both
from .values import Atom, Fields
from .world import World


def owned(world: World, compiler: Compiler) -> Any:
    """Return that the resource is the principal's own, None where resources of this type have no owner."""
    kind, about = compiler.environment.principal, compiler.environment.resource
    if kind == about:
        return world.equal(compiler.principal, compiler.resource)
    part = _shape(world, about, compiler.resource).parts.get("owner")
    if part is None or not isinstance(part.value, Atom) or part.value.type != EntityRef(kind):
        return None
    return both(part.present, world.equal(part.value, compiler.principal))


def same_tenant(world: World, compiler: Compiler) -> Any:
    """Return that both have one tenant, None where one of them has none by its type."""
    mine = _shape(world, compiler.environment.principal, compiler.principal).parts.get("tenant")
    its = _shape(world, compiler.environment.resource, compiler.resource).parts.get("tenant")
    if mine is None or its is None:
        return None
    return both(mine.present, its.present, world.equal(mine.value, its.value))


def _shape(world: World, kind: str, one: Atom) -> Fields:
    shape = world.unknown(world.schema.entities[kind].shape, ("attribute", kind), (one.term,))
    assert isinstance(shape, Fields)
    return shape
