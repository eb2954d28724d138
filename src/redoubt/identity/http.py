"""What identity's routes share: one wrapper that names the caller, refuses forgeries and turns errors into answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from attrs import frozen
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from redoubt.core.problem import Problem, problem_response

from . import cookies, csrf
from .errors import AuthenticationRequired, IdentityError, as_problem
from .models import Browser, SessionState, SignIn
from .ports import RequestGuard
from .service import IdentityService

PUBLIC, SELF = "public", "self"
MAX_BODY = 64 * 1024
_MAX_FIELDS = 20


@frozen
class Call:
    """One request as a handler sees it: the guard, the browser, and the body's members."""

    identity: IdentityService
    request: Request
    guard: RequestGuard
    browser: Browser
    pre: str
    body: Mapping[str, Any]
    is_form: bool

    @property
    def session(self) -> SessionState:
        """The caller's live session; raises AuthenticationRequired."""
        if self.guard.subject is None:
            raise AuthenticationRequired
        return self.guard.subject

    @property
    def wants_page(self) -> bool:
        """Whether a person's browser waits for a page rather than a script for data."""
        return self.is_form or "text/html" in self.request.headers.get("accept", "")

    @property
    def credential(self) -> Mapping[str, Any]:
        """The WebAuthn response in the body: its `credential` member, or the body itself."""
        found = self.body.get("credential", self.body)
        return found if isinstance(found, Mapping) else {}

    def text(self, name: str, limit: int = 256) -> str:
        """Return a text member of the body, empty when it is missing; 400 for another type or a longer one."""
        value = self.body.get(name, "")
        if not isinstance(value, str) or len(value) > limit:
            raise bad_request()
        return value

    def csrf_token(self) -> str:
        """Return the token that this browser's next unsafe request must carry."""
        token = self.guard.session_token if self.guard.subject is not None else None
        return csrf.token(self.identity.csrf_mac, token, self.pre)

    def signed_in(self, sign_in: SignIn, status: int = 200, next_path: str | None = None) -> Response:
        """Return the answer to a ceremony that signed in: the new session's cookie, user and CSRF token."""
        if self.wants_page and next_path is not None:
            response: Response = RedirectResponse(next_path, 303)
        else:
            body = {
                "user": user_json(sign_in.session),
                "csrf": csrf.token(self.identity.csrf_mac, sign_in.token, self.pre),
                "step_up_until": _iso(sign_in.session),
                "next": next_path or self.identity.config.home,
            }
            response = reply(body, status)
        left = sign_in.session.expires_at - self.identity.core.clock.now()
        cookies.set_session(response, sign_in.token, int(left.total_seconds()))
        return response


Handler = Callable[[Call], Awaitable[Response]]


def route(
    identity: IdentityService, path: str, method: str, handler: Handler, permission: str, page: bool = False
) -> Route:
    """Return the route of `handler`, which declares its permission; unsafe methods are refused without a CSRF token."""

    async def endpoint(request: Request) -> Response:
        guard: RequestGuard = request.scope["redoubt"]
        try:
            call = await _call(identity, request, guard)
            if permission == SELF and guard.subject is None:
                if page:
                    return RedirectResponse(f"/auth/login?next={request.url.path}", 303)
                raise AuthenticationRequired
            return await handler(call)
        except IdentityError as error:
            problem = as_problem(error)
        except Problem as error:
            problem = error
        if page or _is_form(request) or "text/html" in request.headers.get("accept", ""):
            return _problem_page(guard, problem)
        return problem_response(problem, guard.request_id)

    endpoint.__name__ = f"identity_{handler.__name__}"
    endpoint.__redoubt_permission__ = permission  # type: ignore[attr-defined]
    endpoint.__redoubt_capability__ = "login" if path.startswith(("/auth", "/enrol")) else None  # type: ignore[attr-defined]
    return Route(path, endpoint, methods=[method], name=endpoint.__name__)


def reply(body: Any, status: int = 200) -> JSONResponse:
    """Return uncacheable JSON."""
    return JSONResponse(body, status, headers={"Cache-Control": "no-store"})


def user_json(session: SessionState) -> dict[str, Any]:
    """Return what a page may know of its user."""
    return {
        "id": session.user_id,
        "email": session.email,
        "email_verified": session.email_verified,
        "roles": sorted(session.roles),
    }


def safe_next(value: object) -> str | None:
    """Return `value` if it is a path on this origin, else None: no scheme, no host, no control characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= 512:
        return None
    if not value.startswith("/") or value.startswith(("//", "/\\")) or "\\" in value:
        return None
    return value if value.isascii() and value.isprintable() and " " not in value else None


def bad_request() -> Problem:
    """Return the one answer to a body that cannot be read."""
    return Problem(400, "bad-request", "The request cannot be understood.")


async def _call(identity: IdentityService, request: Request, guard: RequestGuard) -> Call:
    unsafe = request.method not in csrf.SAFE_METHODS
    is_form = _is_form(request)
    body = await _body(request, is_form) if unsafe else {}
    if unsafe:
        given = body.get(csrf.FIELD) if is_form else None
        if not guard.csrf_ok(given if isinstance(given, str) else None):
            raise Problem(403, "forged", "This request did not come from a page of this app.")
    pre = guard.pre_cookie or guard.new_pre
    if pre is None:
        pre = guard.pre_cookie = guard.new_pre = cookies.new_pre(identity.core.ids, identity.pre_mac)
    token = guard.session_token if guard.subject is not None else None
    browser = identity.browser(pre, guard.client_address, guard.user_agent, guard.request_id, token)
    return Call(identity, request, guard, browser, pre, body, is_form)


async def _body(request: Request, is_form: bool) -> Mapping[str, Any]:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise Problem(413, "body-too-large", "The request's body is too large.")
    try:
        text = raw.decode("utf-8")
        if is_form:
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
        if not text:
            return {}
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            raise Problem(415, "media-type", "Send JSON.")
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise bad_request() from None
    if not isinstance(parsed, dict):
        raise bad_request()
    return parsed


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded")


def _problem_page(guard: RequestGuard, problem: Problem) -> Response:
    response = guard.render(
        "redoubt/problem.html", status=problem.status, problem=problem, request_id=guard.request_id
    )
    response.headers.update({**problem.headers, "Cache-Control": "no-store"})
    return response


def _iso(session: SessionState) -> str | None:
    return session.step_up_until.isoformat() if session.step_up_until else None
