"""The charge service's process: uvicorn behind mutual TLS, the resolver, the audit sequencer, the certificate watch."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import uvicorn
from sqlalchemy.engine import make_url

from redoubt.audit import DOMAIN as AUDIT
from redoubt.audit.sequencer import Sequencer
from redoubt.core.base import Core
from redoubt.core.db import Access, Database, access_of, migrate, roles
from redoubt.core.db.used import keep_used, used_file
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.core.settings import Settings

from . import DOMAIN as CHARGE
from .asgi import make_app
from .config import config_from, open_egress, open_provider, tls_files
from .service import ChargeService
from .tls import IdentityProtocol, LiveContext, close_connections

log = logging.getLogger("redoubt.charge")

_CERTIFICATES_EVERY = 1.0


class ChargeServer:
    """A running charge service; `serve` returns when `stop` is called or a part of it fails."""

    def __init__(self, core: Core, service: ChargeService, live: LiveContext, host: str, port: int) -> None:
        self._core, self._service, self._live = core, service, live
        self._host, self._port = host, port
        self._stop = asyncio.Event()
        config = uvicorn.Config(
            make_app(service),
            http=IdentityProtocol,
            ssl_context_factory=lambda _config, _default: live.front,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=500,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=16 * 1024,
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = _no_signals  # type: ignore[method-assign]

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()
        self._service.closing.set()
        self._server.should_exit = True

    def reload_certificates(self) -> bool:
        """Load new certificate files if there are any; open connections end, so that none outlives the old CA."""
        if not self._live.reload():
            return False
        close_connections(self._server.server_state.connections)
        return True

    async def serve(self, listener: socket.socket | None = None) -> None:
        """Serve until stopped."""
        own = listener or _listen(self._host, self._port)
        tasks = [
            asyncio.create_task(self._server.serve(sockets=[own]), name="http"),
            asyncio.create_task(self._service.resolver.run(self._stop), name="resolver"),
            asyncio.create_task(self._sequencer().run(self._stop), name="audit"),
            asyncio.create_task(self._watch_certificates(), name="certificates"),
        ]
        settings = self._core.settings
        if settings.development:
            kept = used_file(settings.state_dir, "charge")
            tasks.append(asyncio.create_task(keep_used(self._core.db, kept), name="used"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.stop()
            for task in tasks:
                if task.get_name() == "used":
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            own.close()

    def _sequencer(self) -> Sequencer:
        """Its own log, under its own name, in its own folder: it is not the app's."""
        settings = self._core.settings
        return Sequencer(
            self._core, origin=f"{settings.app.name}-charge", directory=settings.checkpoint_dir / "charge"
        )

    async def _watch_certificates(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _CERTIFICATES_EVERY)
            if self.reload_certificates():
                log.info("new certificates are live")


def prepare(settings: Settings) -> None:
    """Migrate the charge database as its owner, and grant the service's own role what the service does.

    In development the role is made, too. Raises MigrationError.
    """
    db = Database(settings.charge_database_url().reveal())
    try:
        migrate(db, [CORE, AUDIT, CHARGE])
        if settings.charge.service is not None:
            own = make_url(settings.charge_database_url("charge").reveal())
            if settings.development and own.password:
                roles.ensure_role(db, own.username or "", str(own.password))
            roles.grant(db, service_access(), own.username or "")
    finally:
        db.close()


def service_access() -> Access:
    """Return what the charge service may do in its database."""
    return access_of([AUDIT, CHARGE], "charge")


def open_server(core: Core) -> ChargeServer:
    """Return the server that the settings describe, over a database that is prepared, held to what the service does.

    Raises MigrationError in production where the service's role may do more than that.
    """
    settings = core.settings
    core.db.restrict(service_access())
    roles.demand_bounded(core.db, strictly=not settings.development)
    service = ChargeService(core, config_from(settings), open_provider(core, open_egress(settings)))
    parts = urlsplit(settings.charge.address)
    host = parts.hostname or "127.0.0.1"
    # A development name such as charge.localhost is the loopback address (RFC 6761, section 6.3).
    bind = "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host
    return ChargeServer(core, service, LiveContext(tls_files(settings)), bind, parts.port or 443)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1024)
    listener.setblocking(False)
    return listener


@contextmanager
def _no_signals() -> Iterator[None]:
    """Leave signals to whoever started the server."""
    yield
