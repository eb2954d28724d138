"""AuthZEN 1.0 over HTTP: the section "HTTPS Binding", as routes and as an app of its own.

A refusal of the request is an HTTP error in problem details; a denied question is 200 with `"decision": false`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from redoubt.core.limits import InputLimits, check_head, parse_json_object, read_body
from redoubt.core.problem import Problem, internal_error, problem_response
from redoubt.guard.limits import Limiter, Rule

from .callers import Authenticate, Pep
from .service import PolicyDecisionPoint, Wanted
from .wire import Batch, batch, question, search

LIMITS = InputLimits(body_bytes=256 * 1024, json_depth=24, json_members=5_000, text_chars=20_000)
RULE = Rule("authzen", 6000, 60)
WITHIN = 10.0
"""Seconds for a whole body."""
WELL_KNOWN = "/.well-known/authzen-configuration"
_MAX_REQUEST_ID = 200
_EVALUATION, _EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
_SEARCH = "/access/v1/search/"
_log = logging.getLogger("redoubt.authz")

Handle = Callable[[Pep, dict[str, Any], "str | None"], Awaitable[dict[str, Any]]]


def pdp_app(
    pdp: PolicyDecisionPoint, identifier: str, authenticate: Authenticate, limiter: Limiter | None = None
) -> Starlette:
    """Return the decision point `identifier` as an ASGI app; see `pdp_routes`."""
    return Starlette(routes=pdp_routes(pdp, identifier, authenticate, limiter))


def pdp_routes(
    pdp: PolicyDecisionPoint, identifier: str, authenticate: Authenticate, limiter: Limiter | None = None
) -> list[Route]:
    """Return the routes of the decision point whose identifier (an https URL) is `identifier`.

    `authenticate` says who asks: without a caller nothing but the discovery document is answered. `limiter` bounds
    each caller's requests. Raises ValueError for an identifier that the standard does not allow.
    """
    parts = urlsplit(identifier)
    if parts.scheme != "https" or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("the identifier of a decision point is an https URL without query and fragment")
    base = parts.path.rstrip("/")

    async def evaluation(pep: Pep, body: dict[str, Any], request_id: str | None) -> dict[str, Any]:
        return (await pdp.evaluate(pep, question(body), request_id)).body(pep)

    async def evaluations(pep: Pep, body: dict[str, Any], request_id: str | None) -> dict[str, Any]:
        asked = batch(body)
        if not isinstance(asked, Batch):
            return (await pdp.evaluate(pep, asked, request_id)).body(pep)
        answers = await pdp.evaluate_all(pep, asked, request_id)
        return {"evaluations": [answer.body(pep) for answer in answers]}

    def searching(wanted: Wanted) -> Handle:
        async def handle(pep: Pep, body: dict[str, Any], request_id: str | None) -> dict[str, Any]:
            found, token = await pdp.search(pep, search(body, wanted), wanted, request_id)
            return {"results": found, "page": {"next_token": token, "count": len(found)}}

        return handle

    def post(path: str, handle: Handle) -> Route:
        return Route(base + path, _endpoint(handle, authenticate, limiter), methods=["POST"])

    return [
        post(_EVALUATION, evaluation),
        post(_EVALUATIONS, evaluations),
        *(post(_SEARCH + wanted, searching(wanted)) for wanted in cast(list[Wanted], list(_WANTED))),
        Route(WELL_KNOWN + base, _discovery(identifier.rstrip("/")), methods=["GET"]),
    ]


_WANTED = ("subject", "resource", "action")


def metadata(identifier: str) -> dict[str, str]:
    """Return the decision point's metadata (section "Policy Decision Point Metadata")."""
    return {
        "policy_decision_point": identifier,
        "access_evaluation_endpoint": identifier + _EVALUATION,
        "access_evaluations_endpoint": identifier + _EVALUATIONS,
        **{f"search_{wanted}_endpoint": identifier + _SEARCH + wanted for wanted in _WANTED},
    }


def _discovery(identifier: str) -> Callable[[Request], Awaitable[Response]]:
    content = json.dumps(metadata(identifier)).encode()

    async def answer(request: Request) -> Response:
        headers = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(content, headers=headers, media_type="application/json")

    return answer


def _endpoint(
    handle: Handle, authenticate: Authenticate, limiter: Limiter | None
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        request_id: str | None = None
        try:
            request_id = _request_id(request)
            pep = await _caller(request, authenticate, limiter)
            found = await handle(pep, await _body(request), request_id)
            response = Response(
                json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode(),
                headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
                media_type="application/json",
            )
        except Problem as problem:
            response = problem_response(problem, request_id)
        except ClientDisconnect:
            raise
        except Exception as error:
            _log.error("an AuthZEN request failed: %s", type(error).__name__)
            response = problem_response(internal_error(), request_id)
        if request_id is not None:
            response.headers["X-Request-ID"] = request_id
        return response

    return answer


async def _caller(request: Request, authenticate: Authenticate, limiter: Limiter | None) -> Pep:
    pep = await authenticate(request)
    if pep is None:
        raise Problem(
            401, "unauthenticated", "The caller is not known.", headers={"WWW-Authenticate": "Bearer"}
        )
    if limiter is not None:
        verdict = await limiter.hit_async(RULE, f"{pep.tenant}/{pep.name}")
        if not verdict.allowed:
            wait = {"Retry-After": str(verdict.retry_after)}
            raise Problem(429, "too-many-requests", "Too many requests.", headers=wait)
    return pep


async def _body(request: Request) -> dict[str, Any]:
    check_head(request.scope["headers"], request.scope.get("raw_path") or b"", LIMITS)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(400, "bad-request", "The request cannot be understood.", detail="The body is JSON.")
    try:
        async with asyncio.timeout(WITHIN):
            data = await read_body(request.stream(), LIMITS.body_bytes)
    except TimeoutError:
        raise Problem(408, "too-slow", "The request did not arrive in time.") from None
    return parse_json_object(data, LIMITS)


def _request_id(request: Request) -> str | None:
    """Return the caller's request id as it stands; raises Problem 400 for one that a log or header cannot carry."""
    given = request.headers.get("x-request-id")
    if given is not None and (len(given) > _MAX_REQUEST_ID or not given.isascii() or not given.isprintable()):
        detail = f"X-Request-ID is printable ASCII of at most {_MAX_REQUEST_ID} characters."
        raise Problem(400, "bad-request", "The request cannot be understood.", detail=detail)
    return given
