"""Break-glass: ask that somebody have a role for minutes; a second person approves, and anyone who may can end it."""

from __future__ import annotations

from attrs import asdict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redoubt.authz import permit
from redoubt.authz.breakglass import MAX_MINUTES, break_glass, open_now
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.guard import ApprovalError
from redoubt.guard.models import Approval
from redoubt.identity.store import user_by_id, user_by_verified_email
from redoubt.runtime.app import Redoubt
from redoubt.runtime.request import GuardedRequest

from .approvals import problem_of
from .enrolments import demand_role_grant
from .web import answer, done, fields, may, person, text


def routes(guard: Redoubt) -> list[Route]:
    """Return the pages about emergency roles."""
    declared, roles, approvals = sorted(guard.plan.roles), guard.services.roles, guard.services.approvals

    @permit("Console.view")
    async def form(request: Request) -> Response:
        g = GuardedRequest.of(request)
        if not may(g, "Enrolment.create"):
            raise Problem(403, "denied", "You may not do this.")
        found = await g.read(lambda tx: open_now(tx, g.core, g.tenant))
        names = guard.services.names
        people = await g.read(lambda tx: names(tx, sorted({one.user_id for one in found})))
        items = [
            {key: asdict(one)[key] for key in ("user_id", "role", "expires_at", "approval_id")}
            for one in found
        ]
        return answer(
            g, "emergencies.html", {"items": items, "roles": declared}, people=people, most=MAX_MINUTES
        )

    @permit("Enrolment.create")
    async def ask(request: Request) -> Response:
        g = GuardedRequest.of(request)
        given = fields(request)
        who, role = text(given, "user", most=254), text(given, "role", most=100)
        reason, ticket, minutes = text(given, "reason"), text(given, "ticket"), text(given, "minutes", most=2)
        if role not in guard.plan.roles or not minutes.isascii() or not minutes.isdigit():
            raise Problem(422, "invalid", "A role of this app, and minutes as a number.")
        await demand_role_grant(guard, g)

        def create(tx: Tx) -> Approval:
            row = user_by_verified_email(tx, g.tenant, who.lower()) if "@" in who else user_by_id(tx, who)
            if row is None or row.tenant != g.tenant or row.disabled_at is not None:
                raise Problem(422, "invalid", "There is no such user.")
            return break_glass(
                tx, approvals, user=str(row.id), role=role, minutes=int(minutes), reason=reason,
                by=person(g), ticket=ticket, tenant=g.tenant, request_id=g.request_id,
            )  # fmt: skip

        try:
            approval = await g.write(create)
        except ApprovalError as error:
            raise problem_of(error) from error
        return done(g, {"approval_id": approval.id}, f"/console/approvals/{approval.id}", 202)

    @permit("Enrolment.create")
    async def end(request: Request) -> Response:
        g = GuardedRequest.of(request)
        given = fields(request)
        who, role = text(given, "user", most=254), text(given, "role", most=100)

        def revoke(tx: Tx) -> bool:
            mine = [one for one in open_now(tx, g.core, g.tenant) if (one.user_id, one.role) == (who, role)]
            return bool(mine) and roles.revoke(tx, g.tenant, who, role, person(g))

        if not await g.write(revoke):
            raise Problem(404, "not-found", "There is no such emergency role.")
        return done(g, {"ended": True}, "/console/emergencies")

    return [
        Route("/console/emergencies", form, methods=["GET"]),
        Route("/console/emergencies", ask, methods=["POST"]),
        Route("/console/emergencies/end", end, methods=["POST"]),
    ]
