"""Whether one set allows what another denies, asked of the policies that differ; what both have is looked at where it matters.

Let a request be allowed here and denied there, and let both sets be of one schema. Either no permit there is satisfied: then
one that only stands here is, and no other permit nor any forbid that both have. Or a forbid that only stands there is
satisfied: then some permit here is, and no forbid here. What both have only takes requests away in the first case, so it is
left out at first. Where nothing is left, that proves it. A request that is left is shown to the reference engine; which
policies it names against the request come into the next question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from ..models import AuthzRequest
from ..policyset import PolicySet
from .bounds import Bound
from .compiler import Compiler
from .logic import both, either, is_false, negated
from .replay import answered
from .solve import Answer
from .witness import Reader
from .world import World

ROUNDS = 24
"""How often a question is asked again for one environment before everything is looked at."""
_CHUNKS = (4, 16)


@frozen
class Side:
    """A set in one environment: its policies by id, and which of them the other set has as well."""

    policies: PolicySet
    named: Mapping[str, Bound]
    live: Sequence[Bound]
    common: frozenset[int]

    def own(self, effect: str) -> list[Bound]:
        """Return what only this set has."""
        return [item for item in self.live if item.policy.effect == effect and id(item) not in self.common]

    def shared(self, effect: str) -> list[Bound]:
        """Return what both sets have."""
        return [item for item in self.live if item.policy.effect == effect and id(item) in self.common]


class Difference:
    """Questions about two sets in one environment."""

    def __init__(self, world: World, compiler: Compiler, ask: Callable[[Any], Answer]) -> None:
        """Compile over `world` and `ask` a solver about it."""
        self.world = world
        self.compiler = compiler
        self.ask = ask
        self._left = ROUNDS

    def between(self, here: Side, there: Side) -> AuthzRequest | bool | None:
        """Return a request that is allowed `here` and denied `there` by the reference engine, False where there is none.

        None: not settled. Raises Unsupported.
        """
        kept = negated(self._any(here.own("forbid")))
        newly = both(self._any(here.own("permit")), negated(self._any(there.own("permit"))), kept)
        found = self._request(newly, here, there, "permit")
        if found is not False:
            return found
        if not there.own("forbid"):
            return False
        stopped = both(self._any(there.own("forbid")), kept)
        for permits in _chunks([*here.own("permit"), *here.shared("permit")]):
            found = self._request(both(self._any(permits), stopped), here, there, "forbid")
            if found is not False:
                return found
        return False

    def _request(self, goal: Any, here: Side, there: Side, by: str) -> AuthzRequest | bool | None:
        """Ask for a difference `by` permits that only stand here, or by forbids that only stand there."""
        while not is_false(goal):
            found = self.ask(goal)
            if not found.possible:
                return found.possible
            request = Reader(self.world, found.model).request(self.compiler)
            against = _against(request, here, there, by)
            if against is None:
                return request
            if not against or self._left <= 0:
                return None
            self._left -= 1
            goal = both(goal, negated(self._any(against)))
        return False

    def _any(self, items: Sequence[Bound]) -> Any:
        return either(*(self.compiler.policy(item.policy, item.slots).satisfied for item in items))


def _against(request: AuthzRequest, here: Side, there: Side, by: str) -> list[Bound] | None:
    """Return what both sets have that keeps a request from being a difference; None where it is one.

    Empty where the engine gives another reason than that: then the question was not what the engine answers.
    """
    ours, reasons = answered(request, here.policies, conforming=True)
    if ours is None:
        return []
    if not ours:
        return _shared(reasons, here)
    theirs, reasons = answered(request, there.policies, conforming=False)
    if theirs is False:
        return None
    return _shared(reasons, there) if theirs and by == "permit" else []


def _shared(reasons: Sequence[str], side: Side) -> list[Bound]:
    found = [side.named[name] for name in reasons if name in side.named]
    return found if all(id(item) in side.common for item in found) else []


def _chunks(items: Sequence[Bound]) -> Iterator[Sequence[Bound]]:
    """Yield few policies first, then more, then the rest: mostly the first ones show a difference."""
    at = 0
    for size in (*_CHUNKS, len(items)):
        if at < len(items):
            yield items[at : at + size]
        at += size
