"""The route answers in few statuses, and every refusal has the same body."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from redoubt.core.errors import RedoubtError
from redoubt.webhooks.routes import routes

from .conftest import by_github, by_stripe, count, payload, standard


@pytest.fixture
async def client(hooks):
    transport = httpx.ASGITransport(Starlette(routes=routes(hooks)))
    async with httpx.AsyncClient(transport=transport, base_url="https://test.localhost") as client:
        yield client


async def test_accepted_then_duplicate(client, core):
    body = payload()
    for headers, name in (
        (standard(body, core.clock.now()), "partner"),
        (by_stripe(body, core.clock.now()), "stripe"),
        (by_github(body), "github"),
    ):
        for answer in ("accepted", "duplicate"):
            response = await client.post(f"/webhooks/{name}", content=body, headers=headers)
            assert (response.status_code, response.json()) == (200, {"status": answer})
    assert count(core, "webhook_inbox") == 3


async def test_every_refusal_has_its_status_and_one_and_the_same_body(client, core):
    body, at = payload(), core.clock.now()
    good = standard(body, at)
    await client.post("/webhooks/partner", content=body, headers=good)
    other = payload(2)
    cases = [
        (401, body, []),
        (401, body, good[:2]),
        (401, body + b" ", good),
        (401, body, standard(body, at, secret="whsec_" + "d3Jvbmch" * 4)),
        (401, body, by_stripe(body, at)),
        (401, body, [*good, good[2]]),
        (401, b"", good),
        (401, b"not json", good),
        (403, body, standard(body, at - timedelta(minutes=6))),
        (403, body, standard(body, at + timedelta(minutes=6))),
        (409, other, standard(other, at)),
        (413, b"x" * 300_000, good),
    ]
    bodies = set()
    for status, content, headers in cases:
        response = await client.post("/webhooks/partner", content=content, headers=headers)
        assert response.status_code == status, (status, headers)
        bodies.add((response.content, response.headers["content-type"], frozenset(response.headers.keys())))
    response = await client.post("/webhooks/nobody", content=body, headers=good)
    assert response.status_code == 404
    bodies.add((response.content, response.headers["content-type"], frozenset(response.headers.keys())))
    assert len(bodies) == 1
    assert count(core, "webhook_inbox") == 1


async def test_only_posts_are_taken(client):
    assert (await client.get("/webhooks/partner")).status_code == 405


async def test_a_body_without_a_length_is_cut_off_at_the_cap(client, core):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 10_000_000:
            sent += 4096
            yield b"x" * 4096

    response = await client.post("/webhooks/github", content=endless(), headers=by_github(b"x"))
    assert response.status_code == 413


async def test_reading_stops_at_the_cap(hooks):
    """The receive channel is not drained: a stranger cannot make us read more than the cap."""
    reads = 0

    async def receive():
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b"x" * 2048, "more_body": True}

    statuses = []

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http", "method": "POST", "path": "/webhooks/github", "headers": [], "query_string": b"",
        "http_version": "1.1", "scheme": "https", "root_path": "", "server": ("test", 443),
    }  # fmt: skip
    await asyncio.wait_for(Starlette(routes=routes(hooks))(scope, receive, send), 5)
    assert statuses == [413]
    assert reads == 3  # the endpoint takes 4096 bytes


async def test_without_its_store_the_route_accepts_nothing(client, core):
    body = payload()
    core.db.write_sync(lambda tx: tx.execute(sa.text("ALTER TABLE webhook_inbox RENAME TO moved")))
    if core.db.dialect == "sqlite":
        response = await client.post(
            "/webhooks/partner", content=body, headers=standard(body, core.clock.now())
        )
        assert response.status_code == 503
        assert response.headers["retry-after"]
    else:
        with pytest.raises(sa.exc.ProgrammingError):
            await client.post("/webhooks/partner", content=body, headers=standard(body, core.clock.now()))
    core.db.write_sync(lambda tx: tx.execute(sa.text("ALTER TABLE moved RENAME TO webhook_inbox")))
    response = await client.post("/webhooks/partner", content=body, headers=standard(body, core.clock.now()))
    assert response.json() == {"status": "accepted"}


async def test_a_killed_switch_stops_the_door(hooks, core):
    class Killed(RedoubtError):
        code = "killed"

    class Board:
        def check(self, capability, tenant):
            if (capability, tenant) == ("webhooks.in", "main"):
                raise Killed("killed")

    body = payload()
    transport = httpx.ASGITransport(Starlette(routes=routes(hooks, Board())))
    async with httpx.AsyncClient(transport=transport, base_url="https://test.localhost") as client:
        response = await client.post(
            "/webhooks/partner", content=body, headers=standard(body, core.clock.now())
        )
    assert response.status_code == 503
    assert count(core, "webhook_inbox") == 0
