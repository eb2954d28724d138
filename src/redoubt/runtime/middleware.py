"""The middleware that every request passes before anything of the app sees it.

In order: only known hosts → limits → size caps → no card numbers → switches → session, device and
risk → no forgery. What it refuses it answers itself; everything else reaches the app with a `GuardedRequest` in
`scope["redoubt"]`. Unexpected exceptions become one sentence to the client and one entry in the log.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from redoubt.audit import Event
from redoubt.authz.consistency import HEADER as CONSISTENCY
from redoubt.core.db import StorageUnavailable
from redoubt.core.errors import RedoubtError
from redoubt.core.problem import Problem, internal_error
from redoubt.guard.errors import Killed
from redoubt.guard.limits import Rule
from redoubt.identity.network import host_of

from .body import ClientGone, form_field, read_body, replay
from .cards import card_in
from .heads import Heads, browser_cookies
from .request import GuardedRequest

if TYPE_CHECKING:
    from .app import Redoubt

log = logging.getLogger("redoubt.http")

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS = UNSAFE | {"GET", "HEAD", "OPTIONS"}
_MAX_HEADER_BYTES = 32 * 1024
_MAX_PATH = 4096
_ONCE = frozenset(
    {
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"origin",
        b"authorization",
        b"x-csrf-token",
        CONSISTENCY.encode(),
    }
)
_CONSISTENCY = CONSISTENCY.encode()
_OURS = frozenset({b"x-request-id", b"server"})
EVERYONE = Rule("http-address", 1200, 60)


class GuardMiddleware:
    """Pure ASGI, outermost: nothing of the app runs before it has agreed."""

    def __init__(self, app: ASGIApp, guard: Redoubt) -> None:
        self._app = app
        self._guard = guard
        base = urlsplit(guard.settings.app.base_url)
        self._host = base.netloc.lower()
        self._headers = guard.security_headers
        self._names = _OURS.union(name for name, _ in self._headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard one connection; WebSockets are refused, lifespan starts and stops the guard's own loops."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        heads = Heads(scope["headers"])
        request = self._request(scope, heads)
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._finish_headers(message, request)
            await send(message)

        scope["redoubt"] = request
        request.coming = coming = self._guard.core.db.group.begin()
        try:
            refusal = await self._admit(scope, heads, request, receive)
            if refusal is not None:
                await refusal(scope, receive, guarded_send)
            else:
                await self._app(scope, replay(request.body, receive), guarded_send)
        except ClientGone:
            return
        except Exception as error:
            if started:
                log.exception("request %s failed after its answer had begun", request.request_id)
                raise
            response = self._answer(error, request)
            await response(scope, receive, guarded_send)
        finally:
            coming.end()

    def _request(self, scope: Scope, heads: Heads) -> GuardedRequest:
        guard = self._guard
        peer = (scope.get("client") or ("0.0.0.0", 0))[0]  # noqa: S104 - a name for nobody, not an address to bind
        session, pre = browser_cookies(heads.all(b"cookie"))
        return GuardedRequest(
            guard=guard,
            request_id=guard.core.ids.uuid7(),
            method=scope["method"].upper(),
            path=scope["path"],
            headers=Headers(scope=scope),
            client_address=guard.proxies.client(peer, heads.all(b"x-forwarded-for")),
            user_agent=heads.text(b"user-agent")[:256],
            body=b"",
            session_token=session,
            sent_pre=pre,
            consistency=heads.text(_CONSISTENCY) or None,
        )

    async def _admit(
        self, scope: Scope, heads: Heads, request: GuardedRequest, receive: Receive
    ) -> Response | None:
        """Let the request through (None) or return the answer that refuses it."""
        guard = self._guard
        self._check_shape(scope, heads, request.method)
        verdict = guard.limit(EVERYONE, host_of(request.client_address))
        if not verdict.allowed:
            raise Problem(
                429,
                "too-many-requests",
                "Too many requests; wait and try again.",
                headers={"Retry-After": str(verdict.retry_after)},
            )
        unsafe, declared = request.method in UNSAFE, heads.first.get(b"content-length")
        if unsafe or declared not in (None, b"0") or b"transfer-encoding" in heads.first:
            length = None if declared is None else declared.decode("latin-1")
            request.body = await read_body(receive, length, guard.body_limit(request.path))
        await self._refuse_cards(scope, request)
        guard.check_switches(request)
        await guard.authenticate(request)
        if unsafe and request.subject is not None and not guard.is_webhook(request.path):
            token = form_field(request.headers, request.body, "csrf_token")
            if not request.csrf_ok(token):
                raise Problem(403, "forged", "This request did not come from a page of this app.")
        return None

    def _check_shape(self, scope: Scope, heads: Heads, method: str) -> None:
        if method not in _METHODS:
            raise Problem(405, "method", "This method is not offered.")
        if heads.size > _MAX_HEADER_BYTES:
            raise Problem(431, "headers-too-large", "The request's headers are too large.")
        if len(scope["path"]) + len(scope.get("query_string", b"")) > _MAX_PATH:
            raise Problem(414, "path-too-long", "The address is too long.")
        if not heads.repeated.isdisjoint(_ONCE):
            raise Problem(400, "bad-request", "The request cannot be understood.")
        if heads.text(b"content-encoding", "identity").lower() != "identity":
            raise Problem(415, "encoding", "Compressed request bodies are not accepted.")
        if self._host and heads.text(b"host").lower() != self._host:
            raise Problem(421, "misdirected", "This server does not answer for that name.")

    async def _refuse_cards(self, scope: Scope, request: GuardedRequest) -> None:
        """Card numbers never enter: not parsed, not stored, not logged; only a keyed digest remains."""
        part = card_in(scope, request.headers, request.body)
        if part is None:
            return
        whole = part if isinstance(part, bytes) else part.encode("utf-8", "replace")
        digest = self._guard.core.keys.mac("refused-card").hexdigest(hashlib.sha256(whole).digest())
        await self._guard.note(
            request,
            Event(
                action="payment.card_refused", outcome="denied", actor=request.actor, data={"digest": digest}
            ),
        )
        request.path = "/"  # the address itself may hold the number
        raise Problem(
            422, "card-number", "Card numbers are not accepted here; pay on the provider's own page."
        )

    def _answer(self, error: Exception, request: GuardedRequest) -> Response:
        return self._guard.error_response(request, as_problem(error, request.request_id))

    def _finish_headers(self, message: Message, request: GuardedRequest) -> None:
        given = message.get("headers") or []
        ours = self._headers
        if not self._names.isdisjoint([name for name, _ in given]):
            present = {name for name, _ in given}
            given = [header for header in given if header[0] not in _OURS]
            ours = [header for header in ours if header[0] not in present]
        headers = [*given, *ours, (b"x-request-id", request.request_id.encode())]
        message["headers"] = headers
        if request.new_pre is not None:
            self._guard.finish_cookies(request, MutableHeaders(raw=headers))

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the guard's loops before the app's own start-up and stop them after its shutdown."""

        async def watched(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                await self._guard.stop()
            await send(message)

        try:
            await self._guard.start()
        except Exception as error:
            log.exception("the guard could not start")
            await receive()
            await send(
                {
                    "type": "lifespan.startup.failed",
                    "message": str(error) if isinstance(error, RedoubtError) else "the guard could not start",
                }
            )
            return
        await self._app(scope, receive, watched)


def as_problem(error: Exception, request_id: str) -> Problem:
    """Return what the client may know of `error`; anything unexpected is logged and becomes one sentence."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, StorageUnavailable):
        log.error("request %s: %s", request_id, error)
        return Problem(
            503, "unavailable", "The app is busy; try again in a moment.", headers={"Retry-After": "1"}
        )
    if isinstance(error, Killed):
        return Problem(503, "switched-off", "This is switched off for now.", headers={"Retry-After": "60"})
    log.error("request %s failed", request_id, exc_info=error)
    return internal_error()


__all__ = ["UNSAFE", "GuardMiddleware", "as_problem"]
