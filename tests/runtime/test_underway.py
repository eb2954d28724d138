"""Every request is declared to group commit until it has its answer, however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from redoubt.audit import Event
from redoubt.audit.noise import Noise
from redoubt.authz import Entity, collection_entity, guard_routes, permit
from redoubt.runtime.middleware import GuardMiddleware
from tests.console.world import World


def scope(world: World, method: str = "GET", **headers: str) -> dict[str, Any]:
    named = {"host": world.origin.removeprefix("https://"), **headers}
    return {
        "type": "http", "method": method, "path": "/", "raw_path": b"/", "query_string": b"", "scheme": "https",
        "client": ("127.0.0.1", 4711), "server": ("127.0.0.1", 8443), "state": {},
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }  # fmt: skip


async def gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def test_a_request_is_underway_until_it_is_decided_about(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, seen = world.core.db.group, []
    someone = await world.person("customer")
    record = Noise.record

    async def watched(noise: Noise, event: Event) -> str | None:
        seen.append(("its decision is recorded", group.underway))
        return await record(noise, event)

    async def every(_request: Any) -> Entity:
        return collection_entity("Payment", "main")

    async def endpoint(request: Request) -> Response:
        seen.append(("its handler runs", group.underway))  # who takes their time holds back nobody
        return Response()

    world.app.add_route("/lists", permit("Payment.list", resource=every)(endpoint))
    guard_routes(world.app, world.guard._enforce, caller_of=world.guard._caller)
    monkeypatch.setattr(Noise, "record", watched)
    assert (await someone.get("/lists")).status_code == 200
    assert seen == [("its decision is recorded", 1), ("its handler runs", 0)]


@pytest.mark.parametrize("error", [RuntimeError("a fault"), asyncio.CancelledError()])
async def test_a_request_that_fails_is_underway_no_longer(world: World, error: BaseException) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise error

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    guarded = GuardMiddleware(app, world.guard)
    if isinstance(error, asyncio.CancelledError):
        with pytest.raises(asyncio.CancelledError):
            await guarded(scope(world), gone, send)
    else:
        await guarded(scope(world), gone, send)
        assert sent[0]["status"] == 500
    assert world.core.db.group.underway == 0


async def test_a_client_that_went_away_is_underway_no_longer(world: World) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError("not reached")

    async def send(_message: Any) -> None:
        raise AssertionError("nobody is there")

    unfinished = scope(world, "POST", **{"content-length": "5"})
    await GuardMiddleware(app, world.guard)(unfinished, gone, send)
    assert world.core.db.group.underway == 0


async def test_a_refused_request_is_underway_no_longer(world: World) -> None:
    stranger = world.browser()
    assert (await stranger.get("/console")).status_code == 401
    assert world.core.db.group.underway == 0
