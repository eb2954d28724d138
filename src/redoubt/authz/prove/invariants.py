"""Standing invariants: what every allow of a set must keep, whoever wrote its permits and whoever approves them.

Two hold for every environment that is new. *tenant*: where principal or resource has a tenant, the other has the same.
*nobody*: who is not logged in (the type `Anonymous`, in any namespace) is denied. An action that is meant to go beyond says so in the reviewed schema:
`@outside("nobody")`, `@outside("tenant")`, `@outside("tenant, nobody")`.

Others the owner declares: a forbid with `@invariant("why")` stops what it forbids at run time, as any forbid does, and here the
rest of the set is proven not to need it: no permit reaches what an invariant forbids, in any environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import z3
from attrs import evolve

from ..access import ANONYMOUS_TYPE
from ..models import AuthzRequest
from ..policyset import PolicySet, unchecked
from ..schema.types import Environment, Schema
from .bounds import Bound, bound
from .engine import Cached, decision
from .errors import Unsupported
from .logic import TRUE, both, is_false, negated
from .relations import same_tenant
from .replay import allows, minimised
from .rules import INVARIANT, NOBODY, TENANT, invariant_ids, outside
from .solve import solve
from .verdicts import Breach, EnvironmentVerdict
from .witness import Reader
from .world import World


def held(
    verdicts: tuple[EnvironmentVerdict, ...], new: PolicySet, schema: Schema, deadline: float
) -> tuple[tuple[EnvironmentVerdict, ...], tuple[Breach, ...]]:
    """Return the verdicts, `unknown` where it is not proven that an invariant is kept, and the breaches that are shown."""
    declared = invariant_ids(new)
    everything = bound(new)
    rest = _without(new, declared) if declared else new
    theirs = [item for name, item in everything.items() if name not in declared]
    forbids = {name: item for name, item in everything.items() if name in declared}
    there = set(schema.environments())
    kept: list[EnvironmentVerdict] = []
    breaches: list[Breach] = []
    for verdict in verdicts:
        place = verdict.environment
        if place not in there:
            kept.append(verdict)
            continue
        rules = _rules(verdict, schema)
        mine = {name: item for name, item in forbids.items() if item.applies(schema, place)}
        if rules or mine:
            try:
                breaches += _breaches(new, rest, theirs, schema, place, rules, mine, deadline)
            except (Unsupported, z3.Z3Exception, RecursionError) as error:
                names = ", ".join([*rules, *mine])
                why = f"not proven to keep {names}: {error}"
                if verdict.verdict == "wider":
                    verdict = evolve(verdict, reason="; ".join(filter(None, [verdict.reason, why])))
                else:
                    verdict = evolve(verdict, verdict="unknown", reason=why)
        kept.append(verdict)
    return tuple(kept), tuple(breaches)


def _rules(verdict: EnvironmentVerdict, schema: Schema) -> list[str]:
    """Return which of the two rules a new environment is held to: also where it is not known what it allows."""
    place = verdict.environment
    if not verdict.fresh or verdict.verdict == "equal":
        return []
    beyond = outside(schema.actions[place.action])
    ends = (place.principal, place.resource)
    found = [TENANT] if any("tenant" in schema.entities[kind].shape.attributes for kind in ends) else []
    found += [NOBODY] if place.principal.rpartition("::")[2] == ANONYMOUS_TYPE else []
    return [rule for rule in found if rule not in beyond]


def _breaches(
    new: PolicySet,
    rest: PolicySet,
    theirs: list[Bound],
    schema: Schema,
    place: Environment,
    rules: list[str],
    forbids: Mapping[str, Bound],
    deadline: float,
) -> Iterator[Breach]:
    permits = [item for item in theirs if item.applies(schema, place)]
    against: list[tuple[str, Bound | None]] = [(rule, None) for rule in rules]
    against += list(forbids.items())
    for rule, forbid in against:
        world = World(schema, deadline)
        compiler = Cached(world, schema, place)
        may = decision(compiler, permits)
        if forbid is not None:
            broken = compiler.policy(forbid.policy, forbid.slots).satisfied
        else:
            kept = None if rule == NOBODY else same_tenant(world, compiler)
            broken = TRUE if kept is None else negated(kept)  # who can have no tenant has not the resource's
        goal = both(may, broken)
        if is_false(goal):
            continue
        found = solve([goal, *world.close()], deadline)
        if found.possible is None:
            raise Unsupported(found.why)
        if found.possible:
            request = Reader(world, found.model).request(compiler)
            declared = forbid is not None
            if not _shows(request, new, rest, declared, rule):
                raise Unsupported("the solver's witness does not replay on the reference engine")
            small = minimised(request, new if declared else None, rest, deadline=deadline)
            shown = small if _shows(small, new, rest, declared, rule) else request
            yield Breach(_name(new, rule) if declared else rule, place, shown)


def _shows(request: AuthzRequest, new: PolicySet, rest: PolicySet, declared: bool, rule: str) -> bool:
    """Say whether the reference engine allows it without the invariants and, for a declared one, denies it with them."""
    if allows(request, rest.engine, new.schema) is not True:
        return False
    if declared:
        return allows(request, new.engine, new.schema) is False
    entities = {item.uid: item for item in request.entities}
    ends = [entities[uid].attrs.get("tenant") for uid in (request.principal, request.resource)]
    return rule == NOBODY or ends[0] is None or ends[1] is None or ends[0] != ends[1]


def _without(policies: PolicySet, declared: frozenset[str]) -> PolicySet:
    """Return the set without its invariants."""
    kept = {name: policy for name, policy in policies.policies.items() if name not in declared}
    return unchecked(kept, policies.schema_text)


def _name(policies: PolicySet, identity: str) -> str:
    why = str(policies.policies[identity].get("annotations", {}).get(INVARIANT) or "")
    return f"{identity} ({why})" if why else identity
