"""Mutual TLS for the charge service: the verified client certificate reaches the app, and certificates reload.

No ASGI server shows the app the client's certificate, so two hooks on uvicorn's protocol class hand it over in
`scope["extensions"]["tls"]`. They are uvicorn's internals: its version is pinned and the tests hold them.
"""

from __future__ import annotations

import hmac
import logging
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .errors import IdentityRefused

log = logging.getLogger("redoubt.charge")


@frozen
class TlsFiles:
    """Where the service's certificate, its key and the CA of its clients lie."""

    ca: Path
    cert: Path
    key: Path

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when one of the files is replaced."""
        return tuple(path.stat().st_mtime_ns ^ path.stat().st_ino for path in (self.ca, self.cert, self.key))


@frozen
class Peer:
    """The verified client certificate: its subject alternative names, and the moment it expires."""

    sans: tuple[str, ...]
    not_after: datetime

    @classmethod
    def from_certificate(cls, certificate: dict[str, Any] | None) -> Peer | None:
        """Read what `ssl.SSLObject.getpeercert` returns; None for no or an unreadable certificate."""
        if not certificate or "notAfter" not in certificate:
            return None
        seconds = ssl.cert_time_to_seconds(certificate["notAfter"])
        sans = tuple(
            str(value) for kind, value in certificate.get("subjectAltName", ()) if kind in ("URI", "DNS")
        )
        return cls(sans, datetime.fromtimestamp(seconds, UTC))

    @classmethod
    def from_scope(cls, scope: Any) -> Peer | None:
        """Return the peer that the protocol put into an ASGI scope."""
        peer = scope.get("extensions", {}).get("tls", {}).get("peer")
        return peer if isinstance(peer, Peer) else None


def check_peer(peer: Peer | None, allowed: Iterable[str], now: datetime) -> str:
    """Return the identity of `peer`; raises IdentityRefused unless it is listed and has not expired by `now`.

    The handshake checked the chain once; a connection may live longer than its certificate, so expiry is checked
    here for each request.
    """
    if peer is None:
        raise IdentityRefused("no client certificate.")
    if now >= peer.not_after:
        raise IdentityRefused("the client certificate has expired.")
    for identity in allowed:
        if any(hmac.compare_digest(identity.encode(), san.encode()) for san in peer.sans):
            return identity
    raise IdentityRefused("the client certificate names no listed identity.")


class IdentityProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that adds `extensions.tls.peer` to each request's scope."""

    _peer: Peer | None = None

    def connection_made(self, transport: Any) -> None:
        """Read the verified certificate once a connection."""
        super().connection_made(transport)
        ssl_object = transport.get_extra_info("ssl_object")
        self._peer = Peer.from_certificate(ssl_object.getpeercert() if ssl_object is not None else None)

    def on_message_begin(self) -> None:
        """Put it into the scope of every request of that connection."""
        super().on_message_begin()
        extensions = self.scope.setdefault("extensions", {})
        assert extensions is not None
        extensions["tls"] = {"peer": self._peer}

    def end(self) -> None:
        """Take no further request on this connection."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()  # an orderly close would wait for the peer, and hear it meanwhile
        else:
            self.cycle.keep_alive = False


class LiveContext:
    """A TLS context for the listener whose certificates can be replaced while it listens."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = files.stamp()
        self._live = _context(files)
        self.front = _context(files)
        self.front.sni_callback = self._swap

    def _swap(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._live

    def reload(self) -> bool:
        """Load the files again if they changed; a set that cannot be used is reported and the old one stays.

        Returns True when new ones are live: then close the open connections, or they outlive the old CA.
        """
        try:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return False
            self._live = _context(self._files)
        except (OSError, ssl.SSLError) as error:
            log.error("new certificates cannot be used, the old ones stay: %s", type(error).__name__)
            return False
        self._stamp = stamp
        return True


def close_connections(connections: Iterable[Any]) -> None:
    """End every open connection: an idle one at once, a busy one after the answer that is under way."""
    for connection in list(connections):
        if isinstance(connection, IdentityProtocol):
            connection.end()


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a resumed session would skip the certificate check
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(files.ca)
    return context
