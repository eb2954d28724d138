"""Approvals: what waits, what exactly it would do, and a second person's passkey over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from redoubt.authz import permit
from redoubt.authz.membership import KIND as ROLE_GRANT
from redoubt.authz.versions import KIND as POLICY_CHANGE
from redoubt.core.errors import RedoubtError
from redoubt.core.problem import Problem
from redoubt.guard import ApprovalError
from redoubt.guard.errors import (
    AlreadyDecided,
    ApprovalExpired,
    ApprovalStale,
    ApprovalUnknown,
    AssertionRefused,
    NotEntitled,
    PayloadInvalid,
    SelfApproval,
)
from redoubt.guard.models import Approval
from redoubt.payments.money import decimal_text
from redoubt.payments.prices import KIND as PRICE_CHANGE
from redoubt.payments.refunds import KIND as REFUND
from redoubt.runtime.app import Redoubt
from redoubt.runtime.request import GuardedRequest

from .web import answer, done, fields, jsonable, page, page_after, path_id, person, text, wants_json

_STATUS: list[tuple[type[RedoubtError], int]] = [
    (ApprovalUnknown, 404),
    (PayloadInvalid, 422),
    (AssertionRefused, 401),
    (SelfApproval, 403),
    (NotEntitled, 403),
    (AlreadyDecided, 409),
    (ApprovalExpired, 409),
    (ApprovalStale, 409),
]


def problem_of(error: RedoubtError) -> Problem:
    """Return what the client sees of a refused decision."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 403)
    return Problem(
        status, error.code, error.message[:1].upper() + error.message[1:], detail=error.hint or None
    )


def shown(approval: Approval, g: GuardedRequest) -> dict[str, Any]:
    """Return an approval as pages and programs see it."""
    return {
        "id": approval.id,
        "kind": approval.kind,
        "status": approval.status(g.core.clock.now()),
        "payload": approval.payload,
        "payload_hash": approval.payload_hash,
        "requester": approval.requester,
        "ticket": approval.ticket,
        "dry_run": approval.dry_run,
        "created_at": approval.created_at,
        "expires_at": approval.expires_at,
        "decided_by": approval.decided_by,
        "decided_at": approval.decided_at,
        "reason": approval.reason,
        "own": approval.requester == g.user_id,
    }


def _named(approval: Approval) -> set[str]:
    """Return the ids of those whom a policy change's evidence names."""
    evidence = (approval.dry_run or {}).get("evidence", {}) if approval.kind == POLICY_CHANGE else {}
    gain = {one for item in evidence.get("gains", ()) for one in item["ids"]}
    gain |= {one for item in evidence.get("tables", ()) for row in item["rows"] for one in row["ids"]}
    return gain | {item["principal"]["id"] for item in evidence.get("rehearsal", {}).get("examples", ())}


def _amounts(approval: Approval) -> Callable[[int | None], str]:
    """Return what writes amounts of a price change as people read them."""
    currency = str(approval.payload["currency"])

    def show(amount: int | None) -> str:
        return "none" if amount is None else f"{decimal_text(amount, currency)} {currency}"

    return show


def routes(guard: Redoubt) -> list[Route]:
    """Return the approval pages."""
    service = guard.services.approvals

    @permit("Approval.read")
    async def listing(request: Request) -> Response:
        g = GuardedRequest.of(request)
        state = request.query_params.get("state", "pending")
        if state not in ("pending", "approved", "rejected", "every"):
            raise Problem(422, "invalid", "State is pending, approved, rejected or every.")
        wanted, before = None if state == "every" else state, page_after(request)
        found = await g.read(lambda tx: service.list(tx, g.tenant, state=wanted, before=before))
        people = await _people(g, [one.requester for one in found])
        return answer(
            g, "approvals.html", {"items": [shown(one, g) for one in found], "state": state}, people=people
        )

    @permit("Approval.read")
    async def detail(request: Request) -> Response:
        g = GuardedRequest.of(request)
        approval = await _one(g, request)
        people = await _people(g, [approval.requester, approval.decided_by or "", *_named(approval)])
        pretty = json.dumps(approval.payload, indent=2, sort_keys=True, ensure_ascii=False)
        item = shown(approval, g)
        if wants_json(g):
            return JSONResponse(jsonable(item))
        show = _amounts(approval) if approval.kind == PRICE_CHANGE else None
        return page(g, "approval.html", item=item, pretty=pretty, people=people, show=show)

    @permit("Approval.decide")
    async def options(request: Request) -> Response:
        g = GuardedRequest.of(request)
        approval = await _one(g, request)
        who = person(g)
        identity = guard.services.identity
        return JSONResponse(await g.read(lambda tx: identity.assertion_options(tx, who, approval.challenge)))

    @permit("Approval.decide")
    async def approve(request: Request) -> Response:
        g = GuardedRequest.of(request)
        given = fields(request)
        credential = given.get("credential", given)
        if not isinstance(credential, dict):
            raise Problem(400, "bad-request", "The request cannot be understood.")
        try:
            approval = await service.decide(
                path_id(request), person(g), credential, tenant=g.tenant, request_id=g.request_id
            )
        except ApprovalError as error:
            raise problem_of(error) from error
        response = done(g, shown(approval, g), f"/console/approvals/{approval.id}")
        if approval.kind in (POLICY_CHANGE, ROLE_GRANT):
            response.headers.update(await guard.consistency(g))
        if approval.kind == REFUND and guard.services.payments is not None:
            # After the answer: what the charge service does not take now, the worker delivers.
            response.background = BackgroundTask(guard.services.payments.refunds.send, approval)
        return response

    @permit("Approval.decide")
    async def reject(request: Request) -> Response:
        g = GuardedRequest.of(request)
        reason = text(fields(request), "reason")
        try:
            approval = await g.write(
                lambda tx: service.reject(
                    tx, path_id(request), person(g), reason, tenant=g.tenant, request_id=g.request_id
                )
            )
        except ApprovalError as error:
            raise problem_of(error) from error
        return done(g, shown(approval, g), f"/console/approvals/{approval.id}")

    async def _one(g: GuardedRequest, request: Request) -> Approval:
        try:
            return await g.read(lambda tx: service.get(tx, path_id(request), g.tenant))
        except ApprovalError as error:
            raise problem_of(error) from error

    async def _people(g: GuardedRequest, ids: list[str]) -> dict[str, str]:
        names = guard.services.names
        return await g.read(lambda tx: names(tx, [one for one in ids if one]))

    return [
        Route("/console/approvals", listing, methods=["GET"]),
        Route("/console/approvals/{id}", detail, methods=["GET"]),
        Route("/console/approvals/{id}/options", options, methods=["POST"]),
        Route("/console/approvals/{id}/approve", approve, methods=["POST"]),
        Route("/console/approvals/{id}/reject", reject, methods=["POST"]),
    ]
