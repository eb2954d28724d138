"""What the benchmark of a guarded read serves and asks: orders, their owners, the apps on both sides."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from starlette.requests import Request

PEOPLE, ORDERS = 16, 16_384  # a browser opens several connections
HOST, AGENT, ADDRESS = "bench.localhost:8443", "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0", "127.0.0.1"
SETTINGS = f"""
[app]
name = "bench"
profile = "development"
base_url = "https://{HOST}"
[limits.rules.http-address]
amount = 10000000
per_seconds = 60
"""
PATH = "/api/orders/"
Orders = Mapping[str, Mapping[str, Any]]
Find = Callable[[str], Awaitable[Mapping[str, Any] | None]]

_METADATA = sa.MetaData()
TABLE = sa.Table(
    "bench_orders",
    _METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
)
_BY_ID = sa.select(TABLE).where(TABLE.c.id == sa.bindparam("id"))


def from_memory(orders: Orders) -> Find:
    """Return a look-up of orders in memory: nothing hides what the guard costs."""

    async def find(order_id: str) -> Mapping[str, Any] | None:
        return orders.get(order_id)

    return find


def from_rows(db: Any) -> Find:
    """Return a look-up of orders in the database, as an app's own read does it."""

    def read(tx: Any, order_id: str) -> Mapping[str, Any] | None:
        row = tx.execute(_BY_ID, {"id": order_id}).mappings().first()
        if row is None:
            return None
        money = {"amount": row["amount"], "currency": row["currency"]}
        return {key: row[key] for key in ("id", "state", "number", "note")} | {"total": money}

    async def find(order_id: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = await db.read(lambda tx: read(tx, order_id))
        return found

    return find


def route(find: Find, declare: Callable[[Any], Any]) -> Any:
    """Return a FastAPI app with the one route that both sides measure; an order that the guard loaded is not loaded twice."""
    from fastapi import FastAPI, HTTPException

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get(PATH + "{order_id}")
    @declare
    async def read(order_id: str, request: Request) -> dict[str, Any]:
        order = request.scope.get("bench.order") or await find(order_id)
        if order is None:
            raise HTTPException(404)
        return dict(order)

    return app


def bare(home: Path, orders: Orders) -> Any:
    """Return the route as FastAPI has it."""
    return route(from_memory(orders), lambda endpoint: endpoint)


def bare_row(home: Path, orders: Orders) -> Any:
    """Return the route as FastAPI has it, over the database."""
    from redoubt.core.db import Database

    return route(from_rows(Database((home / "url").read_text())), lambda endpoint: endpoint)


def plain(_home: Path, orders: Orders) -> Any:
    """Return an ASGI app that gives the same answers without a framework."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = json.dumps(orders[scope["path"][len(PATH) :]], separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def guarded(home: Path, orders: Orders) -> Any:
    """Return the route behind the guard."""
    return _guarded(home, guard_of(home), from_memory(orders))


def guarded_row(home: Path, orders: Orders) -> Any:
    """Return the route behind the guard, over the database."""
    guard = guard_of(home)
    return _guarded(home, guard, from_rows(guard.core.db))


def _guarded(home: Path, guard: Any, find: Find) -> Any:
    from redoubt.authz import Entity, permit, user_uid
    from redoubt.core.db import use
    from redoubt.runtime.plan import AppPlan

    owners = json.loads((home / "owners.json").read_text())

    async def load(request: Any) -> Entity | None:
        order = await find(request.path_params["order_id"])
        if order is None:
            return None
        request.scope["bench.order"] = order
        attrs = {"tenant": "main", "owner": user_uid(owners[order["id"]]), "state": order["state"]}
        return Entity("Order", order["id"], attrs)

    app = route(find, permit("Order.read", resource=load))
    guard.bind(app, plan=AppPlan(grants={"app": (use(TABLE),)}))
    guard.core.db.restrict(guard.access("app"))  # as a process that is started has it
    return app


APPS = {"guarded": guarded, "guarded-row": guarded_row, "bare": bare, "bare-row": bare_row, "plain": plain}


def guard_of(home: Path) -> Any:
    """Return the guard over what `home` holds, with everything as in production."""
    from redoubt.core.base import Core
    from redoubt.core.clock import SystemClock
    from redoubt.core.db import Database
    from redoubt.core.ids import SystemIds
    from redoubt.core.keys import Keyring
    from redoubt.core.redact import Redactor
    from redoubt.core.secrets import Secret
    from redoubt.core.settings import Settings
    from redoubt.runtime import Redoubt

    (home / "redoubt.toml").write_text(SETTINGS)
    path, master, clock = home / "keyring", Secret(b"k" * 32), SystemClock()
    keys = Keyring.open(path, master) if path.exists() else Keyring.create(path, master)
    db = Database((home / "url").read_text())
    core = Core(
        settings=Settings.load(home, {}), db=db, clock=clock, ids=SystemIds(clock), keys=keys,
        redactor=Redactor(keys.mac("redact")),
    )  # fmt: skip
    return Redoubt(core)


def make_orders() -> dict[str, dict[str, Any]]:
    """Return the orders that all apps show."""
    from redoubt.core.clock import SystemClock
    from redoubt.core.ids import SystemIds

    ids = SystemIds(SystemClock())
    orders = [
        {
            "id": ids.uuid7(), "state": "paid", "number": number, "note": "Leave it with the neighbours.",
            "total": {"amount": 1990 + number, "currency": "EUR"},
        }
        for number in range(ORDERS)
    ]  # fmt: skip
    return {str(order["id"]): order for order in orders}


def prepare(home: Path, url: str, orders: Orders) -> None:
    """Make tables, policies and people with sessions; each order belongs to one of them."""
    from tests.authz.model import source

    from redoubt.authz import public
    from redoubt.authz.policyset import parse
    from redoubt.authz.versions import genesis
    from redoubt.core.db import migrate
    from redoubt.identity import cookies

    home.mkdir()
    (home / "url").write_text(url)
    guard = guard_of(home)
    core = guard.core
    migrate(core.db, guard.domains)
    _METADATA.create_all(core.db.write_engine)
    core.db.write_sync(lambda tx: tx.execute(sa.insert(TABLE), [_row(order) for order in orders.values()]))
    core.db.write_sync(lambda tx: genesis(tx, core, parse(source())))
    guard.bind(route(from_memory({}), public()))
    identity = guard.services.identity

    def join(tx: Any, number: int) -> tuple[str, str]:
        pre = cookies.new_pre(core.ids, identity.pre_mac)
        handle = core.ids.random_bytes(16)
        user = identity.users.create(tx, f"p{number}@example.com", handle, "customer", "bench")
        opened = identity.sessions.open(tx, user, identity.browser(pre, ADDRESS, AGENT), ("hwk", "user"))
        return user, f"{cookies.PRE}={pre}; {cookies.SESSION}={opened.token}"

    people = core.db.write_sync(lambda tx: [join(tx, number) for number in range(PEOPLE)])
    owners = {order: people[number % PEOPLE] for number, order in enumerate(orders)}
    asked = [(order, cookie) for order, (_, cookie) in owners.items()]
    core.db.close()
    (home / "orders.json").write_text(json.dumps(orders))
    (home / "owners.json").write_text(json.dumps({order: user for order, (user, _) in owners.items()}))
    (home / "asked.json").write_text(json.dumps(asked))
    (home / "asked.lua").write_text(_LUA.format(requests=",\n".join(map(json.dumps, requests(asked)))))


def _row(order: Mapping[str, Any]) -> dict[str, Any]:
    return {key: order[key] for key in ("id", "state", "number", "note")} | dict(order["total"])


_LUA = """
local requests = {{ {requests} }}
local at = math.random(#requests)
request = function()
  at = at % #requests + 1
  return requests[at]
end
"""


def requests(asked: Sequence[Sequence[str]]) -> list[str]:
    """Return what each side is sent: an order's address and its owner's cookies."""
    head = f"Host: {HOST}\r\nUser-Agent: {AGENT}\r\nAccept: application/json\r\nAccept-Language: en-GB,en;q=0.8\r\n"
    return [f"GET {PATH}{order} HTTP/1.1\r\n{head}Cookie: {cookie}\r\n\r\n" for order, cookie in asked]
