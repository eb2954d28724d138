"""The charge service's HTTP face: five routes, each behind the client certificate's identity."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from redoubt.core.db import StorageUnavailable
from redoubt.core.problem import Problem, problem_response

from . import events as audit_events
from .commands import Command
from .errors import ChargeError, CommandConflict, CommandInvalid, EventRefused, Held, IdentityRefused
from .inbox import MAX_EVENT
from .service import ChargeService
from .tls import Peer, check_peer

_MAX_BODY = 64 * 1024
_STATUS: list[tuple[type[ChargeError], int]] = [
    (CommandInvalid, 400),
    (EventRefused, 401),
    (CommandConflict, 409),
    (Held, 503),
]


class IdentityGate:
    """Lets a request in only with a live certificate of a listed identity, checked anew for every request."""

    def __init__(self, app: ASGIApp, service: ChargeService) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the peer, then pass on; who is refused leaves an audit entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        core = self._service.core
        try:
            scope["redoubt.identity"] = check_peer(
                Peer.from_scope(scope), self._service.config.allowed_identities, core.clock.now()
            )
        except IdentityRefused as error:
            reason = error.message
            await core.db.write(
                lambda tx: audit_events.note(
                    tx,
                    core,
                    "charge.identity",
                    "denied",
                    tenant="main",
                    actor="unlisted",
                    data={"reason": reason},
                )
            )
            response = problem_response(Problem(403, "identity-refused", "This identity may not call."), None)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def make_app(service: ChargeService) -> ASGIApp:
    """Return the ASGI app over `service`."""

    async def command(request: Request) -> Response:
        try:
            data = json.loads(await _body(request, _MAX_BODY))
        except (ValueError, RecursionError) as error:
            raise CommandInvalid("the body is not JSON.") from error
        answer = await service.command(Command.parse(data), request.scope["redoubt.identity"])
        return JSONResponse(answer)

    async def provider_event(request: Request) -> Response:
        raw = await _body(request, MAX_EVENT)
        return JSONResponse({"result": await service.event(raw, dict(request.headers))})

    async def changes(request: Request) -> Response:
        after, limit, wait = (_number(request, *one) for one in (("after", 0), ("limit", 200), ("wait", 0)))
        return JSONResponse({"events": await service.changes(after, limit, wait)})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    app = Starlette(
        routes=[
            Route("/v1/commands", _guarded(command), methods=["POST"]),
            Route("/v1/provider-events", _guarded(provider_event), methods=["POST"]),
            Route("/v1/events", _guarded(changes), methods=["GET"]),
            Route("/healthz", _guarded(health), methods=["GET"]),
        ]
    )
    return IdentityGate(app, service)


def _guarded(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except StorageUnavailable:
            return problem_response(Problem(503, "storage-unavailable", "Try again later."), None)
        except ChargeError as error:
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
            code = error.reason if isinstance(error, Held) else error.code
            return problem_response(Problem(status, code, error.message), None)

    return guarded


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise CommandInvalid("the body is too long.")
    return bytes(body)


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, str(default))
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise CommandInvalid(f"{name} must be a whole number.")
    return int(given)
