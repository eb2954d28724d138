"""A dependency and a middleware ask the same question as guarded routes do; what is not declared is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from redoubt.authz import faces, versions
from redoubt.authz.enforce import DECISION, RESOURCE, Enforcer, guard_routes, wrap_route
from redoubt.authz.errors import UnguardedRoutes
from redoubt.authz.faces import PermissionMiddleware, RouteRule, requires
from redoubt.authz.head import PolicyHead
from redoubt.authz.permits import Permission, check_routes, permission_of, permit
from redoubt.core.base import Core
from redoubt.core.problem import Problem, problem_response

from .model import policies
from .test_enforce import CUSTOMER, NOBODY, OPERATOR, SUPPORT, As, Client, load_order, ran


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """One database is enough here."""
    return f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'app.db')}"


@pytest.fixture
async def enforcer(core: Core) -> Enforcer:
    core.db.write_sync(lambda tx: versions.genesis(tx, core, policies()))
    head = PolicyHead(core)
    await head.refresh()
    return Enforcer(core, head)


def decided(core: Core) -> int:
    import sqlalchemy as sa

    from redoubt.audit.store import entries

    return core.db.read_sync(
        lambda tx: tx.execute(sa.select(sa.func.count()).select_from(entries)).scalar_one()
    )


def app_with(**how: Any) -> FastAPI:
    """An app whose routes declare by dependencies; `how` may hold an enforcer's method."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    judged = Depends(requires("Order.read", resource=load_order, **how))

    @app.get("/orders/{key}")
    async def read(key: str, request: Request, order: Any = judged) -> dict[str, str]:
        ran.append(key)
        return {"id": order.id, "by": request.scope[DECISION].reasons[0]}

    @app.get("/console", dependencies=[Depends(requires("Console.view", **how))])
    async def console() -> str:
        ran.append("console")
        return "console"

    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Problem) -> Response:
        return problem_response(problem, None)

    return app


def client(app: Any) -> Client:
    seat = As(app)
    return Client(
        httpx.AsyncClient(transport=httpx.ASGITransport(seat), base_url="https://a.localhost"), seat
    )


async def answers(one: Client) -> dict[str, tuple[int, list[str]]]:
    """Return status and handlers that ran, for a stranger's look at what each face guards."""
    found = {}
    for name, path, caller in (
        ("own", "/orders/mine", CUSTOMER), ("another's", "/orders/yours", CUSTOMER), ("missing", "/orders/none", CUSTOMER),
        ("nobody", "/orders/mine", NOBODY), ("support", "/orders/yours", SUPPORT), ("console", "/console", OPERATOR),
        ("no console", "/console", SUPPORT),
    ):  # fmt: skip
        answer = await one.ask("GET", path, caller)
        found[name] = (answer.status_code, list(ran))
    return found


EXPECTED = {
    "own": (200, ["mine"]), "another's": (404, []), "missing": (404, []), "nobody": (401, []), "support": (200, ["yours"]),
    "console": (200, ["console"]), "no console": (403, []),
}  # fmt: skip


async def test_a_dependency_asks_by_itself_and_gives_what_was_judged(core: Core, enforcer: Enforcer) -> None:
    one = client(app_with(enforce=enforcer.enforce))
    assert await answers(one) == EXPECTED
    answer = await one.ask("GET", "/orders/mine", CUSTOMER)
    assert answer.json() == {"id": "mine", "by": "Order.read:customer+own"}


async def test_in_a_guarded_app_a_dependency_declares_and_the_guard_asks_once(
    core: Core, enforcer: Enforcer
) -> None:
    app = app_with()
    check_routes(app, policies())
    assert guard_routes(app, enforcer.enforce) == 2
    before = decided(core)
    one = client(app)
    assert (await one.ask("GET", "/orders/mine", CUSTOMER)).json()["id"] == "mine"
    assert decided(core) == before + 1
    assert await answers(one) == EXPECTED


async def test_a_dependency_that_nobody_enforces_lets_nothing_through() -> None:
    one = client(app_with())
    assert {status for status, _ in (await answers(one)).values()} == {500}
    assert ran == []


async def test_what_another_permission_decided_does_not_count(core: Core, enforcer: Enforcer) -> None:
    app = app_with()
    for route in app.routes:
        wrap_route(route, Permission("public"), enforcer.enforce)
    answer = await client(app).ask("GET", "/orders/yours", CUSTOMER)
    assert (answer.status_code, ran) == (500, [])


def test_a_route_with_two_permissions_is_refused() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/both", dependencies=[Depends(requires("Console.view"))])
    @permit("Console.view")
    async def both() -> str:
        return ""

    with pytest.raises(UnguardedRoutes, match="two permissions"):
        permission_of(app.routes[0])


