"""Mutual TLS: only a live certificate of a listed identity is heard, for every request, and certificates reload."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from redoubt.audit import DOMAIN as AUDIT
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, migrate
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.payments import ChargeClient
from redoubt.payments.charge import DOMAIN as CHARGE
from redoubt.payments.charge.errors import IdentityRefused
from redoubt.payments.charge.process import ChargeServer
from redoubt.payments.charge.tls import LiveContext, Peer, TlsFiles, check_peer
from redoubt.payments.errors import ChargeRefused, ChargeUnavailable, CommandConflict
from redoubt.payments.models import OutboxCommand
from redoubt.runtime.localca import Certificate, LocalCa
from tests.payments.support import Account, Charge, pay, sign
from tests.support.core import make_core

APP, OTHER = "spiffe://redoubt/app", "spiffe://redoubt/other"


class Service:
    """A charge service behind mutual TLS on a port of its own, and certificates for its callers."""

    def __init__(self, folder: Path, charge: Charge, clock: ManualClock) -> None:
        self.folder, self.charge, self.clock = folder, charge, clock
        self.ca = LocalCa(folder / "tls", clock)
        server = self.ca.issue("charge", ["charge.localhost", "127.0.0.1"])
        self.app = self.ca.issue("client-app", [APP], client=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.url = f"https://charge.localhost:{self.port}"
        self.files = TlsFiles(self.ca.certificate, server.certificate, server.key)
        self.server = ChargeServer(
            charge.core, charge.open(), LiveContext(self.files), "127.0.0.1", self.port
        )
        self.task = asyncio.create_task(self.server.serve(self.listener))

    def context(self, certificate: Certificate | None, ca: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(ca or self.ca.certificate))
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        return context

    def http(self, certificate: Certificate | None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self.context(certificate), trust_env=False, base_url=f"https://127.0.0.1:{self.port}"
        )

    async def get(self, certificate: Certificate | None) -> int:
        async with self.http(certificate) as client:
            return (await client.get("/v1/events")).status_code

    def client(self) -> ChargeClient:
        return ChargeClient(self.url, ca=self.ca.certificate, cert=self.app.certificate, key=self.app.key)

    def denied(self) -> int:
        count = sa.text("SELECT COUNT(*) FROM audit_entries WHERE action = 'charge.identity'")
        return int(self.charge.core.db.read_sync(lambda tx: tx.execute(count).scalar_one()))


@pytest.fixture
async def running(tmp_path: Path, account: Account) -> AsyncIterator[Service]:
    db = Database(f"sqlite:///{tmp_path / 'charge.db'}")
    migrate(db, [CORE, AUDIT, CHARGE])
    clock = ManualClock(datetime.now(UTC))
    service = Service(tmp_path, Charge(make_core(db, clock, tmp_path / "home"), account), clock)
    await asyncio.sleep(0.05)
    yield service
    service.server.stop()
    await service.task
    db.close()


def command(amount: int = 5000) -> OutboxCommand:
    made = pay(amount=amount)
    return OutboxCommand(
        made.id, made.tenant, made.kind, made.body, "", "pending", None, datetime.now(UTC), None
    )


async def test_a_listed_identity_is_served(running: Service, account: Account) -> None:
    client = running.client()
    assert (await client.command(command()))["intent"]["state"] == "succeeded"
    with pytest.raises(CommandConflict):
        await client.command(command(1))
    event = account.events()[0]
    raw, headers = sign(event, running.clock.now().timestamp())
    assert await client.provider_event(raw, {**headers, "cookie": "secret"}) == "applied"
    with pytest.raises(ChargeRefused):
        await client.provider_event(raw + b" ", headers)
    assert [change["op"] for change in await client.changes(0)] == ["pay-1"]
    assert await running.get(running.app) == 200
    await client.aclose()
    assert account.charged() == 5000


async def test_a_service_that_stops_keeps_no_reader_waiting(running: Service) -> None:
    client = running.client()
    waiting = asyncio.ensure_future(client.changes(0, 5))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    running.server.stop()  # its clock stands still: nothing else ends the wait
    assert await waiting == []
    await client.aclose()


async def test_no_certificate_a_wrong_authority_and_an_expired_one_are_not_let_in(running: Service) -> None:
    stranger = LocalCa(running.folder / "other-ca", running.clock).issue("client-app", [APP], client=True)
    old = running.ca.issue("old", [APP], client=True, now=running.clock.now() - timedelta(days=60))
    server_only = running.ca.issue("server-only", [APP])
    for certificate in (None, stranger, old, server_only):
        with pytest.raises(httpx.TransportError):
            await running.get(certificate)
    assert await running.get(running.app) == 200


async def test_the_right_authority_with_the_wrong_identity_is_refused_and_noted(running: Service) -> None:
    for name in (OTHER, APP + "/more", "spiffe://redoubt/ap", "app.localhost"):
        certificate = running.ca.issue(f"c{abs(hash(name))}", [name], client=True)
        assert await running.get(certificate) == 403
    assert running.denied() == 4
    assert await running.get(running.app) == 200


async def test_a_certificate_that_expires_on_an_open_connection_is_refused(running: Service) -> None:
    async with running.http(running.app) as client:
        assert (await client.get("/v1/events")).status_code == 200
        running.clock.advance(timedelta(days=31))
        assert (await client.get("/v1/events")).status_code == 403


async def test_certificates_reload_and_end_open_connections(running: Service) -> None:
    old_app = Certificate(running.folder / "old.pem", running.folder / "old.key")
    shutil.copy(running.app.certificate, old_app.certificate)
    shutil.copy(running.app.key, old_app.key)
    client = running.client()
    await client.changes(0)
    async with running.http(old_app) as kept:
        assert (await kept.get("/v1/events")).status_code == 200
        running.files.key.write_text("broken")
        assert not running.server.reload_certificates()  # what cannot be used is not taken up
        assert (await kept.get("/v1/events")).status_code == 200
        shutil.rmtree(running.folder / "tls")
        running.ca.issue("charge", ["charge.localhost", "127.0.0.1"])
        running.ca.issue("client-app", [APP], client=True)
        assert running.server.reload_certificates()
        with pytest.raises(httpx.TransportError):
            await kept.get("/v1/events")
    assert await running.get(running.app) == 200
    assert await client.changes(0) == []  # our own client takes its new certificate up by itself
    await client.aclose()


async def test_the_app_sees_an_absent_service_as_unavailable(running: Service) -> None:
    client = running.client()
    running.server.stop()
    await running.task
    with pytest.raises(ChargeUnavailable):
        await client.command(command())
    await client.aclose()


async def test_bounds_of_the_face(running: Service) -> None:
    async with running.http(running.app) as client:
        for body, status in (
            (b"{", 400),
            (b"[]", 400),
            (b"{}", 400),
            (b"x" * 70_000, 400),
            (b"[" * 60_000, 400),
        ):
            assert (await client.post("/v1/commands", content=body)).status_code == status
        assert (await client.get("/v1/events?after=-1")).status_code == 400
        assert (await client.get("/v1/events?after=9" + "9" * 30)).status_code == 400
        assert (await client.get("/v1/nothing")).status_code == 404
        answer = await client.post("/v1/provider-events", content=b"{}")
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_peer_needs_exactly_a_listed_name() -> None:
    later = datetime(2030, 1, 1, tzinfo=UTC)
    assert check_peer(Peer((APP,), later), [OTHER, APP], datetime(2029, 1, 1, tzinfo=UTC)) == APP
    for peer, now in (
        (None, later),
        (Peer((APP,), later), later),
        (Peer((), later), datetime(2029, 1, 1, tzinfo=UTC)),
    ):
        with pytest.raises(IdentityRefused):
            check_peer(peer, [APP], now)
    assert Peer.from_certificate({}) is None
