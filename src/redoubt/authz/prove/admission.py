"""Who gets in where an access is new: one role at a time, on what they own, on another's, and in another tenant.

A cell says `may` where some request is allowed, shown on the reference engine; `never` where both solvers rule it out; and
`unknown` where neither came about in time. Roles are the groups that policies or people name; who holds one is meant as
nobody in particular: a person whom a policy names is told by name elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import z3

from ..models import EntityUid
from ..policyset import PolicySet
from ..schema.types import Environment, Schema
from .bounds import bound
from .engine import Cached, decision
from .errors import Unsupported
from .gains import below_exactly, mention
from .logic import FALSE, both, negated
from .relations import owned, same_tenant
from .replay import widens
from .solve import solve
from .witness import Reader
from .world import World

Cell = Literal["may", "never", "unknown", "none"]
COLUMNS = ("owner", "other", "other tenant")
"""`owner`: the principal's own, in their tenant; `other`: not theirs, in their tenant; `other tenant`: in another, not theirs."""


def named_groups(policies: PolicySet, schema: Schema, kind: str) -> list[EntityUid]:
    """Return the entities that policies name and that a principal of this type can be below, sorted."""
    above = schema.ancestor_types(kind)
    world = World(schema)
    for environment in schema.environments():
        if environment.principal == kind:
            compiler = Cached(world, schema, environment)
            for item in bound(policies).values():
                if item.applies(schema, environment):
                    try:
                        compiler.policy(item.policy, item.slots)
                    except Unsupported:
                        continue
    return sorted((uid for uid in world.named() if uid.type in above), key=str)


def admitted(
    policies: PolicySet,
    schema: Schema,
    environment: Environment,
    groups: Iterable[EntityUid],
    deadline: float,
) -> dict[str, Cell]:
    """Return, by column, whether somebody who is in these groups alone may; `none` where there is no such resource."""
    cells: dict[str, Cell] = {}
    for column in COLUMNS:
        try:
            cells[column] = _cell(policies, schema, environment, tuple(groups), column, deadline)
        except (Unsupported, z3.Z3Exception, RecursionError):
            cells[column] = "unknown"
    return cells


def _cell(
    policies: PolicySet,
    schema: Schema,
    environment: Environment,
    groups: tuple[EntityUid, ...],
    column: str,
    deadline: float,
) -> Cell:
    world = World(schema, deadline)
    compiler = Cached(world, schema, environment)
    will = decision(
        compiler, [item for item in bound(policies).values() if item.applies(schema, environment)]
    )
    own, tenant = owned(world, compiler), same_tenant(world, compiler)
    if (column == "owner" and own is None) or (column == "other tenant" and tenant is None):
        return "none"
    mine = FALSE if own is None else own
    here = [] if tenant is None else [negated(tenant) if column == "other tenant" else tenant]
    goal = both(will, mine if column == "owner" else negated(mine), *here)
    kind = environment.principal
    mention(world, compiler.principal, groups)
    known = [world.literal(uid).term for uid in sorted(world.named(), key=str) if uid.type == kind]
    closed = world.close()
    who = [
        *below_exactly(world, compiler.principal, groups),
        *(compiler.principal.term != term for term in known),
    ]
    found = solve([goal, *closed, *who], deadline)
    if found.possible is None:
        return "unknown"
    if not found.possible:
        return "never"
    return "may" if widens(Reader(world, found.model).request(compiler), None, policies) else "unknown"
