"""Every request is declared to group commit until it has its answer, however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

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


async def test_a_request_is_underway_until_its_answer_begins(world: World) -> None:
    group, seen = world.core.db.group, []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        seen.append(group.underway)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        seen.append(group.underway)  # an answer that streams holds back nobody
        await send({"type": "http.response.body", "body": b""})

    async def send(_message: Any) -> None:
        pass

    await GuardMiddleware(app, world.guard)(scope(world), gone, send)
    assert seen == [1, 0]
    assert group.underway == 0


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
