"""Enforcement: a route's declared permission is asked before its handler runs, and the answer is audited.

Refusals: 401 for nobody and, where a fresh passkey would turn the answer, the step-up challenge of RFC 9470; 404 for
an object that the caller may not even read, the same as for one that does not exist; 403 otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from json.encoder import encode_basestring as json_text
from typing import Any, cast
from urllib.parse import quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from redoubt.audit import Actor, Event, Written
from redoubt.audit.noise import Noise
from redoubt.core.base import Core
from redoubt.core.problem import Problem, problem_response

from .access import APP_TYPE, COLLECTION_TYPE
from .decide import Decider
from .head import PolicyHead
from .models import AuthzRequest, Caller, Decision, Entity, app_entity
from .permits import Permission, walk

_log = logging.getLogger("redoubt.authz")

STEP_UP_SECONDS = 300
CALLER, DECISION, RESOURCE = "redoubt.caller", "redoubt.decision", "redoubt.resource"
PERMISSION = "redoubt.permission"

Enforce = Callable[[Permission, Caller, Any], Awaitable[Decision]]
CallerOf = Callable[[HTTPConnection], Caller]
Refuse = Callable[[HTTPConnection, Problem, "str | None"], Response]


class Enforcer:
    """Asks the running policies for a request, audits the answer, and raises the Problem that refuses it."""

    def __init__(self, core: Core, head: PolicyHead, noise: Noise | None = None) -> None:
        """Decide by `head`; what `noise` admits of nobody's requests is audited one by one, the rest is counted."""
        self._head = head
        self._noise = noise or Noise(core)

    async def enforce(self, permission: Permission, caller: Caller, request: Any) -> Decision:
        """Return the decision that allows; raises Problem 401, 403 or 404 otherwise.

        What the resource loader returned lies in `request.scope["redoubt.resource"]` for the handler.
        """
        if permission.kind == "public":
            return Decision(True)
        if permission.kind in ("authenticated", "self"):
            if caller.anonymous:
                raise unauthenticated()
            if permission.step_up and not caller.step_up:
                raise step_up_required()
            return Decision(True)
        if permission.action is None:
            raise Problem(403, "denied", "You may not do this.")
        return await self._ask(permission, permission.action, caller, request)

    async def decide(self, caller: Caller, action: str, resource: Entity, **context: Any) -> Decision:
        """Decide about a resource at hand, audited; for handlers that learn late what a request is about."""
        decision = await self._decide(caller, action, resource, context)
        await self._audit(caller, action, (resource.type, resource.id), decision)
        return decision

    async def visible(self, caller: Caller, action: str, resources: list[Entity]) -> list[Entity]:
        """Return those of `resources` on which `caller` may do `action`: what a list may show.

        Not audited row by row: the list itself was.
        """
        return [
            resource for resource in resources if (await self._decide(caller, action, resource, {})).allowed
        ]

    async def _ask(self, permission: Permission, action: str, caller: Caller, request: Any) -> Decision:
        resource = await permission.resource(request) if permission.resource else app_entity(caller.tenant)
        if resource is None:
            missing = Decision(False, errors=("the resource does not exist",))
            await self._audit(caller, action, None, missing)
            raise unauthenticated() if caller.anonymous else not_found()
        extra = dict(await permission.context(request)) if permission.context else {}
        decision = await self._decide(caller, action, resource, extra)
        if decision.allowed:
            await self._audit(caller, action, (resource.type, resource.id), decision)
            request.scope[RESOURCE] = resource
            return decision
        stepped = (
            not caller.anonymous and not caller.step_up and await self._would(caller, action, resource, extra)
        )
        await self._audit(caller, action, (resource.type, resource.id), decision, stepped)
        if caller.anonymous:
            raise unauthenticated()
        if stepped:
            raise step_up_required()
        if await self._hidden(permission, caller, resource):
            raise not_found()
        raise Problem(403, "denied", "You may not do this.")

    async def _decide(
        self,
        caller: Caller,
        action: str,
        resource: Entity,
        extra: dict[str, Any],
        step_up: bool | None = None,
    ) -> Decision:
        decider = await self._head.current(caller.tenant)
        # What the session says stands last: a context builder cannot lower the risk or claim a step-up.
        context = {
            **extra,
            "risk": caller.risk,
            "step_up": caller.step_up if step_up is None else step_up,
        }
        decision = decider.decide(AuthzRequest.of(caller.principal(), action, resource, context))
        if decision.errors:
            _log.error(
                "deciding %s under %s met errors: %s",
                action,
                decision.version[:12],
                "; ".join(decision.errors),
            )
        return decision

    async def _would(self, caller: Caller, action: str, resource: Entity, extra: dict[str, Any]) -> bool:
        return (await self._decide(caller, action, resource, extra, step_up=True)).allowed

    async def _hidden(self, permission: Permission, caller: Caller, resource: Entity) -> bool:
        if permission.creates or resource.type in (APP_TYPE, COLLECTION_TYPE):
            return False
        read = permission.read or f"{resource.type}.read"
        if read == permission.action:
            return True
        decider = await self._head.current(caller.tenant)
        known = isinstance(decider, Decider) and decider.policies.knows_action(read)
        return not known or not (await self._decide(caller, read, resource, {})).allowed

    async def _audit(
        self,
        caller: Caller,
        action: str,
        target: tuple[str, str] | None,
        decision: Decision,
        step_up_would_allow: bool = False,
    ) -> None:
        await self._noise.record(decision_event(caller, action, target, decision, step_up_would_allow))


