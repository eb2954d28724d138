"""The sandbox as one ASGI app: API, payment page, control face and the delivery of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ...core.clock import Clock, SystemClock
from ...core.ids import Ids, SystemIds
from ...core.secrets import Secret
from .account import Account
from .api import Api
from .control import Control
from .pages import Pages, style
from .store import Store
from .webhooks import Dispatcher, Endpoint

LOOPBACK_NAMES = ["127.0.0.1", "localhost", "*.localhost"]


class SandboxProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that lends the app its connection, so that a fault can break it as a network does."""

    def on_message_begin(self) -> None:
        """Put the transport beside the request (a uvicorn internal: its version is pinned, a test holds it)."""
        super().on_message_begin()
        self.scope["extensions"] = {"redoubt.transport": self.transport}  # type: ignore[dict-item]


def create_app(
    state: Path | str,
    api_key: Secret,
    endpoint: Endpoint | None = None,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> Starlette:
    """Return the provider's app over the state file `state`; events go to `endpoint`.

    It answers under loopback names only, so that no web page can reach it by rebinding a name.
    """
    clock = clock or SystemClock()
    ids = ids or SystemIds(clock)
    store = Store(state)
    dispatcher = Dispatcher(store, clock, endpoint)

    def account(request: Request) -> Account:
        return Account(store, clock, ids, f"{request.url.scheme}://{request.headers['host']}")

    pages = Pages(account, dispatcher.wake)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        """Deliver events while the app serves."""
        task = asyncio.create_task(dispatcher.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            store.close()

    return Starlette(
        routes=[
            Route(
                "/v1/{path:path}",
                Api(account, api_key, dispatcher.wake).__call__,
                methods=["GET", "POST", "DELETE"],
            ),
            Route("/pay/{id}", pages.show, methods=["GET"]),
            Route("/pay/{id}", pages.pay, methods=["POST"]),
            Route("/pay.css", style),
            Route("/healthz", _health),
            *Control(account, dispatcher.wake).routes(),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES, www_redirect=False)],
        lifespan=lifespan,
    )


def _health(request: Request) -> Response:
    return PlainTextResponse("ok")
