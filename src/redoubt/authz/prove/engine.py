"""The comparison itself: one query for each environment that the edit touched."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import z3
from attrs import evolve
from cedarpy import pst

from ..models import AuthzRequest
from ..policyset import PolicySet
from ..schema import read_schema
from ..schema.types import Environment, Schema
from .bounds import Bound, Index, bound
from .compiler import Compiled, Compiler
from .difference import Difference, Side
from .errors import Unsupported
from .logic import FALSE, both, either, is_false, negated
from .replay import minimised, widens
from .solve import Answer, solve
from .values import Outcome
from .verdicts import Comparison, EnvironmentVerdict
from .witness import Reader
from .world import World

_SET_MISSING = "this is in no older set, and no older permit reaches it"


def compared(
    old: PolicySet,
    old_schema: Schema,
    new: PolicySet,
    new_schema: Schema,
    seconds: float,
    earlier: Mapping[Environment, PolicySet],
) -> Comparison:
    """Compare two sets, each under its own schema; `earlier` holds the last set of each environment that is gone since."""
    deadline = time.monotonic() + seconds
    seen: dict[Any, Bound] = {}  # what both sets say is one object, so that it is known without being read
    ours_named, theirs_named = (
        {name: seen.setdefault(item.key, item) for name, item in bound(policies).items()}
        for policies in (old, new)
    )
    before = list(ours_named.values())
    was, will = Index(before), Index(list(theirs_named.values()))
    known = set(old_schema.environments())
    unchanged = old_schema == new_schema
    verdicts: list[EnvironmentVerdict] = []
    for environment in new_schema.environments():
        if (
            environment in known
            and unchanged
            and was.about(environment.action) == will.about(environment.action)
        ):
            verdicts.append(EnvironmentVerdict(environment, "equal"))
            continue
        ours, theirs = was.of(old_schema, environment), will.of(new_schema, environment)
        if environment in known and unchanged and _same(ours, theirs):
            verdicts.append(EnvironmentVerdict(environment, "equal"))
            continue
        if time.monotonic() >= deadline:
            verdicts.append(EnvironmentVerdict(environment, "unknown", "out of time"))
            continue
        try:
            query = _Query(old, old_schema, new, new_schema, environment, deadline)
            if environment in known:
                common = frozenset(map(id, ours)) & frozenset(map(id, theirs))
                sides = Side(old, ours_named, ours, common), Side(new, theirs_named, theirs, common)
                verdicts.append(query.by_what_changed(*sides) or query.verdict(ours, theirs))
            elif environment in earlier:
                verdicts.append(query.returned(theirs, earlier[environment]))
            else:
                verdicts.append(query.new(theirs, before))
        except (Unsupported, z3.Z3Exception, RecursionError) as error:
            verdicts.append(EnvironmentVerdict(environment, "unknown", f"cannot be judged: {error}"))
    gone = [item for item in old_schema.environments() if item not in set(new_schema.environments())]
    verdicts += [_removed(before, old_schema, item, deadline) for item in gone]
    return Comparison(tuple(evolve(item, fresh=item.environment not in known) for item in verdicts))


def compared_inside(
    old: PolicySet,
    old_schema: Schema,
    new: PolicySet,
    new_schema: Schema,
    seconds: float,
    earlier: Mapping[Environment, PolicySet],
) -> Comparison:
    """Compare two sets, and hold the newer one to its invariants: what is not proven to lie inside is `unknown`."""
    from .invariants import held  # which builds on what stands here

    deadline = time.monotonic() + seconds
    found = compared(old, old_schema, new, new_schema, seconds, earlier)
    verdicts, breaches = held(found.environments, new, new_schema, deadline)
    return evolve(found, environments=verdicts, breaches=breaches)


def _removed(
    before: list[Bound], schema: Schema, environment: Environment, deadline: float
) -> EnvironmentVerdict:
    """Judge an environment that no request has any more: narrower, unless it is proven that nothing was allowed."""
    ours = [item for item in before if item.applies(schema, environment)]
    if all(item.policy.effect == "forbid" for item in ours):
        return EnvironmentVerdict(environment, "equal", "nothing was allowed there, and it is gone")
    world = World(schema, deadline)
    try:
        was = decision(Cached(world, schema, environment), ours)
        if is_false(was) or solve([was, *world.close()], deadline).possible is False:
            return EnvironmentVerdict(environment, "equal", "nothing was allowed there, and it is gone")
    except (Unsupported, z3.Z3Exception, RecursionError):
        pass  # it cannot grant anything: whether it took something is all that is open
    return EnvironmentVerdict(environment, "narrower", "no request has these types any more")


def may_err(policies: PolicySet, schema: Schema, identity: str, seconds: float) -> bool:
    """Say whether a policy can come to an error in some environment; True unless proven not to."""
    deadline = time.monotonic() + seconds
    item = bound(policies)[identity]
    for environment in schema.environments():
        if not item.applies(schema, environment):
            continue
        world = World(schema, deadline)
        try:
            got = Compiler(world, schema, environment).policy(item.policy, item.slots)
            if is_false(got.errs):
                continue
            if solve([got.errs, *world.close()], deadline).possible is not False:
                return True
        except (Unsupported, z3.Z3Exception, RecursionError):
            return True
    return False


def decision(compiler: Compiler, items: list[Bound]) -> Any:
    """Return where a set allows: some permit is satisfied and no forbid is; raises Unsupported."""
    permits: list[Any] = []
    forbids: list[Any] = []
    for item in items:
        got: Compiled = compiler.policy(item.policy, item.slots)
        (permits if item.policy.effect == "permit" else forbids).append(got.satisfied)
    return both(either(*permits), negated(either(*forbids)))


class _Query:
    def __init__(
        self,
        old: PolicySet,
        old_schema: Schema,
        new: PolicySet,
        new_schema: Schema,
        environment: Environment,
        deadline: float,
    ) -> None:
        self.old, self.new_set, self.environment, self.deadline = old, new, environment, deadline
        self.world = World(new_schema, deadline)
        self.after = Cached(self.world, new_schema, environment)
        self.before = self.after if old_schema == new_schema else Cached(self.world, old_schema, environment)

    def verdict(self, ours: list[Bound], theirs: list[Bound]) -> EnvironmentVerdict:
        """Judge an environment that both sets have by all that is in play there."""
        was, will = decision(self.before, ours), decision(self.after, theirs)
        more = self._ask(both(will, negated(was)))
        if more.possible is None:
            return EnvironmentVerdict(self.environment, "unknown", more.why)
        if more.possible:
            return self._wider(more, self.old)
        less = self._ask(both(was, negated(will)))
        if less.possible is None:
            return EnvironmentVerdict(
                self.environment, "narrower", f"grants nothing more; whether less: {less.why}"
            )
        return EnvironmentVerdict(self.environment, "narrower" if less.possible else "equal")

    def by_what_changed(self, ours: Side, theirs: Side) -> EnvironmentVerdict | None:
        """Judge an environment that both sets have by what changed there, or return None where that does not settle it."""
        if self.before is not self.after:
            return None
        difference = Difference(self.world, self.after, self._ask)
        more = difference.between(theirs, ours)
        if isinstance(more, AuthzRequest):
            return self._shown(more, self.old)
        less = None if more is None else difference.between(ours, theirs)
        if less is None:
            return None
        return EnvironmentVerdict(self.environment, "narrower" if less else "equal")

    def new(self, theirs: list[Bound], before: list[Bound]) -> EnvironmentVerdict:
        """Judge an environment that no set had: where a permit of `before`, changed or not, reaches it, it is wider."""
        will, nothing = self._permitted(theirs)
        if nothing is not None:
            return nothing
        through = either(*(self._reach(item, theirs) for item in before if item.policy.effect == "permit"))
        found = self._ask(both(will, through))
        if found.possible is None:
            return EnvironmentVerdict(self.environment, "unknown", found.why)
        if found.possible:
            return self._wider(found, None, "an older permit reaches what is new")
        return EnvironmentVerdict(self.environment, "new", _SET_MISSING)

    def returned(self, theirs: list[Bound], last: PolicySet) -> EnvironmentVerdict:
        """Judge an environment that an earlier set had and the running one lacks: what it allows is wider again.

        How it compares with the `last` set that had it is said beside that.
        """
        will, nothing = self._permitted(theirs)
        if nothing is not None:
            return nothing
        schema = read_schema(last.schema_text)
        ours = [item for item in bound(last).values() if item.applies(schema, self.environment)]
        then = _Query(last, schema, self.new_set, self.world.schema, self.environment, self.deadline)
        against = then.verdict(ours, theirs)
        reason = f"it was removed; against the last version that had it ({last.version[:12]}) it is {against.verdict}"
        if against.witness is not None:
            return EnvironmentVerdict(self.environment, "wider", reason, against.witness)
        found = self._ask(will)
        if not found.possible:
            return EnvironmentVerdict(self.environment, "unknown", found.why or reason)
        return self._wider(found, None, reason)

    def _permitted(self, theirs: list[Bound]) -> tuple[Any, EnvironmentVerdict | None]:
        """Return where the new set allows, and a verdict where that is nowhere or not known."""
        will = decision(self.after, theirs)
        found = self._ask(will)
        if found.possible is None:
            return will, EnvironmentVerdict(self.environment, "unknown", found.why)
        if not found.possible:
            return will, EnvironmentVerdict(self.environment, "equal", "nothing permits it")
        return will, None

    def _reach(self, item: Bound, theirs: list[Bound]) -> Any:
        """Return where an older permit is satisfied in what is new; nowhere where only the older schema gives it a sense."""
        if not item.applies(self.world.schema, self.environment):
            return FALSE
        try:
            return self.after.policy(item.policy, item.slots).satisfied
        except Unsupported:
            if item in theirs:
                raise
            return FALSE

    def _ask(self, goal: Any) -> Answer:
        if is_false(goal):
            return Answer(False)
        return solve([goal, *self.world.close()], self.deadline)

    def _wider(self, found: Answer, old: PolicySet | None, reason: str = "") -> EnvironmentVerdict:
        request = Reader(self.world, found.model).request(self.after)
        if not widens(request, old, self.new_set):
            return EnvironmentVerdict(
                self.environment, "unknown", "the solver's witness does not replay on the reference engine"
            )
        return self._shown(request, old, reason)

    def _shown(self, request: AuthzRequest, old: PolicySet | None, reason: str = "") -> EnvironmentVerdict:
        """Return that an environment is wider, by the smallest request that still shows it."""
        small = minimised(request, old, self.new_set, deadline=self.deadline)
        return EnvironmentVerdict(self.environment, "wider", reason, small)


class Cached(Compiler):
    """A compiler that meets each policy once: what both sets have is the same term for both."""

    def __init__(self, world: World, schema: Schema, environment: Environment, label: str = "") -> None:
        super().__init__(world, schema, environment, label)
        self._met: dict[Any, tuple[pst.Template, Compiled]] = {}  # policies are kept: so are their places
        self._read: dict[pst.Expr, Outcome] = {}

    def policy(self, policy: pst.Template, slots: Mapping[str, pst.EntityUid]) -> Compiled:
        """Return what a policy comes to, as it did the first time; raises Unsupported."""
        key = (id(policy), tuple(sorted((name, str(uid)) for name, uid in slots.items())))
        if key not in self._met:
            self._met[key] = policy, super().policy(policy, slots)
        return self._met[key][1]

    def eval(self, expr: pst.Expr) -> Outcome:
        """Evaluate one expression, what was met before as it came out then; raises Unsupported."""
        if not isinstance(expr, pst.BinaryOp | pst.GetAttr | pst.HasAttr | pst.Like):
            return super().eval(expr)
        found = self._read.get(expr)
        if found is None:
            found = self._read[expr] = super().eval(expr)
        return found


def _same(ours: list[Bound], theirs: list[Bound]) -> bool:
    return {id(item) for item in ours} == {id(item) for item in theirs}
