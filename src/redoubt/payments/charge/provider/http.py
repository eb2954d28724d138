"""The Stripe SDK's HTTP over our egress client: one attempt, bounded, and honest about what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, cast

import anyio
import httpx
from stripe import APIConnectionError, HTTPClient

from redoubt.core.egress import EgressError, EgressRefused, EgressUnreachable

MAX_ANSWER = 4 * 1024 * 1024


class NothingSent(APIConnectionError):  # type: ignore[misc, unused-ignore]
    """No connection was made, so the provider cannot have seen the request."""


def _lost(what: str, kind: Any = APIConnectionError) -> Exception:
    return cast(Exception, kind(what, should_retry=False))


class EgressHttp(HTTPClient):  # type: ignore[misc, unused-ignore]
    """Speaks over an `httpx.AsyncClient` whose transport is the egress client's: allow-list, no redirects, no proxy."""

    name = "redoubt"

    def __init__(self, client: httpx.AsyncClient, *, timeout: float) -> None:
        super().__init__()
        self._http, self._timeout = client, timeout

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send once and return body, status and headers; a lost connection raises, typed by whether it was made."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._send(method, url, headers, post_data)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _lost(type(error).__name__, NothingSent) from error
        except (EgressRefused, EgressUnreachable) as error:
            raise _lost(error.code, NothingSent) from error
        except (httpx.HTTPError, EgressError, TimeoutError) as error:
            raise _lost(type(error).__name__) from error

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any
    ) -> tuple[bytes, int, Mapping[str, str]]:
        async with self._http.stream(
            method, url, headers=dict(headers), content=post_data or None, follow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise _lost("TooLong")
            return bytes(body), response.status_code, response.headers

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """Sleep; the SDK asks for it before a retry, and its retries are off."""
        return anyio.sleep(secs)

    async def close_async(self) -> None:
        """Close the connections."""
        await self._http.aclose()
