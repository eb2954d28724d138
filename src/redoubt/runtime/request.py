"""One guarded request: who asks, from where, and what a handler may do with it.

The middleware makes one for each request and leaves it in `scope["redoubt"]`; handlers, domain routes and the
enforcement of permissions read it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from redoubt.audit import Actor, Event
from redoubt.authz import Caller, Decision, Entity
from redoubt.core.base import Core
from redoubt.core.db import Coming, Tx
from redoubt.core.problem import Problem
from redoubt.identity import SessionState

from .body import form_field

if TYPE_CHECKING:
    from .app import Redoubt

T = TypeVar("T")


@define(slots=True, eq=False)
class GuardedRequest:
    """What the middleware learned of a request, and the doors that a handler uses.

    `subject` is None for nobody. `resource` is what the route's permission loaded, so that handlers need not load
    it again. `risk` is 0 (as usual) to 100. `consistency` is the token of a change that the caller asks for at least.
    """

    guard: Redoubt
    request_id: str
    method: str
    path: str
    headers: Headers
    client_address: str
    user_agent: str
    body: bytes
    session_token: str | None
    sent_pre: str | None = None
    consistency: str | None = None
    subject: SessionState | None = None
    risk: int = 0
    resource: Any = None
    decision: Decision | None = None
    new_pre: str | None = field(default=None)
    coming: Coming | None = None
    """Tells group commit that this request's decision is on its way."""
    _pre: str | None = field(default=None, init=False)
    _pre_looked_at: bool = field(default=False, init=False)

    @classmethod
    def of(cls, request: Request) -> GuardedRequest:
        """Return the guarded request behind a Starlette or FastAPI request."""
        found = request.scope.get("redoubt")
        if not isinstance(found, cls):
            raise Problem(500, "unguarded", "This app is not guarded.")
        return found

    @property
    def core(self) -> Core:
        """The ground floor."""
        return self.guard.core

    @property
    def tenant(self) -> str:
        """The tenant that this request acts in."""
        return self.subject.tenant if self.subject else "main"

    @property
    def user_id(self) -> str | None:
        """The signed-in user's id, or None."""
        return self.subject.user_id if self.subject else None

    @property
    def roles(self) -> frozenset[str]:
        """The signed-in user's roles."""
        return self.subject.roles if self.subject else frozenset()

    @property
    def pre_cookie(self) -> str | None:
        """The browser cookie, if the browser sent one that we made; looked at when it is asked for."""
        if not self._pre_looked_at:
            self.pre_cookie = self.guard.valid_pre(self.sent_pre)
        return self._pre

    @pre_cookie.setter
    def pre_cookie(self, value: str | None) -> None:
        self._pre, self._pre_looked_at = value, True

    @property
    def step_up(self) -> bool:
        """Whether a fresh passkey assertion stands behind the session."""
        return self.subject is not None and self.subject.stepped_up(self.core.clock.now())

    @property
    def authz(self) -> Caller:
        """The same request as authorization sees it."""
        return Caller(
            user_id=self.user_id,
            tenant=self.tenant,
            roles=self.roles,
            risk=self.risk,
            step_up=self.step_up,
            session_id=self.subject.session_id if self.subject else None,
            request_id=self.request_id,
        )

    @property
    def actor(self) -> Actor:
        """The same request as audit events name it."""
        if self.subject is None:
            return Actor(kind="anonymous", id="anonymous", session=None)
        return Actor(kind="user", id=self.subject.user_id, session=self.subject.session_id)

    @property
    def csrf_token(self) -> str:
        """The token that this browser's forms carry."""
        return self.guard.csrf_token(self)

    def csrf_ok(self, form_token: str | None = None) -> bool:
        """Say whether origin and token hold; `form_token` is the body's where there is no header."""
        given = form_token if form_token is not None else form_field(self.headers, self.body, "csrf_token")
        return self.guard.csrf_allowed(self, given)

    @property
    def wants_html(self) -> bool:
        """Whether a person's browser asks for a page rather than a program for data."""
        accept = self.headers.get("accept", "")
        return "text/html" in accept and not self.path.startswith("/api/")

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in a read transaction."""
        return await self.core.db.read(fn)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one write transaction; record its audit event inside it."""
        return await self.core.db.write(fn)

    def event(
        self,
        action: str,
        target: tuple[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
        *,
        outcome: str = "success",
    ) -> Event:
        """Return an audit event of this request's actor, for `audit.record`."""
        return Event(
            action=action,
            outcome=outcome,  # type: ignore[arg-type]
            actor=self.actor,
            tenant=self.tenant,
            target=target,
            data=dict(data or {}),
            request_id=self.request_id,
        )

    async def decide(
        self, action: str, resource: Entity, context: Mapping[str, Any] | None = None
    ) -> Decision:
        """Decide about another action than the route's own; the decision is audited. Raises nothing on a deny."""
        return await self.guard.decide(self, action, resource, context or {})

    async def demand(
        self, action: str, resource: Entity, context: Mapping[str, Any] | None = None
    ) -> Decision:
        """Decide, and raise the Problem that a denied caller gets."""
        return await self.guard.demand(self, action, resource, context or {})

    def allows(self, action: str, resource: Entity, context: Mapping[str, Any] | None = None) -> bool:
        """Say whether the caller may, without an audit entry: for showing and hiding, never instead of a decision."""
        return self.guard.allows(self, action, resource, context or {})

    def permitted(
        self, actions: Iterable[str], resource: Entity, context: Mapping[str, Any] | None = None
    ) -> tuple[str, ...]:
        """Return those of `actions` that the caller may do on `resource`, unaudited: for buttons, never to enforce."""
        return self.guard.services.permitted(self.authz, actions, resource, context or {})

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Render a page of the app or of the library."""
        return self.guard.render(self, template, status, context)
