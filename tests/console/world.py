"""A small guarded app with the console, everything real but the sockets: database, policies, passkeys, middleware."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import sqlalchemy as sa
from fastapi import FastAPI

from redoubt import console
from redoubt.audit.store import entries
from redoubt.authz.access import AccessModel, Action, Allow, ResourceType
from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.rules import compile_policies, compile_schema, operator_actions
from redoubt.authz.versions import genesis
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Tx
from redoubt.payments import store as payment_store
from redoubt.runtime import Redoubt
from redoubt.runtime.plan import AppPlan, PaymentsPlan
from tests.identity.authenticator import Passkey

AGENT = "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0"
ROLES = ("customer", "support", "finance", "operator")
HTML = {"accept": "text/html"}
JSON = {"accept": "application/json"}
_FINANCE = {"Console.view", "Approval.read", "Approval.decide"}


def access() -> AccessModel:
    """The console's actions, and payments as a shop has them."""
    actions = [
        Action(one.name, one.resource, one.scope, (*one.allow, Allow(role="finance")))
        if one.name in _FINANCE
        else one
        for one in operator_actions()
    ]
    staff = (Allow(role="support"), Allow(role="finance"))
    actions.append(Action("Payment.read", "Payment", "object", (Allow(role="customer", owner=True), *staff)))
    limits = (Allow(role="support", amount_max=5000), Allow(role="finance", step_up=True))
    actions.append(Action("Payment.refund", "Payment", "object", limits))
    lists = tuple(Allow(role) for role in ("customer", "support", "finance"))
    actions.append(Action("Payment.list", "Payment", "collection", lists))
    return AccessModel(ROLES, [ResourceType("Payment", owner=True)], actions)


class World:
    """The app, and any number of people with browsers."""

    def __init__(self, core: Core, clock: ManualClock, **declared: Any) -> None:
        """Build the app over `core`; `declared` goes into its plan."""
        self.core, self.clock = core, clock
        self.origin = core.settings.app.base_url
        model = access()
        policies = parse(PolicySource(compile_schema(model), compile_policies(model), "app.cedarschema"))
        core.db.write_sync(lambda tx: genesis(tx, core, policies))
        self.app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        self.guard = Redoubt(core)
        payments = PaymentsPlan(currencies=("EUR",), entity="Order")
        plan = AppPlan(title="Shop", roles=frozenset(ROLES), payments=payments, **declared)
        self.guard.bind(self.app, plan, extra=[console.routes])
        self._people = 0

    async def pass_time(self, by: timedelta) -> None:
        """Let time pass, and what follows switches and policies notice: both fail closed on old knowledge."""
        self.clock.advance(by)
        await self.guard.services.switches.refresh()
        await self.guard.services.head.refresh()

    def browser(self) -> Person:
        self._people += 1
        return Person(self, f"203.0.113.{self._people}")

    async def person(self, role: str, name: str = "") -> Person:
        """Enrol somebody with `role` through a one-time link, as the console mints them."""
        found = self.browser()
        enrolments = self.guard.services.identity.enrolments
        link = self.core.db.write_sync(lambda tx: enrolments.mint(tx, role, "test"))[1]
        await found.enrol(link, f"{name or role}-{self._people}@example.org")
        return found

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        return self.core.db.read_sync(lambda tx: list(tx.execute(statement)))

    def events(self, action: str) -> list[Any]:
        return self.rows(sa.select(entries).where(entries.c.action == action).order_by(entries.c.id))

    def payment(self, customer: str, amount: int = 24_000, **values: Any) -> str:
        """Store a payment as the charge service would have reported it."""
        now = self.clock.now()
        row = {
            "id": self.core.ids.uuid7(), "tenant": "main", "order_id": self.core.ids.uuid7(), "customer_id": customer,
            "amount": amount, "currency": "EUR", "state": "succeeded", "redirect_url": None,
            "provider_payment": "pi_1", "refunded": 0, "failure": None, "human": False, "created_at": now,
            "updated_at": now, **values,
        }  # fmt: skip
        self.core.db.write_sync(lambda tx: tx.execute(sa.insert(payment_store.payments), row))
        return str(row["id"])


class Person:
    """One browser with its cookies, its address and a passkey."""

    def __init__(self, world: World, address: str) -> None:
        self.world, self.address = world, address
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=world.app, client=(address, 40_000)),
            base_url=world.origin,
            headers={"user-agent": AGENT},
        )
        self.passkey = Passkey(world.origin, world.guard.services.identity.config.rp.id)
        self.csrf = ""
        self.id = ""
        self.email = ""

    async def session(self) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.get("/auth/session", headers=JSON)).json()
        self.csrf = body["csrf"]
        return body

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers={**JSON, **headers})

    async def page(self, path: str) -> httpx.Response:
        return await self.http.get(path, headers=HTML)

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """POST JSON as the library's script does."""
        if not self.csrf:
            await self.session()
        given = {**JSON, "origin": self.world.origin, "x-csrf-token": self.csrf, **headers}
        answer = await self.http.post(path, json={} if body is None else body, headers=given)
        if answer.status_code in (200, 201) and "csrf" in answer.json():
            self.csrf = answer.json()["csrf"]
        return answer

    async def form(self, path: str, **fields: str) -> httpx.Response:
        """POST a form as a browser without JavaScript does."""
        if not self.csrf:
            await self.session()
        headers = {**HTML, "origin": self.world.origin}
        return await self.http.post(path, data={"csrf_token": self.csrf, **fields}, headers=headers)

    async def enrol(self, url: str, email: str) -> None:
        token = url.rpartition("/")[2]
        options = await self.post("/enrol/options", {"token": token, "email": email})
        assert options.status_code == 200, options.text
        body = {"token": token, "credential": self.passkey.register(options.json())}
        answer = await self.post("/enrol/verify", body)
        assert answer.status_code == 201, answer.text
        self.id, self.email = answer.json()["user"]["id"], email
        await self.session()
        await self.world.pass_time(timedelta(minutes=10))  # a fresh enrolment counts as a fresh passkey
        await self.session()

    async def step_up(self) -> None:
        options = await self.post("/auth/stepup/options")
        answer = await self.post("/auth/stepup/verify", {"credential": self.passkey.answer(options.json())})
        assert answer.status_code == 200, answer.text
        await self.session()

    async def approve(self, approval_id: str, **lie: Any) -> httpx.Response:
        """Approve with the passkey, as the page's script does; `lie` goes to the authenticator."""
        options = await self.post(f"/console/approvals/{approval_id}/options")
        assert options.status_code == 200, options.text
        credential = self.passkey.answer(options.json(), **lie)
        return await self.post(f"/console/approvals/{approval_id}/approve", {"credential": credential})

    async def close(self) -> None:
        await self.http.aclose()


def place(core: Core, tx: Tx | None = None) -> None:
    """Run the sequencer once: entries get their place, a checkpoint is signed."""
    from redoubt.audit.sequencer import Sequencer

    Sequencer(core).run_once()
