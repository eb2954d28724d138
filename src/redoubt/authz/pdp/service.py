"""The decision point itself: questions in, decisions out, each of them on record.

What is unknown, cannot be read or goes wrong is no permission.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from attrs import frozen

from redoubt.audit import Actor, Event
from redoubt.core.problem import Problem

from ..models import AuthzRequest, Decision, Entity, action_uid
from ..permitted import Decides
from .callers import Pep
from .paging import Cursor, foreign
from .sources import EntitySource, Party
from .wire import Batch, Question, Search

MAX_EXAMINED = 500
"""Candidates that one page of a search may look at: then the page ends, however few it holds."""
_BREATH = 16

Record = Callable[[Event], Awaitable[object]]
Wanted = Literal["subject", "resource", "action"]


@frozen
class Answer:
    """A decision about one question, with the problem of a question that could not be asked."""

    decision: Decision
    problem: Problem | None = None

    def body(self, pep: Pep) -> dict[str, Any]:
        """Return the AuthZEN decision object, with as much context as `pep` may see."""
        result: dict[str, Any] = {"decision": self.decision.allowed}
        if self.problem is not None:
            message = self.problem.detail or self.problem.title
            result["context"] = {"error": {"status": self.problem.status, "message": message}}
        elif pep.explain:
            result["context"] = {
                "policies": list(self.decision.reasons),
                "erred": bool(self.decision.errors),
                "policy_version": self.decision.version,
            }
        return result


class PolicyDecisionPoint:
    """Answers AuthZEN questions by the policies that `decider_of` gives for a tenant."""

    def __init__(
        self,
        decider_of: Callable[[str], Decides | Awaitable[Decides]],
        source: EntitySource,
        record: Record,
        cursor: Cursor,
    ) -> None:
        """Decide by `decider_of(tenant)` over what `source` knows; an answer is given once `record` has taken it.

        Of a head that is `current`: what callers ask, they enforce.
        """
        self._decider_of = decider_of
        self._source = source
        self._record = record
        self._cursor = cursor

    async def evaluate(self, pep: Pep, question: Question, request_id: str | None = None) -> Answer:
        """Return the decision about one question, recorded."""
        subject = await self._source.load(pep.tenant, question.subject)
        resource = await self._source.load(pep.tenant, question.resource)
        decision = await self._decide(pep, subject, question.action, resource, question.context)
        await self._record(_decided(pep, question, decision, request_id))
        return Answer(decision)

    async def evaluate_all(self, pep: Pep, batch: Batch, request_id: str | None = None) -> list[Answer]:
        """Return the decisions in order, as far as the batch's semantic has them made."""
        answers: list[Answer] = []
        for number, item in enumerate(batch.items):
            if number % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            if isinstance(item, Problem):
                answers.append(Answer(Decision(False, errors=("the question cannot be read",)), item))
            else:
                answers.append(await self.evaluate(pep, item, request_id))
            allowed = answers[-1].decision.allowed
            if (batch.semantic, allowed) in (("deny_on_first_deny", False), ("permit_on_first_permit", True)):
                break
        return answers

    async def search(
        self, pep: Pep, search: Search, wanted: Wanted, request_id: str | None = None
    ) -> tuple[list[dict[str, str]], str]:
        """Return one page of what is `wanted` and the token of the next, "" at the end.

        Each result is a question that was decided with allow just now: the same question evaluated says yes. Raises
        Problem 400 for a token that was not given for this search, and 403 when `pep` may not search.
        """
        if not pep.may_search:
            raise Problem(403, "denied", "This caller may not search.")
        about = _about(pep, search, wanted)
        after = self._cursor.read(search.token, about)
        found: list[dict[str, str]] = []
        last, more = await self._walk(pep, search, wanted, after, found)
        await self._record(_searched(pep, search, wanted, len(found), request_id))
        return found, self._cursor.write(last, about) if more else ""

    async def _walk(
        self, pep: Pep, search: Search, wanted: Wanted, after: str, found: list[dict[str, str]]
    ) -> tuple[str, bool]:
        """Fill `found` and return the last candidate that was looked at, and whether there are more."""
        subject = await self._source.load(pep.tenant, search.subject) if search.subject else ()
        resource = await self._source.load(pep.tenant, search.resource) if search.resource else ()
        candidates = await self._candidates(pep, search, wanted, after)
        last = after
        for number, name in enumerate(candidates):
            if len(found) >= search.limit or number >= MAX_EXAMINED:
                return last, True
            if number % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            last, action = name, search.action or name
            if wanted == "subject":
                subject = await self._source.load(pep.tenant, Party(search.subject_type, name))
            elif wanted == "resource":
                resource = await self._source.load(pep.tenant, Party(search.resource_type, name))
            if (await self._decide(pep, subject, action, resource, search.context)).allowed:
                found.append(_result(search, wanted, name))
        return last, False

    async def _candidates(self, pep: Pep, search: Search, wanted: Wanted, after: str) -> Sequence[str]:
        if wanted == "action":
            names = list(await self._source.actions(pep.tenant, search.resource_type))
            if after and after not in names:
                raise foreign()  # the actions changed between two pages: the search begins anew
            return names[names.index(after) + 1 :] if after else names
        kind = search.subject_type if wanted == "subject" else search.resource_type
        return await self._source.page(pep.tenant, kind, after, MAX_EXAMINED + 1)

    async def _decide(
        self,
        pep: Pep,
        subject: Sequence[Entity],
        action: str,
        resource: Sequence[Entity],
        context: Mapping[str, Any],
    ) -> Decision:
        if not subject or not resource:
            return Decision(False, errors=("the subject or the resource is unknown",))
        principal, target = subject[0], resource[0]
        if principal.uid == target.uid and principal != target:
            return Decision(False, errors=("one entity is described in two ways",))
        # Those that are asked about stand last: what is reached from the one never replaces the other.
        known = {entity.uid: entity for entity in (*subject[1:], *resource[1:], target, principal)}
        found = self._decider_of(pep.tenant)
        decider = await found if isinstance(found, Awaitable) else found
        return decider.decide(
            AuthzRequest(principal.uid, action_uid(action), target.uid, context, tuple(known.values()))
        )


