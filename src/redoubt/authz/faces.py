"""Faces for an app of one's own: a FastAPI dependency, and a middleware over a table of routes for any ASGI app.

Both put the same question as `guard_routes` does, through the same code; what is not declared is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from attrs import field, frozen
from starlette.requests import HTTPConnection, Request
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from redoubt.core.problem import Problem

from .enforce import (
    DECISION,
    PERMISSION,
    RESOURCE,
    CallerOf,
    Enforce,
    Refuse,
    caller_of_scope,
    not_found,
    refusal,
    wrap_route,
)
from .models import Entity
from .permits import ATTRIBUTE, ContextBuilder, Loader, Permission


def requires(
    action: str,
    *,
    resource: Loader | None = None,
    context: ContextBuilder | None = None,
    creates: bool = False,
    read: str | None = None,
    enforce: Enforce | None = None,
    caller_of: CallerOf = caller_of_scope,
) -> Callable[[Request], Awaitable[Entity | None]]:
    """Return a FastAPI dependency that asks for `action` as `permit` does and gives the resource that was judged.

    In an app that a guard is bound to, it declares the route's permission, and the guard asks before anything of the
    route runs. In another app give `enforce` (an `Enforcer`'s): then the dependency asks itself and raises the Problem
    that refuses, which the app must answer (`problem_response`). Without either, nothing is let through.
    """
    permission = Permission("action", action, resource, context, creates, read)

    async def dependency(request: Request) -> Entity | None:
        if request.scope.get(PERMISSION) is not permission:
            if enforce is None:
                raise Problem(500, "unguarded", "This app is not guarded.")
            request.scope[DECISION] = await enforce(permission, caller_of(request), request)
            request.scope[PERMISSION] = permission
        found: Entity | None = request.scope.get(RESOURCE)
        return found

    setattr(dependency, ATTRIBUTE, permission)
    return dependency


def _methods(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(value.upper() for value in values)


@frozen
class RouteRule:
    """What a path needs, in a table: `/orders/{id}` as Starlette writes paths. A rule for GET is one for HEAD, too."""

    path: str
    permission: Permission
    methods: tuple[str, ...] = field(default=("GET",), converter=_methods)


class PermissionMiddleware:
    """ASGI middleware that asks for what its table declares before anything of `app` runs.

    A path that no rule names is answered as if it did not exist, another method with 405, a websocket is closed. The
    app must find its routes by the same path: one that reads `raw_path` or takes other spellings for the same is not
    held by a table. The caller must stand in the scope already: put what authenticates outside of this.
    """

    def __init__(
        self,
        app: ASGIApp,
        enforce: Enforce,
        rules: Iterable[RouteRule],
        *,
        caller_of: CallerOf = caller_of_scope,
        refuse: Refuse = refusal,
    ) -> None:
        """Guard `app` by `rules`, the first that fits."""
        self._app, self._refuse = app, refuse
        self._routes: list[Route] = []
        for rule in rules:
            route = Route(rule.path, _Onward(app), methods=rule.methods)
            wrap_route(route, rule.permission, enforce, caller_of=caller_of, refuse=refuse)
            self._routes.append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what its rule allows."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "not-found"})
            return
        known = False
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                await route.handle({**scope, **found}, receive, send)
                return
            known = known or match is Match.PARTIAL
        problem = Problem(405, "method", "This method is not offered.") if known else not_found()
        await self._refuse(HTTPConnection(scope), problem, None)(scope, receive, send)


class _Onward:
    """Calls the app with the scope as it came, and what was decided in it: it finds its own route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = ("endpoint", "path_params", "route", "router")
        await self._app({key: item for key, item in scope.items() if key not in ours}, receive, send)
