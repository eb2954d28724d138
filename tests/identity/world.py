"""Identity as an app mounts it: the real service and routes over a real database, behind a small guard of the tests."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import httpx
import sqlalchemy as sa
from attrs import define
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.jobs import Jobs
from redoubt.guard.limits import Limiter
from redoubt.identity import IdentityConfig, IdentityService, SessionState, cookies, csrf, routes
from redoubt.identity.pages import environment
from tests.identity.authenticator import Passkey

AGENT = "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0"
roles_table = sa.Table(
    "test_roles",
    sa.MetaData(),
    sa.Column("user_id", sa.Text),
    sa.Column("role", sa.Text),
    sa.Column("by", sa.Text),
)


class Roles:
    """Roles in a table of the tests, written in the caller's transaction like authorization's own."""

    def assign(self, tx: Tx, tenant: str, user_id: str, role: str, by: str) -> None:
        tx.execute(sa.insert(roles_table), {"user_id": user_id, "role": role, "by": by})

    def roles(self, tx: Tx, tenant: str, user_id: str) -> frozenset[str]:
        found = tx.execute(sa.select(roles_table.c.role).where(roles_table.c.user_id == user_id))
        return frozenset(found.scalars())

    def roles_of(self, tx: Tx, people: Collection[tuple[str, str]]) -> dict[tuple[str, str], frozenset[str]]:
        return {(tenant, user): self.roles(tx, tenant, user) for tenant, user in people}


class Outbox:
    """A mail server that keeps what it took; `fail` makes it refuse as a server would."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, str, str]] = []
        self.fail: Exception | None = None

    async def send(self, to: str, subject: str, text: str, message_id: str) -> None:
        if self.fail is not None:
            raise self.fail
        self.messages.append((to, subject, text, message_id))

    def token(self, to: str) -> str:
        texts = [text for address, _, text, _ in self.messages if address == to]
        found = re.search(r"/auth/magic/([\w-]+)", texts[-1])
        assert found
        return found[1]


@define
class Guard:
    """What the runtime's middleware leaves in the scope."""

    identity: IdentityService
    headers: dict[str, str]
    subject: SessionState | None
    session_token: str | None
    pre_cookie: str | None
    client_address: str
    user_agent: str
    request_id: str
    new_pre: str | None = None

    def csrf_ok(self, form_token: str | None = None) -> bool:
        token = self.session_token if self.subject else None
        origins = self.identity.config.rp.origins
        return csrf.allowed(self.identity.csrf_mac, self.headers, origins, token, self.pre_cookie, form_token)

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        page = environment().get_template(template)
        return HTMLResponse(page.render(app_name="Test", subject=self.subject, **context), status)


class GuardMiddleware:
    def __init__(self, app: ASGIApp, identity: IdentityService) -> None:
        self.app, self.identity = app, identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        identity = self.identity
        headers = {k.lower(): v for k, v in request.headers.items()}
        address = headers.get("x-test-address", "198.51.100.7")
        agent = headers.get("user-agent", "")
        token = request.cookies.get(cookies.SESSION)
        guard = Guard(
            identity=identity,
            headers=headers,
            subject=await identity.resolve(token, address, agent),
            session_token=token,
            pre_cookie=cookies.valid_pre(request.cookies.get(cookies.PRE), identity.pre_mac),
            client_address=address,
            user_agent=agent,
            request_id="req-1",
        )
        scope["redoubt"] = guard

        async def finish(message: Any) -> None:
            if message["type"] == "http.response.start" and guard.new_pre:
                response = Response()
                cookies.set_pre(response, guard.new_pre)
                message["headers"] += [h for h in response.raw_headers if h[0] == b"set-cookie"]
            await send(message)

        await self.app(scope, receive, finish)


class Client:
    """One browser: its cookies, its address, its passkey."""

    def __init__(self, world: World, address: str) -> None:
        self.world = world
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=world.app),
            base_url=world.origin,
            headers={"user-agent": AGENT, "origin": world.origin, "x-test-address": address},
        )
        self.csrf = ""
        self.passkey = world.passkey()

    async def session(self) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.get("/auth/session")).json()
        self.csrf = body["csrf"]
        return body

    async def post(self, path: str, body: Any = None, **kwargs: Any) -> httpx.Response:
        if not self.csrf:
            await self.session()
        headers = {"x-csrf-token": self.csrf} | kwargs.pop("headers", {})
        answer = await self.http.post(path, json={} if body is None else body, headers=headers, **kwargs)
        if answer.status_code in (200, 201) and "csrf" in answer.json():
            self.csrf = answer.json()["csrf"]
        return answer

    async def register(self, email: str) -> httpx.Response:
        options = await self.post("/auth/register/options", {"email": email})
        assert options.status_code == 200, options.text
        return await self.post("/auth/register/verify", {"credential": self.passkey.register(options.json())})

    async def login(self, **lie: Any) -> httpx.Response:
        options = await self.post("/auth/login/options")
        assert options.status_code == 200, options.text
        return await self.post(
            "/auth/login/verify", {"credential": self.passkey.answer(options.json(), **lie)}
        )

    async def step_up(self) -> httpx.Response:
        options = await self.post("/auth/stepup/options")
        assert options.status_code == 200, options.text
        return await self.post("/auth/stepup/verify", {"credential": self.passkey.answer(options.json())})

    async def enrol(self, url: str, email: str) -> httpx.Response:
        token = url.rpartition("/")[2]
        options = await self.post("/enrol/options", {"token": token, "email": email})
        assert options.status_code == 200, options.text
        body = {"token": token, "credential": self.passkey.register(options.json())}
        return await self.post("/enrol/verify", body)

    async def signed_in(self) -> bool:
        return bool((await self.session())["authenticated"])


class World:
    """An app with identity, its mail, and any number of browsers."""

    def __init__(self, core: Core, **config: Any) -> None:
        import attrs

        self.core = core
        self.origin = core.settings.app.base_url
        core.db.write_sync(lambda tx: roles_table.create(tx.conn, checkfirst=True))
        self.roles, self.mail = Roles(), Outbox()
        self.config = attrs.evolve(IdentityConfig.from_settings(core.settings), **config)
        self.identity = self.service()
        self.jobs = Jobs(core)
        self.identity.register_jobs(self.jobs)
        self.app = Starlette(routes=routes(self.identity))
        self.app.add_middleware(GuardMiddleware, identity=self.identity)
        self._addresses = 0

    def service(self) -> IdentityService:
        """Another process's identity over the same database."""
        return IdentityService(
            self.core,
            self.config,
            assigner=self.roles,
            roles=self.roles,
            mailer=self.mail,
            limiter=Limiter(self.core),
        )

    def passkey(self, algorithm: int = -7) -> Passkey:
        return Passkey(self.origin, self.config.rp.id, algorithm)

    def client(self, address: str | None = None) -> Client:
        self._addresses += 1
        return Client(self, address or f"203.0.{self._addresses}.10")

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        return self.core.db.read_sync(lambda tx: list(tx.execute(statement)))

    def events(self) -> list[tuple[str, str]]:
        from redoubt.audit.store import entries

        return [
            (row.action, row.outcome)
            for row in self.rows(sa.select(entries.c.action, entries.c.outcome).order_by(entries.c.id))
        ]
