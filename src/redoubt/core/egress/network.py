"""The network under the HTTP client: resolve once, check every address, connect to what was checked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from socket import SOCK_STREAM, gaierror
from typing import Protocol

import certifi
import httpcore
from attrs import frozen
from httpcore import AsyncNetworkStream

from .errors import EgressRefused, EgressUnreachable
from .policy import EgressPolicy

_MAX_ADDRESSES = 16
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Resolver(Protocol):
    """Turns names into addresses."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return every address of `host` as text; raises OSError when there is none."""
        ...


class Connector(Protocol):
    """Opens TCP connections to addresses, never to names."""

    async def connect(self, address: str, port: int, timeout: float | None) -> AsyncNetworkStream:
        """Return a connected stream; raises httpcore's ConnectError or ConnectTimeout."""
        ...


class SystemResolver:
    """The machine's own resolver."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses that getaddrinfo gives, in its order."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
        return list(dict.fromkeys(str(info[4][0]) for info in found))


class SystemConnector:
    """Plain TCP."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect(self, address: str, port: int, timeout: float | None) -> AsyncNetworkStream:
        """Return a connection to `address`."""
        return await self._backend.connect_tcp(address, port, timeout=timeout)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """httpcore's door to the network, under a policy; the one place where a name becomes a connection.

    TLS above it still sees the original name, so SNI and certificate check are untouched, and a pooled connection
    stays with the address that was checked.
    """

    def __init__(self, policy: EgressPolicy, resolver: Resolver, connector: Connector) -> None:
        self._policy = policy
        self._resolver = resolver
        self._connector = connector

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> AsyncNetworkStream:
        """Return a connection to a validated address of `host`; raises EgressRefused or EgressUnreachable."""
        host = host.strip("[]")
        self._policy.check_target(host, port)
        addresses = await self._addresses(host, port)
        for address in addresses:
            self._policy.check_address(host, port, address)
        for address in addresses:
            try:
                stream = await self._connector.connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout, OSError):
                continue
            await self._check_peer(stream, host, port, address)
            return stream
        raise EgressUnreachable(f"{host}:{port} took no connection at any of its addresses.")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[_SocketOption] | None = None
    ) -> AsyncNetworkStream:
        """Refuse: nothing that leaves the machine does so through a local socket."""
        raise EgressRefused("unix-socket", "Local sockets are not called.")

    async def sleep(self, seconds: float) -> None:
        """Wait; httpcore asks for it between its own tries."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        if host == "localhost" or host.endswith(
            ".localhost"
        ):  # RFC 6761, section 6.3; not every resolver knows it
            return ["127.0.0.1"]
        try:
            found = list(await self._resolver.resolve(host, port))
        except (gaierror, OSError, UnicodeError):
            raise EgressUnreachable(f"{host} does not resolve.") from None
        if not found:
            raise EgressUnreachable(f"{host} does not resolve.")
        if len(found) > _MAX_ADDRESSES:
            raise EgressRefused("too-many-addresses", f"{host} has more than {_MAX_ADDRESSES} addresses.")
        return found

    async def _check_peer(self, stream: AsyncNetworkStream, host: str, port: int, address: str) -> None:
        # What the kernel says we are connected to, against what was checked: a proxy or a redirecting firewall rule
        # in between must not go unnoticed.
        try:
            peer = stream.get_extra_info("socket").getpeername()
            same = ip_address(str(peer[0])) == ip_address(address) and peer[1] == port
        except (AttributeError, IndexError, OSError, TypeError, ValueError):
            same = False
        if not same:
            await stream.aclose()
            raise EgressRefused("peer", f"{host}:{port} is connected to another address than was checked.")


@frozen
class EgressTls:
    """How TLS is spoken: the public roots, or only `ca_file`; with a client certificate where one is asked for."""

    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a fresh client context: TLS 1.2 or later, certificate and name checked, nothing from the environment."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cafile=str(self.ca_file or certifi.where()))
        if self.client_cert is not None:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context
