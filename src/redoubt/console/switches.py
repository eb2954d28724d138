"""Kill switches: one operator stops a capability at once; going live again takes two people."""

from __future__ import annotations

from attrs import asdict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redoubt.audit import Actor
from redoubt.authz import permit
from redoubt.core.problem import Problem
from redoubt.guard import ApprovalError
from redoubt.guard.errors import SwitchRefused
from redoubt.guard.switches import CAPABILITIES, EVERY_TENANT, request_enable, status
from redoubt.runtime.app import Redoubt
from redoubt.runtime.request import GuardedRequest

from .approvals import problem_of
from .web import answer, done, fields, person, text


def routes(guard: Redoubt) -> list[Route]:
    """Return the switch pages."""
    board, approvals = guard.services.switches, guard.services.approvals

    @permit("Switch.read")
    async def listing(request: Request) -> Response:
        g = GuardedRequest.of(request)
        flipped = await g.read(status)
        return answer(
            g,
            "switches.html",
            {"items": [asdict(one) for one in flipped], "capabilities": list(CAPABILITIES)},
        )

    @permit("Switch.kill")
    async def kill(request: Request) -> Response:
        g = GuardedRequest.of(request)
        given = fields(request)
        capability, reason = text(given, "capability", most=100), text(given, "reason")
        tenant = text(given, "tenant", most=100, default=EVERY_TENANT)
        by = Actor(kind="operator", id=person(g), session=g.subject.session_id if g.subject else None)
        try:
            switch = await g.write(
                lambda tx: board.kill(
                    tx, capability, reason=reason, by=by, tenant=tenant, request_id=g.request_id
                )
            )
        except SwitchRefused as error:
            raise Problem(422, error.code, error.message) from error
        return done(g, asdict(switch), "/console/switches")

    @permit("Switch.enable")
    async def enable(request: Request) -> Response:
        g = GuardedRequest.of(request)
        given = fields(request)
        capability, ticket = text(given, "capability", most=100), text(given, "ticket")
        tenant = text(given, "tenant", most=100, default=EVERY_TENANT)
        try:
            approval = await g.write(
                lambda tx: request_enable(
                    tx, approvals, capability, requester=person(g), ticket=ticket, tenant=tenant,
                    approvals_tenant=g.tenant, request_id=g.request_id,
                )
            )  # fmt: skip
        except SwitchRefused as error:
            raise Problem(409, error.code, error.message) from error
        except ApprovalError as error:
            raise problem_of(error) from error
        return done(g, {"approval_id": approval.id}, f"/console/approvals/{approval.id}", 202)

    return [
        Route("/console/switches", listing, methods=["GET"]),
        Route("/console/switches/kill", kill, methods=["POST"]),
        Route("/console/switches/enable", enable, methods=["POST"]),
    ]