def routers(*, deeper: bool) -> FastAPI:
    """An app whose routes declare nothing: what their router was included with does."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    orders, console, outer = APIRouter(), APIRouter(), APIRouter()

    @orders.get("/{key}")
    async def read(key: str) -> dict[str, str]:
        ran.append(key)
        return {"id": key}

    @console.get("/console")
    async def view() -> str:
        ran.append("console")
        return "console"

    judged = [Depends(requires("Order.read", resource=load_order))]
    if deeper:
        outer.include_router(orders, dependencies=judged)
        app.include_router(outer, prefix="/orders")
    else:
        app.include_router(orders, prefix="/orders", dependencies=judged)
    app.include_router(console, dependencies=[Depends(requires("Console.view"))])
    return app


@pytest.mark.parametrize("deeper", [False, True])
async def test_what_a_router_is_included_with_declares_for_its_routes(
    core: Core, enforcer: Enforcer, deeper: bool
) -> None:
    app = routers(deeper=deeper)
    check_routes(app, policies())
    assert guard_routes(app, enforcer.enforce) == 2
    before = decided(core)
    one = client(app)
    assert (await one.ask("GET", "/orders/mine", CUSTOMER)).json()["id"] == "mine"
    assert decided(core) == before + 1
    assert await answers(one) == EXPECTED


def test_a_router_that_is_included_under_two_permissions_stops_the_start() -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()
    router.add_api_route("/x", lambda: "x")
    app.include_router(router, prefix="/a", dependencies=[Depends(requires("Console.view"))])
    app.include_router(router, prefix="/b", dependencies=[Depends(requires("Order.create"))])
    with pytest.raises(UnguardedRoutes, match="/b/x: is the route of /a/x included again"):
        check_routes(app, policies())


async def test_the_second_of_two_permissions_lets_nothing_through_that_the_first_decided(
    core: Core, enforcer: Enforcer
) -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()
    router.add_api_route("/x", lambda: ran.append("x"))
    app.include_router(router, prefix="/a", dependencies=[Depends(requires("Console.view"))])
    app.include_router(router, prefix="/b", dependencies=[Depends(requires("Order.create"))])
    app.add_exception_handler(Problem, lambda request, problem: problem_response(problem, None))  # type: ignore[arg-type]
    guard_routes(app, enforcer.enforce)  # without the check that stops the start
    one = client(app)
    assert (await one.ask("GET", "/a/x", OPERATOR)).status_code == 200
    ran.clear()
    assert (await one.ask("GET", "/b/x", OPERATOR)).status_code == 500
    assert ran == []


def plain() -> FastAPI:
    """An app that knows nothing of permissions."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/orders/{key}", name="order")
    async def read(key: str, request: Request) -> dict[str, str]:
        ran.append(key)
        return {"id": request.scope[RESOURCE].id, "url": str(request.url_for("order", key=key)), "key": key}

    @app.get("/console")
    async def console() -> str:
        ran.append("console")
        return "console"

    @app.api_route("/forgotten", methods=["GET", "POST"])
    async def forgotten() -> str:
        ran.append("forgotten")
        return "seen"

    @app.websocket("/ws")
    async def ws(socket: Any) -> None:
        ran.append("ws")

    return app


RULES = (
    RouteRule("/orders/{key}", Permission("action", "Order.read", load_order)),
    RouteRule("/console", Permission("action", "Console.view")),
)


async def test_a_table_guards_an_app_that_knows_nothing_of_it(enforcer: Enforcer) -> None:
    one = client(PermissionMiddleware(plain(), enforcer.enforce, RULES))
    assert await answers(one) == EXPECTED
    answer = await one.ask("GET", "/orders/mine", CUSTOMER)
    assert answer.json() == {"id": "mine", "key": "mine", "url": "https://a.localhost/orders/mine"}


async def test_what_no_rule_names_is_refused(enforcer: Enforcer) -> None:
    one = client(PermissionMiddleware(plain(), enforcer.enforce, RULES))
    for method, path, status in (
        ("GET", "/forgotten", 404), ("POST", "/forgotten", 404), ("GET", "/nothing", 404), ("POST", "/console", 405),
        ("GET", "/console/", 404), ("GET", "//console", 404), ("GET", "/orders/mine/x", 404), ("OPTIONS", "/console", 405),
    ):  # fmt: skip
        answer = await one.ask(method, path, OPERATOR)
        assert (answer.status_code, ran) == (status, []), path


async def test_a_websocket_is_closed_and_the_lifespan_goes_on(enforcer: Enforcer) -> None:
    seen, sent = [], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    guarded = PermissionMiddleware(app, enforcer.enforce, RULES)
    await guarded({"type": "websocket", "path": "/console", "headers": []}, receive, send)
    assert (seen, sent) == ([], ["websocket.close"])
    await guarded({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]


async def test_a_middleware_that_lets_through_what_it_does_not_know_is_seen(
    enforcer: Enforcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "wrap_route", lambda *_, **__: None)
    one = client(PermissionMiddleware(plain(), enforcer.enforce, RULES))
    one.http = httpx.AsyncClient(
        transport=httpx.ASGITransport(one.seat, raise_app_exceptions=False), base_url="https://a.localhost"
    )
    assert await answers(one) != EXPECTED
