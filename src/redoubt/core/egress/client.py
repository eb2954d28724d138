"""The client for every call that leaves a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Protocol, Self

import httpcore
import httpx
from attrs import frozen

from .errors import EgressBroken, EgressRefused, EgressTimeout, EgressTooLarge, EgressUnreachable
from .network import Connector, EgressTls, GuardedBackend, Resolver, SystemConnector, SystemResolver
from .policy import EgressPolicy, Target, parse_target

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


@frozen
class Decision:
    """One decision about one outgoing call, for the record."""

    purpose: str
    method: str
    target: str
    allowed: bool
    reason: str


class EgressObserver(Protocol):
    """Hears of every decision; when it raises before an allowed call, the call is not made."""

    async def decided(self, decision: Decision) -> None:
        """Take note of one decision."""
        ...


@frozen
class EgressResponse:
    """A whole answer; a redirect is an answer like any other."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Egress:
    """Calls what the policy allows, and nothing else; make one for each policy and event loop, and close it.

    Names are resolved once per connection, every address is checked, redirects are not followed, nothing is taken
    from the environment, compressed answers are refused, and size and time of the answer are capped.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        tls: EgressTls | None = None,
        resolver: Resolver | None = None,
        connector: Connector | None = None,
        observer: EgressObserver | None = None,
        max_bytes: int = 1024 * 1024,
        max_connections: int = 100,
    ) -> None:
        backend = GuardedBackend(policy, resolver or SystemResolver(), connector or SystemConnector())
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=(tls or EgressTls()).context(),
            max_connections=max_connections,
            max_keepalive_connections=20,
            keepalive_expiry=15.0,
            network_backend=backend,
        )
        self._policy = policy
        self._observer = observer
        self._max_bytes = max_bytes

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout: float = 10.0,
        purpose: str,
    ) -> EgressResponse:
        """Return the whole answer within `timeout` seconds; raises EgressError.

        EgressRefused and EgressUnreachable mean that nothing was sent; after the others the effect is unknown.
        """
        await self._admit(method, url, purpose)  # the text as it came, before any library has tidied it up
        try:
            async with (
                asyncio.timeout(timeout),
                httpx.AsyncClient(
                    transport=self.transport(purpose),
                    trust_env=False,
                    follow_redirects=False,
                    timeout=timeout,
                ) as client,
            ):
                response = await client.request(
                    method, url, headers={"User-Agent": "redoubt"} | dict(headers or {}), content=content
                )
        except httpx.InvalidURL:
            raise EgressRefused("url-unclear", "The URL does not parse.") from None
        except TimeoutError:
            raise EgressTimeout(
                f"No answer within {timeout:g} s.", hint="Look up whether it had an effect."
            ) from None
        return EgressResponse(response.status_code, dict(response.headers), response.content)

    def transport(self, purpose: str) -> httpx.AsyncBaseTransport:
        """Return a transport for an `httpx.AsyncClient` of somebody else's, such as an SDK, under the same policy.

        It shares this client's connections and does not close them. It raises EgressError itself.
        """
        return _GuardedTransport(self, purpose)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def send(self, request: httpx.Request, purpose: str) -> httpx.Response:
        """Send one request under the policy; for the transport."""
        target = await self._admit(
            request.method, str(request.url), purpose, request.headers.get_list("host")
        )
        await self._note(purpose, request.method, target.key, "allowed", allowed=True)
        try:
            answer = await self._pool.handle_async_request(_to_httpcore(request, target))
        except EgressRefused as error:
            await self._note(purpose, request.method, target.key, error.reason, allowed=False)
            raise
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
            raise EgressUnreachable(f"{target.key} took no connection ({type(error).__name__}).") from None
        except httpcore.TimeoutException:
            raise EgressTimeout(f"{target.key} did not answer in time.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise EgressBroken(f"{target.key} broke off ({type(error).__name__}).") from None
        return await self._capped(answer, request, target)

    async def _admit(self, method: str, url: str, purpose: str, hosts: list[str] | None = None) -> Target:
        try:
            target = self._policy.check(url)
            if method not in _METHODS:
                raise EgressRefused("method", "This method is not called.")
            if hosts is not None and hosts not in _spellings(target):
                raise EgressRefused("host-header", "The Host header must name the called host.")
        except EgressRefused as error:
            await self._note(purpose, method, _name(url), error.reason, allowed=False)
            raise
        return target

    async def _capped(
        self, answer: httpcore.Response, request: httpx.Request, target: Target
    ) -> httpx.Response:
        # The network stream stays inside: who holds it can write past the policy.
        response = httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Capped(answer, self._max_bytes, target.key),
            extensions={key: value for key, value in answer.extensions.items() if key != "network_stream"},
            request=request,
        )
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await answer.aclose()  # a small answer may unpack to any size
            raise EgressTooLarge(f"{target.key} answered compressed, though it was asked not to.")
        return response

    async def _note(self, purpose: str, method: str, target: str, reason: str, *, allowed: bool) -> None:
        if self._observer is not None:
            await self._observer.decided(Decision(purpose, method, target, allowed, reason))


class _GuardedTransport(httpx.AsyncBaseTransport):
    def __init__(self, egress: Egress, purpose: str) -> None:
        self._egress = egress
        self._purpose = purpose

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._egress.send(request, self._purpose)

    async def aclose(self) -> None:
        """Leave the shared connections to their owner."""


class _Capped(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, limit: int, name: str) -> None:
        self._answer = answer
        self._limit = limit
        self._name = name

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._answer.aiter_stream():
                size += len(chunk)
                if size > self._limit:
                    raise EgressTooLarge(f"{self._name} answered more than {self._limit} bytes.")
                yield chunk
        except httpcore.TimeoutException:
            raise EgressTimeout(f"{self._name} did not finish its answer in time.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise EgressBroken(f"{self._name} broke off its answer ({type(error).__name__}).") from None

    async def aclose(self) -> None:
        await self._answer.aclose()


def _to_httpcore(request: httpx.Request, target: Target) -> httpcore.Request:
    """Build what the pool sends: to the target as we parsed it, and without extensions that could change its TLS."""
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"accept-encoding"]
    return httpcore.Request(
        request.method,
        httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=request.url.raw_path,
        ),
        headers=[*headers, (b"accept-encoding", b"identity")],
        content=request.stream,
        extensions={"timeout": request.extensions["timeout"]} if "timeout" in request.extensions else {},
    )


def _spellings(target: Target) -> tuple[list[str], ...]:
    """Return the Host header fields that name `target`: the default port may be left out (RFC 9110, section 7.2)."""
    if target.port != (443 if target.scheme == "https" else 80):
        return ([target.key],)
    return [target.key.rpartition(":")[0]], [target.key]


def _name(url: str) -> str:
    """Return host and port of a refused URL for the record; its path or user info may hold secrets."""
    try:
        return parse_target(url).key
    except EgressRefused:
        return "unclear"
