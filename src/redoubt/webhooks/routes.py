"""`POST /webhooks/{name}`: raw bytes in, one of a few statuses out, the same body for every refusal."""

from __future__ import annotations

import asyncio
import json

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..core.db import StorageUnavailable
from ..core.errors import RedoubtError
from .errors import DeliveryRefused, TooLarge, UnknownEndpoint, Unproven
from .outbox import Switches
from .service import Webhooks

_READ_WITHIN = 15.0  # seconds for a whole body
_REFUSED = json.dumps(
    {"type": "about:blank", "title": "Delivery refused", "code": "webhook-refused"}
).encode()


def routes(webhooks: Webhooks, switches: Switches | None = None) -> list[Route]:
    """Return the incoming route; it is public, for the signature is its authentication."""

    async def receive(request: Request) -> Response:
        name = request.path_params["name"]
        request_id = request.scope.get("state", {}).get("request_id")
        try:
            config = webhooks.endpoint(name)
        except UnknownEndpoint:
            return refusal(404)
        if switches is not None:
            try:
                switches.check("webhooks.in", config.tenant)
            except RedoubtError:
                return refusal(503)
        try:
            body = await _read(request, config.max_body)
        except (TooLarge, Unproven) as refused:
            await webhooks.refused(config, refused, request_id)
            return refusal(refused.status)
        try:
            received = await webhooks.receive(name, request.scope["headers"], body, request_id=request_id)
        except DeliveryRefused as refused:
            return refusal(refused.status)
        except StorageUnavailable:
            return refusal(503)
        return JSONResponse({"status": received.answer}, headers={"cache-control": "no-store"})

    return [Route("/webhooks/{name}", receive, methods=["POST"], name="webhooks.receive")]


def refusal(status: int) -> Response:
    """Return a refusal: RFC 9457 problem JSON whose bytes are the same for every cause."""
    headers = {"cache-control": "no-store"}
    if status == 503:
        headers["retry-after"] = "5"
    return Response(_REFUSED, status, headers, media_type="application/problem+json")


async def _read(request: Request, limit: int) -> bytes:
    """Return the raw body, reading at most `limit` bytes of it and for at most 15 seconds."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:12]) > limit:
        raise TooLarge("the declared length is larger than this endpoint takes.")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_READ_WITHIN):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise TooLarge("the body is larger than this endpoint takes.")
                chunks.append(chunk)
    except (TimeoutError, ClientDisconnect):
        raise Unproven("the body did not arrive whole.") from None
    return b"".join(chunks)