def decision_event(
    caller: Caller,
    action: str,
    target: tuple[str, str] | None,
    decision: Decision,
    step_up_would_allow: bool = False,
) -> Event:
    """Return the audit event of a decision: the version, why, and the values that were read."""
    if caller.user_id is None:
        actor = Actor(kind="anonymous", id="anonymous")
    else:
        actor = Actor(kind="user", id=caller.user_id, session=caller.session_id)
    return Event(
        action="authz.decide",
        outcome="success" if decision.allowed else "denied",
        actor=actor,
        tenant=caller.tenant,
        target=target,
        data=Written(_data_text(action, decision, step_up_would_allow)),
        request_id=caller.request_id,
    )


def _data_text(action: str, decision: Decision, step_up_would_allow: bool) -> str:
    """Return the data of a decision's event in canonical JSON; the values are written already."""
    reasons, errors = ",".join(map(json_text, decision.reasons)), ",".join(map(json_text, decision.errors))
    return (
        f'{{"action":{json_text(action)},"digest":{json_text(decision.digest)},"errors":[{errors}],"reasons":[{reasons}],'
        f'"step_up_would_allow":{"true" if step_up_would_allow else "false"},"values":{decision.written},'
        f'"version":{json_text(decision.version)}}}'
    )


def unauthenticated() -> Problem:
    """Return the refusal of nobody."""
    return Problem(401, "unauthenticated", "Log in first.", headers={"WWW-Authenticate": "Session"})


def step_up_required() -> Problem:
    """Return the step-up challenge (RFC 9470, section 3)."""
    return Problem(
        401,
        "step-up-required",
        "Confirm with your passkey first.",
        headers={
            "WWW-Authenticate": f'Bearer error="insufficient_user_authentication", max_age={STEP_UP_SECONDS}'
        },
    )


def not_found() -> Problem:
    """Return the one answer for what does not exist and for what must not be known to exist."""
    return Problem(404, "not-found", "There is nothing here.")


def caller_of_scope(connection: HTTPConnection) -> Caller:
    """Return the caller that the middleware left in the scope; without one nothing is answered."""
    caller = connection.scope.get(CALLER)
    if not isinstance(caller, Caller):
        raise RuntimeError("no caller in the scope: the guard's middleware did not run")
    return caller


def refusal(connection: HTTPConnection, problem: Problem, request_id: str | None) -> Response:
    """Return the response that refuses: the login page for a person's first look, else the problem."""
    if (
        problem.code == "unauthenticated"
        and connection.scope.get("method") == "GET"
        and "text/html" in connection.headers.get("accept", "")
    ):
        target = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
        return RedirectResponse(
            f"/auth/login?next={quote(target, safe='')}",
            status_code=303,
            headers={"Cache-Control": "no-store"},
        )
    return problem_response(problem, request_id)


def guard_routes(
    routes: Any,
    enforce: Enforce,
    *,
    caller_of: CallerOf = caller_of_scope,
    refuse: Refuse = refusal,
) -> int:
    """Put `enforce` before every leaf of an app or its routes and return how many; check_routes comes first.

    A route without a permission is guarded too: it refuses everybody.
    """
    guarded = 0
    for leaf in walk(routes):
        permission = leaf.permission or Permission("action")
        wrap_route(leaf.route, permission, enforce, caller_of=caller_of, refuse=refuse)
        guarded += 1
    return guarded


def wrap_route(
    route: Any,
    permission: Permission,
    enforce: Enforce,
    *,
    caller_of: CallerOf = caller_of_scope,
    refuse: Refuse = refusal,
) -> None:
    """Put `enforce` before `route`'s handler, at ASGI level, once.

    It stands on `handle`, not on `app`: FastAPI calls another app than the route's own once a router is included.
    A wrong method is left to the route, which answers 405 without running anything.
    """
    if getattr(route, "_redoubt_guarded", False):
        return
    handle = cast(ASGIApp, route.handle)
    methods = getattr(route, "methods", None)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and methods and scope["method"] not in methods:
            await handle(scope, receive, send)
            return
        body = _Body(receive)
        connection: HTTPConnection
        if scope["type"] == "websocket":
            connection = WebSocket(scope, body.read, send)
        else:
            connection = Request(scope, body.read)
        caller = caller_of(connection)
        try:
            scope[DECISION] = await enforce(permission, caller, connection)
            scope[PERMISSION] = permission
        except Problem as problem:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": problem.code})
            else:
                await refuse(connection, problem, caller.request_id)(scope, receive, send)
            return
        await handle(scope, body.replay, send)

    route.handle = guarded
    route._redoubt_guarded = True


class _Body:
    """Lets a loader read the body and gives the handler the same messages again."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._seen: list[MutableMapping[str, Any]] = []

    async def read(self) -> Message:
        message = await self._receive()
        self._seen.append(message)
        return message

    async def replay(self) -> Message:
        if self._seen:
            return self._seen.pop(0)
        return await self._receive()
