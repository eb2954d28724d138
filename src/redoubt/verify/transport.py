"""How attacks reach the app: from an address of their own, to loopback names without a resolver, over checked TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that checks certificates against `ca_file`, or against the system's authorities."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def is_loopback(host: str) -> bool:
    """Say whether a host name or address stays on this machine (RFC 6761, section 6.3; RFC 1122, section 3.2.1.3)."""
    host = host.rstrip(".").lower().strip("[]")
    if host == "localhost" or host.endswith(".localhost") or host == "::1":
        return True
    parts = host.split(".")
    return (
        len(parts) == 4
        and parts[0] == "127"
        and all(p.isascii() and p.isdigit() and int(p) < 256 for p in parts)
    )


class Transport(httpx.BaseTransport):
    """One connection pool that sends from `source`; names under `.localhost` are this machine.

    With `port` it connects there, whatever port the address names: a second replica has another port and the same name.
    """

    def __init__(self, source: str, context: ssl.SSLContext, *, port: int | None = None) -> None:
        self._port = port
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=1.0)
        self._inner = httpx.HTTPTransport(
            verify=context, local_address=source, limits=limits, trust_env=False, http2=False
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; its Host header and the name that TLS checks stay what the address said."""
        host = request.url.host
        if host == "localhost" or host.endswith(".localhost"):
            inner = httpx.Request(
                request.method,
                request.url.copy_with(host="127.0.0.1", port=self._port or request.url.port),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            return self._inner.handle_request(inner)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close every connection."""
        self._inner.close()
