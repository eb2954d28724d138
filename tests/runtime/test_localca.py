"""The local authority: certificates that real TLS accepts, private keys for the owner only."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from redoubt.core.clock import ManualClock, SystemClock
from redoubt.runtime.localca import LocalCa


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bytes:
    """Shake hands over a socket pair and return what the server says after it."""
    ours, theirs = socket.socketpair()
    failures: list[Exception] = []

    def serve() -> None:
        try:
            with server.wrap_socket(ours, server_side=True) as secure:
                secure.sendall(b"hello")
        except (ssl.SSLError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(theirs, server_hostname=name) as secure:
            return secure.recv(5)
    finally:
        theirs.close()
        thread.join()
        ours.close()


def contexts(tmp_path: Path, *, client_identity: str | None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ca = LocalCa(tmp_path / "tls", SystemClock())
    leaf = ca.issue("shop", ["shop.localhost"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(leaf.certificate, leaf.key)
    server.load_verify_locations(ca.certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(ca.certificate))
    if client_identity:
        own = ca.issue("client", [client_identity], client=True)
        client.load_cert_chain(own.certificate, own.key)
    return server, client


def test_server_and_client_know_each_other(tmp_path: Path) -> None:
    server, client = contexts(tmp_path, client_identity="spiffe://redoubt/app")
    assert handshake(server, client, "shop.localhost") == b"hello"


def test_another_name_is_refused(tmp_path: Path) -> None:
    server, client = contexts(tmp_path, client_identity="spiffe://redoubt/app")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client, "other.localhost")


def test_a_client_without_a_certificate_reads_nothing(tmp_path: Path) -> None:
    server, client = contexts(tmp_path, client_identity=None)
    with pytest.raises((ssl.SSLError, OSError)):  # under TLS 1.3 the refusal comes with the first read
        assert handshake(server, client, "shop.localhost") == b"hello"


def test_private_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    ca = LocalCa(tmp_path / "tls", SystemClock())
    ca.issue("shop", ["shop.localhost"])
    assert {path.name for path in (tmp_path / "tls").glob("*.key")} == {"ca.key", "shop.key"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "tls").iterdir())


def test_a_certificate_is_kept_while_it_is_good_and_renewed_before_it_ends(tmp_path: Path) -> None:
    clock = ManualClock()
    ca = LocalCa(tmp_path / "tls", clock)
    first = ca.issue("shop", ["shop.localhost"]).certificate.read_bytes()
    clock.advance(timedelta(days=10))
    assert ca.issue("shop", ["shop.localhost"]).certificate.read_bytes() == first
    clock.advance(timedelta(days=15))
    assert ca.issue("shop", ["shop.localhost"]).certificate.read_bytes() != first
