"""Routes: what declares nothing is found, and what is declared is asked before the handler runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Body, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from redoubt.authz import versions
from redoubt.authz.decide import Decider
from redoubt.authz.enforce import CALLER, DECISION, RESOURCE, Enforcer, guard_routes, wrap_route
from redoubt.authz.errors import UnguardedRoutes
from redoubt.authz.head import PolicyHead
from redoubt.authz.models import AuthzRequest, Caller, Entity, collection_entity, user_uid
from redoubt.authz.permits import (
    Permission,
    authenticated,
    check_routes,
    own_account,
    permission_of,
    permit,
    public,
    routes_without_permission,
)
from redoubt.core.base import Core

from .model import policies

OWNERS = {"mine": "u1", "yours": "u2"}
ran: list[str] = []


async def load_order(request: Request) -> Entity | None:
    key = request.path_params["key"]
    if key not in OWNERS:
        return None
    return Entity("Order", key, {"tenant": "main", "owner": user_uid(OWNERS[key]), "state": "draft"})


async def load_payment(request: Request) -> Entity | None:
    return Entity("Payment", "p1", {"tenant": "main", "owner": user_uid("u1")})


async def new_product(request: Request) -> Entity | None:
    return Entity("Product", "new", {"tenant": "main"})


async def my_orders(request: Request) -> Entity | None:
    return collection_entity("Order", "main", owner=request.scope[CALLER].user_id)


async def amount(request: Request) -> dict[str, Any]:
    return {"amount": (await request.json())["amount"], "risk": 0, "step_up": True}


def build() -> FastAPI:
    app = FastAPI(openapi_url=None)
    api = APIRouter(prefix="/api")
    inner = APIRouter(prefix="/inner")

    @api.get("/orders/{key}")
    @permit("Order.read", resource=load_order)
    async def read(key: str, request: Request) -> dict[str, str]:
        ran.append(key)
        return {"id": request.scope[RESOURCE].id, "by": request.scope[DECISION].reasons[0]}

    @api.patch("/orders/{key}")
    @permit("Order.update", resource=load_order)
    async def update(key: str) -> dict[str, str]:
        ran.append(key)
        return {"id": key}

    @api.get("/orders")
    @permit("Order.list", resource=my_orders)
    async def orders() -> list[str]:
        ran.append("list")
        return []

    @inner.post("/products")
    @permit("Product.create", resource=new_product, creates=True)
    def create() -> dict[str, str]:
        ran.append("create")
        return {}

    @app.post("/refunds")
    @permit("Payment.refund", resource=load_payment, context=amount)
    async def refund(value: dict[str, int] = Body()) -> dict[str, int]:
        ran.append("refund")
        return value

    @app.get("/console")
    @permit("Console.view")
    async def console() -> str:
        ran.append("console")
        return "console"

    @app.get("/account")
    @own_account()
    async def account() -> str:
        return "mine"

    @app.post("/account/passkeys")
    @authenticated(step_up=True)
    async def passkeys() -> str:
        return "added"

    @app.get("/healthz")
    @public()
    async def health() -> str:
        return "ok"

    api.include_router(inner)
    app.include_router(api)
    return app


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """One database is enough here: what both must hold is tested with the versions."""
    return f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'app.db')}"


@pytest.fixture
async def head(core: Core) -> PolicyHead:
    core.db.write_sync(lambda tx: versions.genesis(tx, core, policies()))
    head = PolicyHead(core)
    await head.refresh()
    return head


class As:
    """What the runtime's middleware does: leave the caller in the scope."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.caller = Caller()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CALLER] = self.caller
        await self.app(scope, receive, send)


class Client:
    def __init__(self, http: httpx.AsyncClient, seat: As) -> None:
        self.http, self.seat = http, seat

    async def ask(self, method: str, path: str, caller: Caller, **more: Any) -> httpx.Response:
        self.seat.caller = caller
        ran.clear()
        return await self.http.request(method, path, **more)


@pytest.fixture
async def client(core: Core, head: PolicyHead) -> AsyncIterator[Client]:
    app = build()
    check_routes(app, policies())
    assert guard_routes(app, Enforcer(core, head).enforce) == 9
    seat = As(app)
    transport = httpx.ASGITransport(seat)
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.localhost") as http:
        yield Client(http, seat)


NOBODY = Caller()
CUSTOMER = Caller(user_id="u1", roles=frozenset({"customer"}), session_id="s1", request_id="r1")
SUPPORT = Caller(user_id="s", roles=frozenset({"support"}))
FINANCE = Caller(user_id="f", roles=frozenset({"finance"}))
OPERATOR = Caller(user_id="o", roles=frozenset({"operator"}))


def stepped(caller: Caller) -> Caller:
    from attrs import evolve

    return evolve(caller, step_up=True)


async def test_the_owner_reads_their_order_and_the_handler_gets_what_was_decided(client: Client) -> None:
    answer = await client.ask("GET", "/api/orders/mine", CUSTOMER)
    assert (answer.status_code, ran) == (200, ["mine"])
    assert answer.json() == {"id": "mine", "by": "Order.read:customer+own"}


