"""`Redoubt`: one app's guard. Binds the domains to an ASGI app and runs what they need beside it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from redoubt.audit import Event
from redoubt.authz import Caller, Decision, Entity, Permission
from redoubt.authz.consistency import HEADER as CONSISTENCY
from redoubt.authz.consistency import position_of, token_of
from redoubt.authz.enforce import guard_routes
from redoubt.authz.errors import Behind, ConsistencyRefused
from redoubt.authz.permits import ATTRIBUTE, check_routes
from redoubt.core import log as logging_setup
from redoubt.core.base import Core
from redoubt.core.clock import SystemClock
from redoubt.core.db import Access, Database, Domain, access_of, roles
from redoubt.core.db.used import keep_used, used_file
from redoubt.core.ids import SystemIds
from redoubt.core.jobs import Jobs
from redoubt.core.keys import Keyring
from redoubt.core.problem import Problem, problem_response
from redoubt.core.redact import Redactor
from redoubt.core.settings import Settings
from redoubt.guard.limits import Rule, Verdict
from redoubt.identity import cookies as identity_cookies
from redoubt.identity import csrf

from . import pdp
from .domains import APP_DOMAINS
from .errors import AlreadyBound
from .headers import security_headers
from .middleware import UNSAFE, GuardMiddleware, as_problem
from .network import TrustedProxies
from .plan import AppPlan
from .render import Renderer
from .request import GuardedRequest
from .services import Loop, Services

log = logging.getLogger("redoubt.runtime")

_WORDS = {"public": Permission("public"), "self": Permission("self")}
_WEBHOOKS = "/webhooks/"
_JOINING = ("/auth/login", "/auth/register", "/auth/magic", "/enrol")
_NEVER_KILLED = ("/console", "/auth", "/static", "/healthz", "/account", "/enrol")


class Redoubt:
    """The guard of one app in one process: settings, domains, middleware, permissions, background work."""

    def __init__(self, core: Core, process: str = "app") -> None:
        """Guard over `core`; `process` is `app` or `worker`, and names this process to the charge service."""
        self.core = core
        self.process = process
        self.settings: Settings = core.settings
        self.security_headers = security_headers(core.settings)
        self.proxies = TrustedProxies(core.settings.server.trusted_proxies)
        self.domains: list[Domain] = list(APP_DOMAINS)
        self.plan = AppPlan()
        self._services: Services | None = None
        self._pages: Renderer | None = None
        self._app: Starlette | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._restricts = False  # a database that a caller brings is the caller's to restrict

    @classmethod
    def from_dir(
        cls, directory: Path, environment: Mapping[str, str] | None = None, *, process: str | None = None
    ) -> Redoubt:
        """Open the app in `directory`: its settings, keyring and database. Raises what stands in the way.

        `process` is `app` or `worker`, by default what the environment says. Once it is bound, its database is held to
        what that process is granted. `owner` is for operators' commands: the schema's owner may do everything.
        """
        settings = Settings.load(directory, environment)
        clock = SystemClock()
        keys = Keyring.open(settings.keyring_path, settings.reveal(settings.master_ref))
        redactor = Redactor(keys.mac("redact"))
        logging_setup.configure(redactor)
        logging.getLogger("httpx").setLevel(logging.WARNING)
        if process is None:
            process = "worker" if (environment or os.environ).get("REDOUBT_PROCESS") == "worker" else "app"
        database = Database(settings.database_url(process).reveal())
        ids = SystemIds(clock)
        core = Core(settings=settings, db=database, clock=clock, ids=ids, keys=keys, redactor=redactor)
        guard = cls(core, process)
        guard._restricts = process != "owner"
        return guard

    @property
    def bound(self) -> bool:
        """Whether `bind` was called."""
        return self._app is not None

    @property
    def services(self) -> Services:
        """The domains' services; there once the guard is bound."""
        if self._services is None:
            raise AlreadyBound(
                "the guard is not bound to an app yet.",
                hint="Call guard.bind(app) at the end of app/main.py.",
            )
        return self._services

    @property
    def app(self) -> Starlette:
        """The app that this guard is bound to."""
        if self._app is None:
            raise AlreadyBound(
                "the guard is not bound to an app yet.",
                hint="Call guard.bind(app) at the end of app/main.py.",
            )
        return self._app

    def bind(
        self,
        app: Starlette,
        plan: AppPlan | None = None,
        *,
        extra: Iterable[Callable[[Redoubt], Sequence[Route]]] = (),
    ) -> Redoubt:
        """Guard `app`: add the library's routes, wrap every route in its permission, put the middleware in front.

        Call it last: a route that is added later has no guard, and the start is refused for it. `plan` says what
        the app declares (webhooks, entities, payments). `extra` makes more routes of the library, such as the
        console's. Raises AlreadyBound for a second call and UnguardedRoutes for a route without a permission.
        """
        if self._app is not None:
            raise AlreadyBound("this guard is bound already.")
        self._app = app
        self.plan = plan or AppPlan()
        self.domains += self.plan.domains
        if self._restricts:
            self.core.db.restrict(self.access(self.process))
        self._services = Services.build(self.core, self.plan, self.process)
        self._pages = Renderer(self, self.plan)
        routes: list[Route] = [Route("/healthz", self._health, methods=["GET"]), *self._services.routes()]
        if self.process == "app":
            routes += pdp.routes(self._services)
        for make in extra:
            routes += make(self)
        for route in routes:
            _declare(route)
            app.router.routes.append(route)
        app.add_exception_handler(Problem, self._on_error)
        app.add_exception_handler(HTTPException, self._on_error)
        for error, handler in self._validation_handlers():
            app.add_exception_handler(error, handler)
        guard_routes(app, self._enforce, caller_of=self._caller, refuse=self._refuse)
        app.add_middleware(GuardMiddleware, guard=self)
        return self

    def access(self, process: str) -> Access:
        """Return what `process` of this app may do in the database: what its domains declare, and its own code."""
        own = Domain("own", Path(), sa.MetaData(), grants=self.plan.grants)
        return access_of([*self.domains, own], process, self.plan.features)

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Check that every route is guarded, load policies and switches, and follow both from now on."""
        services = self.services
        if self._restricts:
            strictly = not self.settings.development
            await asyncio.to_thread(roles.demand_bounded, self.core.db, strictly=strictly)
        await services.start()
        await services.head.refresh()  # a slow start must not find it stale
        policies = services.head.policies()
        if policies is None:
            raise AlreadyBound(
                f"nothing can be decided: {services.head.problem()}.", hint="Run: redoubt init DIR"
            )
        check_routes(self.app, policies)
        guard_routes(self.app, self._enforce, caller_of=self._caller, refuse=self._refuse)
        self._loops = [asyncio.create_task(loop) for loop in services.loops()]
        if self._restricts and self.settings.development:
            kept = used_file(self.settings.state_dir, self.process)
            self._loops.append(asyncio.create_task(keep_used(self.core.db, kept)))

    async def stop(self) -> None:
        """Stop following; what is being written is written."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []
        await self.services.stop()

    def register_jobs(self, jobs: Jobs) -> None:
        """Give a worker every handler of every domain."""
        self.services.register_jobs(jobs)
        for register in self.plan.jobs:
            register(jobs)

    def background(self) -> Mapping[str, Loop]:
        """Return the loops that run in the worker only."""
        return self.services.background()

    # -- what the middleware asks --------------------------------------------------------------------------------

    def valid_pre(self, sent: str | None) -> str | None:
        """Return the browser cookie if we made it; any other counts as none."""
        return identity_cookies.valid_pre(sent, self.services.identity.pre_mac)

    def body_limit(self, path: str) -> int:
        """Return how many bytes a body to `path` may have."""
        if self.is_webhook(path):
            return max(self.settings.server.max_body_bytes, self.services.webhook_limit)
        return self.settings.server.max_body_bytes

    def is_webhook(self, path: str) -> bool:
        """Say whether `path` takes signed deliveries, which no browser's session authorises."""
        return path.startswith(_WEBHOOKS)

    def limit(self, rule: Rule, key: str) -> Verdict:
        """Count a hit."""
        return self.services.limiter.hit(rule, key)

    def check_switches(self, request: GuardedRequest) -> None:
        """Raise the Problem of a killed app, of killed writes or of killed logins.

        Step-up, sign-out and the console stay open: they are how a kill is looked at and ended.
        """
        services, unsafe = self.services, request.method in UNSAFE
        if unsafe and _below(request.path, _JOINING):
            services.demand_switch("login", request.tenant)
        if _below(request.path, _NEVER_KILLED):
            return
        services.demand_switch("all", request.tenant)
        if unsafe and not self.is_webhook(request.path):
            services.demand_switch("writes", request.tenant)

    async def authenticate(self, request: GuardedRequest) -> None:
        """Find the session behind the cookie, and how far this request strays from it."""
        fresh = request.consistency is not None
        if request.consistency is not None:
            await self._see_at_least(request.consistency)
        if request.session_token is None:
            return
        found = await self.services.identity.resolve(
            request.session_token, request.client_address, request.user_agent, fresh=fresh
        )
        if found is None:
            return
        request.subject = found
        request.risk = self.services.risk(found)

    async def _see_at_least(self, token: str) -> None:
        try:
            await self.services.head.at_least(position_of(self.core, token))
        except ConsistencyRefused as error:
            raise Problem(400, error.code, "The consistency token is not one of this app.") from error
        except Behind as error:
            raise Problem(
                503, error.code, "This process does not see that change yet.", headers={"Retry-After": "1"}
            ) from error

    async def consistency(self, request: GuardedRequest) -> dict[str, str]:
        """Return the header by which whoever changed policies or roles asks for at least that change from now on."""
        token = await self.core.db.read(lambda tx: token_of(tx, self.core, request.tenant))
        return {CONSISTENCY: token}

    def csrf_token(self, request: GuardedRequest) -> str:
        """Return the token for this browser's forms."""
        session = request.session_token if request.subject is not None else None
        return csrf.token(self.services.identity.csrf_mac, session, self._pre(request))

    def csrf_allowed(self, request: GuardedRequest, form_token: str | None) -> bool:
        """Say whether an unsafe request is this browser's own."""
        return csrf.allowed(
            self.services.identity.csrf_mac,
            request.headers,
            self.services.identity.config.rp.origins,
            request.session_token if request.subject is not None else None,
            request.pre_cookie,
            form_token,
        )

    async def note(self, request: GuardedRequest, event: Event) -> None:
        """Record an event that has no other effect; nobody's are counted where they come in masses."""
        await self.services.noise.record(event)

    def finish_cookies(self, request: GuardedRequest, headers: MutableHeaders) -> None:
        """Set the browser cookie where a page needed one that the browser did not have."""
        if request.new_pre is None or any(
            value.startswith(identity_cookies.PRE) for value in headers.getlist("set-cookie")
        ):
            return
        carrier = Response()
        identity_cookies.set_pre(carrier, request.new_pre)
        headers.append("set-cookie", carrier.headers["set-cookie"])

    def error_response(self, request: GuardedRequest, problem: Problem) -> Response:
        """Return `problem` as a page for people, as problem+json for programs."""
        if problem.code == "unauthenticated" and request.method == "GET" and request.wants_html:
            from urllib.parse import quote

            return RedirectResponse(f"/auth/login?next={quote(request.path, safe='')}", status_code=303)
        if request.wants_html and self._pages is not None:
            page = self._pages.error(request, problem)
            for name, value in problem.headers.items():
                page.headers[name] = value
            return page
        return problem_response(problem, request.request_id)

    # -- what handlers ask ---------------------------------------------------------------------------------------

    async def decide(
        self, request: GuardedRequest, action: str, resource: Entity, context: Mapping[str, Any]
    ) -> Decision:
        """Decide about a resource at hand; audited."""
        return await self.services.enforcer.decide(request.authz, action, resource, **context)

    async def demand(
        self, request: GuardedRequest, action: str, resource: Entity, context: Mapping[str, Any]
    ) -> Decision:
        """Decide, and raise what a denied caller gets."""
        decision = await self.decide(request, action, resource, context)
        if decision.allowed:
            return decision
        if request.subject is None:
            raise Problem(401, "unauthenticated", "Log in first.", headers={"WWW-Authenticate": "Session"})
        raise Problem(403, "denied", "You may not do this.")

    def allows(
        self, request: GuardedRequest, action: str, resource: Entity, context: Mapping[str, Any]
    ) -> bool:
        """Say whether the caller may, unaudited: for showing and hiding, never instead of a decision."""
        return self.services.allows(request.authz, action, resource, context)

    def render(
        self, request: GuardedRequest, template: str, status: int, context: Mapping[str, Any]
    ) -> Response:
        """Render a page."""
        if self._pages is None:
            raise AlreadyBound("the guard is not bound to an app yet.")
        return self._pages.render(request, template, status, context)

    # -- inside --------------------------------------------------------------------------------------------------

    def _pre(self, request: GuardedRequest) -> str | None:
        """The browser cookie; a page that needs one gives the browser one."""
        if request.pre_cookie is None and request.subject is None:
            request.new_pre = identity_cookies.new_pre(self.core.ids, self.services.identity.pre_mac)
            request.pre_cookie = request.new_pre
        return request.pre_cookie

    async def _enforce(self, permission: Permission, caller: Caller, connection: Any) -> Decision:
        """Ask, and then let group commit wait for this request no longer: what its handler does may take its time."""
        try:
            return await self.services.enforcer.enforce(permission, caller, connection)
        finally:
            coming = GuardedRequest.of(connection).coming
            if coming is not None:
                coming.end()

    def _caller(self, connection: Any) -> Any:
        return GuardedRequest.of(connection).authz

    def _refuse(self, connection: Any, problem: Problem, request_id: str | None) -> Response:
        return self.error_response(GuardedRequest.of(connection), problem)

    async def _on_error(self, connection: Request, error: Exception) -> Response:
        request = GuardedRequest.of(connection)
        if isinstance(error, HTTPException):
            title = (
                "There is nothing here." if error.status_code == 404 else "This request cannot be answered."
            )
            code = {404: "not-found", 405: "method"}.get(error.status_code, "refused")
            error = Problem(error.status_code, code, title, headers=dict(error.headers or {}))
        return self.error_response(request, as_problem(error, request.request_id))

    def _validation_handlers(self) -> list[tuple[Any, Any]]:
        from fastapi.exceptions import RequestValidationError

        async def invalid(connection: Request, _error: Exception) -> Response:
            problem = Problem(422, "invalid", "The request does not have the form that this address takes.")
            return self.error_response(GuardedRequest.of(connection), problem)

        return [(RequestValidationError, invalid)]

    @staticmethod
    async def _health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})


def _below(path: str, roots: Sequence[str]) -> bool:
    """Say whether `path` is one of `roots` or under it; `/accounts` is not under `/account`."""
    return path in roots or path.startswith(_children(roots))


@lru_cache(64)
def _children(roots: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{root}/" for root in roots)


def _declare(route: Route) -> None:
    """Turn the words that domain routes declare (`public`, `self`) into permissions; the rest is already one."""
    endpoint = route.endpoint
    declared = getattr(endpoint, ATTRIBUTE, None)
    if declared is None and route.path in ("/healthz", "/webhooks/{name}"):
        declared = "public"
    if isinstance(declared, str):
        if declared not in _WORDS:
            raise AlreadyBound(f"{route.path} declares {declared!r}, which is no permission.")
        setattr(route, ATTRIBUTE, _WORDS[declared])


__all__ = ["AppPlan", "Redoubt"]
