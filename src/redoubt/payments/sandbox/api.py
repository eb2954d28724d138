"""The API's door: key, operation, idempotency, faults, and the answer in Stripe's shape."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...core.limits import read_body
from ...core.problem import Problem
from ...core.secrets import Secret
from . import faults, operations
from .account import API_VERSION, Account
from .errors import ApiError, invalid
from .faults import Fault
from .params import parse_form

MAX_BODY = 64 * 1024
_Answer = tuple[int, dict[str, Any]]


def abort(request: Request) -> Response:
    """Break the request's connection as a network does; the response is what nobody will read."""
    transport = request.scope.get("extensions", {}).get("redoubt.transport")
    if transport is None:
        raise RuntimeError("this fault needs the sandbox's own server")
    transport.abort()
    return Response(status_code=500)


class Api:
    """Answers `/v1/…`; one per process, because it knows which idempotency keys are in use right now."""

    def __init__(
        self, account: Callable[[Request], Account], key: Secret, changed: Callable[[], None]
    ) -> None:
        self._account = account
        self._key = key
        self._changed = changed
        self._busy: set[str] = set()

    async def __call__(self, request: Request) -> Response:
        """Answer one call."""
        account = self._account(request)
        request_id = account.new_id("req")
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION, "Cache-Control": "no-store"}
        try:
            self._authenticate(request)
            found = operations.find(request.method, request.url.path)
            if found is None:
                message = f"Unrecognized request URL ({request.method}: {request.url.path[:100]})."
                raise ApiError(404, "invalid_request_error", message, saved=False)
            body = await read_body(request.stream(), MAX_BODY)
            response = await self._call(request, account, *found, body, headers)
        except ApiError as error:
            response = JSONResponse(error.body(), error.status, headers)
        except Problem as problem:
            response = JSONResponse(invalid("", problem.title).body(), problem.status, headers)
        self._changed()
        return response

    def _authenticate(self, request: Request) -> None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = value.strip() if scheme.lower() == "bearer" else ""
        if scheme.lower() == "basic":
            try:
                token = base64.b64decode(value, validate=True).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                token = ""
        if not token:
            raise ApiError(401, "invalid_request_error", "You did not provide an API key.", saved=False)
        if not hmac.compare_digest(token.encode(), self._key.reveal_bytes()):
            raise ApiError(
                401, "invalid_request_error", "Invalid API Key provided.", saved=False, code="api_key_invalid"
            )

    async def _call(
        self,
        request: Request,
        account: Account,
        operation: operations.Operation,
        object_id: str,
        body: bytes,
        headers: dict[str, str],
    ) -> Response:
        fault = faults.take(account.store, faults.REQUEST_KINDS, operation.name)
        kind = fault.kind if fault else ""
        key = request.headers.get("idempotency-key") if request.method == "POST" else None

        def note(status: int) -> None:
            account.store.run(
                "INSERT INTO calls (operation, key, fault, status) VALUES (?, ?, ?, ?)",
                operation.name,
                key,
                kind,
                status,
            )

        if kind == "refuse":
            note(0)
            return abort(request)
        if kind == "rate_limit":
            note(429)
            raise ApiError(429, "invalid_request_error", "Too many requests.", saved=False, code="rate_limit")
        if key is not None:
            headers["Idempotency-Key"] = key
            self._enter(key, note)
        try:
            if fault and kind in ("slow", "timeout_before"):
                await asyncio.sleep(fault.seconds)
            if kind == "timeout_before":
                note(0)
                return abort(request)
            given = body if request.method == "POST" else request.url.query.encode()
            digest = hashlib.sha256(
                b"\0".join([request.method.encode(), request.url.path.encode(), given])
            ).hexdigest()
            with account.store.transaction():
                saved = self._saved(account, key, digest) if key is not None else None
                if saved is not None:
                    headers["Idempotent-Replayed"] = "true"
                status, answer = saved or self._run(account, operation, object_id, given, key, digest, fault)
                note(0 if kind in ("timeout_after", "drop_after") else status)
            self._changed()
            if fault and kind == "timeout_after":
                await asyncio.sleep(fault.seconds)
        finally:
            self._busy.discard(key or "")
        if kind in ("timeout_after", "drop_after"):
            return abort(request)
        return JSONResponse(answer, status, headers)

    def _enter(self, key: str, note: Callable[[int], None]) -> None:
        if len(key) > 255 or not key:
            raise invalid("idempotency_key", "Idempotency keys are 1 to 255 characters.")
        if key in self._busy:
            note(409)
            message = "There is currently another in-progress request using this Idempotency-Key."
            raise ApiError(409, "idempotency_error", message, saved=False, code="idempotency_key_in_use")
        self._busy.add(key)

    def _saved(self, account: Account, key: str, digest: str) -> _Answer | None:
        rows = account.store.run("SELECT digest, status, body FROM keys WHERE key = ?", key)
        if not rows:
            return None
        if rows[0][0] != digest:
            message = "Keys for idempotent requests can only be used with the same parameters they were first used with."
            raise ApiError(400, "idempotency_error", message, saved=False)
        return rows[0][1], json.loads(rows[0][2])

    def _run(
        self,
        account: Account,
        operation: operations.Operation,
        object_id: str,
        given: bytes,
        key: str | None,
        digest: str,
        fault: Fault | None,
    ) -> _Answer:
        """Run the operation and keep its answer under its key, in one transaction: an error keeps what it had done."""
        kind = fault.kind if fault else ""
        saved = True
        answer: _Answer
        if kind != "error_before":
            try:
                params = parse_form(given)
                paths = params.texts("expand")
                answer = 200, operations.expand(account, operation.call(account, object_id, params), paths)
            except ApiError as error:
                answer, saved = (error.status, error.body()), error.saved
        if fault and kind in ("error_before", "error_after"):
            answer, saved = (
                (500, {"error": {"type": "api_error", "message": "An unknown error occurred."}}),
                fault.saved,
            )
        if key is not None and saved:
            account.store.run(
                "INSERT INTO keys (key, digest, status, body, created) VALUES (?, ?, ?, ?, ?)",
                key,
                digest,
                answer[0],
                json.dumps(answer[1]),
                account.now(),
            )
        return answer