async def test_anothers_order_looks_like_one_that_is_not_there(client: Client) -> None:
    hidden = await client.ask("GET", "/api/orders/yours", CUSTOMER)
    missing = await client.ask("GET", "/api/orders/nothing", CUSTOMER)
    assert ran == []
    assert hidden.status_code == missing.status_code == 404
    assert hidden.content == missing.content
    hidden = await client.ask("PATCH", "/api/orders/yours", CUSTOMER)
    missing = await client.ask("PATCH", "/api/orders/nothing", CUSTOMER)
    assert hidden.status_code == missing.status_code == 404
    assert hidden.content == missing.content


async def test_nobody_learns_what_exists(client: Client) -> None:
    answers = [await client.ask("GET", f"/api/orders/{key}", NOBODY) for key in ("mine", "yours", "nothing")]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert ran == []


async def test_who_may_read_but_not_write_gets_403(client: Client) -> None:
    assert (await client.ask("GET", "/api/orders/mine", SUPPORT)).status_code == 200
    answer = await client.ask("PATCH", "/api/orders/mine", SUPPORT)
    assert (answer.status_code, ran) == (403, [])
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "denied"


async def test_a_function_that_a_role_lacks_is_403(client: Client) -> None:
    for caller in (CUSTOMER, stepped(SUPPORT)):
        assert (await client.ask("GET", "/console", caller)).status_code == 403
        assert (await client.ask("POST", "/api/inner/products", caller)).status_code == 403
    assert ran == []
    assert (await client.ask("GET", "/console", OPERATOR)).status_code == 200


async def test_a_list_of_ones_own_is_allowed_by_role(client: Client) -> None:
    assert (await client.ask("GET", "/api/orders", CUSTOMER)).status_code == 200
    assert (await client.ask("GET", "/api/orders", FINANCE)).status_code == 403


async def test_where_a_passkey_would_help_it_is_asked_for(client: Client) -> None:
    answer = await client.ask("POST", "/api/inner/products", OPERATOR)
    assert (answer.status_code, ran) == (401, [])
    assert answer.json()["code"] == "step-up-required"
    assert 'error="insufficient_user_authentication"' in answer.headers["www-authenticate"]
    assert (await client.ask("POST", "/api/inner/products", stepped(OPERATOR))).status_code == 200


async def test_the_body_decides_and_still_reaches_the_handler(client: Client) -> None:
    good = await client.ask("POST", "/refunds", stepped(FINANCE), json={"amount": 10_000})
    assert (good.status_code, good.json(), ran) == (200, {"amount": 10_000}, ["refund"])
    for bad in (10_001, -1, "5", True, None):
        answer = await client.ask("POST", "/refunds", stepped(FINANCE), json={"amount": bad})
        assert (answer.status_code, ran) == (403, []), bad


async def test_a_context_builder_cannot_claim_a_step_up(client: Client) -> None:
    answer = await client.ask("POST", "/refunds", FINANCE, json={"amount": 1})
    assert (answer.status_code, answer.json()["code"]) == (401, "step-up-required")


async def test_risk_above_a_rules_limit_denies(client: Client) -> None:
    risky = Caller(user_id="s", roles=frozenset({"support"}), risk=51)
    assert (await client.ask("GET", "/api/orders/mine", risky)).status_code == 404
    calm = Caller(user_id="s", roles=frozenset({"support"}), risk=50)
    assert (await client.ask("GET", "/api/orders/mine", calm)).status_code == 200


async def test_sessions_and_public_routes(client: Client) -> None:
    assert (await client.ask("GET", "/healthz", NOBODY)).status_code == 200
    assert (await client.ask("GET", "/account", NOBODY)).status_code == 401
    assert (await client.ask("GET", "/account", FINANCE)).status_code == 200
    assert (await client.ask("POST", "/account/passkeys", NOBODY)).json()["code"] == "unauthenticated"
    assert (await client.ask("POST", "/account/passkeys", FINANCE)).json()["code"] == "step-up-required"
    assert (await client.ask("POST", "/account/passkeys", stepped(FINANCE))).status_code == 200