def _result(search: Search, wanted: Wanted, name: str) -> dict[str, str]:
    if wanted == "action":
        return {"name": name}
    return {"type": search.subject_type if wanted == "subject" else search.resource_type, "id": name}


def _about(pep: Pep, search: Search, wanted: Wanted) -> dict[str, Any]:
    def named(party: Party | None) -> Any:
        return None if party is None else [party.type, party.id, dict(party.properties)]

    return {
        "pep": pep.name,
        "tenant": pep.tenant,
        "wanted": wanted,
        "subject": named(search.subject) or search.subject_type,
        "action": search.action,
        "resource": named(search.resource) or search.resource_type,
        "context": dict(search.context),
    }


def _decided(pep: Pep, question: Question, decision: Decision, request_id: str | None) -> Event:
    return Event(
        action="authz.decide",
        outcome="success" if decision.allowed else "denied",
        actor=Actor(kind="service", id=pep.name),
        tenant=pep.tenant,
        target=(question.resource.type, question.resource.id),
        data={
            "subject": {"type": question.subject.type, "id": question.subject.id},
            "action": question.action,
            "version": decision.version,
            "reasons": list(decision.reasons),
            "errors": list(decision.errors),
            "values": dict(decision.values),
            "digest": decision.digest,
        },
        request_id=request_id,
    )


def _searched(pep: Pep, search: Search, wanted: Wanted, count: int, request_id: str | None) -> Event:
    return Event(
        action="authz.search",
        outcome="success",
        actor=Actor(kind="service", id=pep.name),
        tenant=pep.tenant,
        target=("search", wanted),
        data={
            "subject_type": search.subject_type,
            "subject": search.subject.id if search.subject else None,
            "action": search.action,
            "resource_type": search.resource_type,
            "resource": search.resource.id if search.resource else None,
            "results": count,
        },
        request_id=request_id,
    )