async def test_a_person_without_a_session_is_sent_to_the_login_page(client: Client) -> None:
    answer = await client.ask("GET", "/account?tab=1", NOBODY, headers={"accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/auth/login?next=%2Faccount%3Ftab%3D1"


async def test_a_wrong_method_runs_nothing_and_is_405(client: Client) -> None:
    assert (await client.ask("DELETE", "/api/orders/mine", NOBODY)).status_code == 405


async def test_each_decision_is_audited_with_its_version_and_can_be_decided_again(
    client: Client, core: Core
) -> None:
    await client.ask("GET", "/api/orders/mine", CUSTOMER)
    await client.ask("GET", "/api/orders/yours", CUSTOMER)
    await client.ask("GET", "/api/orders/nothing", CUSTOMER)
    rows = core.db.read_sync(
        lambda tx: tx.execute(sa.text("SELECT * FROM audit_entries WHERE action = 'authz.decide'")).all()
    )
    assert sorted(row.outcome for row in rows) == ["denied", "denied", "success"]
    for row in rows:
        data = json.loads(row.body)["unmapped"]
        assert row.actor_id == "u1"
        if row.target_id is None:
            continue
        assert data["version"] == policies().version
        again = Decider(policies()).decide(AuthzRequest.from_values(data["values"]))
        assert again.digest == data["digest"]
        assert again.allowed == (row.outcome == "success")


async def test_an_audit_that_fails_lets_nothing_through(
    client: Client, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(core.db.group, "submit", broken)
    with pytest.raises(OSError, match="disk full"):
        await client.ask("GET", "/api/orders/mine", CUSTOMER)
    assert ran == []


async def test_without_a_caller_in_the_scope_nothing_is_answered(core: Core, head: PolicyHead) -> None:
    app = build()
    guard_routes(app, Enforcer(core, head).enforce)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://a.localhost") as http:
        with pytest.raises(RuntimeError, match="no caller"):
            await http.get("/healthz")


async def test_a_list_shows_only_what_may_be_read(core: Core, head: PolicyHead) -> None:
    enforcer = Enforcer(core, head)
    orders = [
        Entity("Order", key, {"tenant": "main", "owner": user_uid(owner), "state": "paid"})
        for key, owner in OWNERS.items()
    ]
    assert [o.id for o in await enforcer.visible(CUSTOMER, "Order.read", orders)] == ["mine"]
    assert len(await enforcer.visible(SUPPORT, "Order.read", orders)) == 2
    assert await enforcer.visible(NOBODY, "Order.read", orders) == []
    assert not (await enforcer.decide(CUSTOMER, "Order.read", orders[1])).allowed


# --- routes that declare nothing ---------------------------------------------------------------------------------


def test_routes_without_a_permission_are_found_wherever_they_hide(tmp_path: Any) -> None:
    async def bare(request: Request) -> PlainTextResponse:
        return PlainTextResponse("x")

    @public()
    async def open_(request: Request) -> PlainTextResponse:
        return PlainTextResponse("x")

    async def plain() -> str:
        return "x"

    app = FastAPI()
    router, nested = APIRouter(prefix="/r"), APIRouter(prefix="/n")
    nested.add_api_route("/deep", plain)
    router.add_api_route("/ok", public()(lambda: "x"))
    router.include_router(nested)
    app.include_router(router)
    app.mount("/sub", Starlette(routes=[Route("/bare", bare), Route("/open", open_)]))
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.router.routes.append(Mount("/m", routes=[Route("/bare", bare), Route("/p", partial(open_))]))
    app.add_api_websocket_route("/ws", plain)
    assert set(routes_without_permission(app.routes)) == {
        "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", "/r/n/deep", "/sub/bare", "/static", "/m/bare",
        "/ws",
    }  # fmt: skip
    with pytest.raises(UnguardedRoutes, match="/r/n/deep: declares no permission"):
        check_routes(app, policies())


def test_an_action_that_the_schema_does_not_know_stops_the_start() -> None:
    app = Starlette(routes=[Route("/x", permit("Order.drop")(build))])
    with pytest.raises(UnguardedRoutes, match=r"Order\.drop"):
        check_routes(app, policies())


def test_a_route_that_fastapi_would_rebuild_is_refused() -> None:
    @permit("Console.view")
    async def view(request: Request) -> PlainTextResponse:
        return PlainTextResponse("x")

    app = FastAPI(openapi_url=None)
    router = APIRouter(routes=[Route("/x", view)])
    app.include_router(router, prefix="/p")
    with pytest.raises(UnguardedRoutes, match="no API route"):
        check_routes(app, policies())


def test_two_permissions_on_one_endpoint_are_refused() -> None:
    with pytest.raises(UnguardedRoutes, match="two permissions"):
        public()(permit("Console.view")(build))


async def test_a_wrapped_route_without_a_permission_refuses_everybody(core: Core, head: PolicyHead) -> None:
    async def bare(request: Request) -> JSONResponse:
        ran.append("bare")
        return JSONResponse({})

    app = Starlette(routes=[Route("/bare", bare)])
    guard_routes(app, Enforcer(core, head).enforce)
    guard_routes(app, Enforcer(core, head).enforce)
    seat = As(app)
    ran.clear()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(seat), base_url="https://a.localhost") as http:
        for caller in (NOBODY, stepped(OPERATOR)):
            seat.caller = caller
            assert (await http.get("/bare")).status_code == 403
    assert ran == []
    assert permission_of(app.routes[0]) is None


async def test_a_mounted_app_is_guarded_as_one(core: Core, head: PolicyHead, tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("x")
    files = StaticFiles(directory=tmp_path)
    app = Starlette(routes=[Mount("/static", files)])
    wrap_route(app.routes[0], Permission("authenticated"), Enforcer(core, head).enforce)
    seat = As(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(seat), base_url="https://a.localhost") as http:
        assert (await http.get("/static/a.txt")).status_code == 401
        seat.caller = CUSTOMER
        assert (await http.get("/static/a.txt")).text == "x"
