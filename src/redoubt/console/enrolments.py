"""Enrolments: one-time links that let a person join with a role; minting one takes a fresh passkey."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redoubt.audit import record
from redoubt.authz import permit
from redoubt.authz.access import ROLE_TYPE, USER_TYPE
from redoubt.authz.gate import GatedWrite, demand_grant
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.identity.encoding import parse_email
from redoubt.identity.errors import AddressRefused
from redoubt.runtime.app import Redoubt
from redoubt.runtime.request import GuardedRequest

from .web import answer, done, fields, may, page, person, text, wants_json


async def demand_role_grant(guard: Redoubt, g: GuardedRequest) -> None:
    """Raise a Problem unless the running schema grants role changes to `Enrolment.create`, this page's action."""
    running = guard.services.head.policies(g.tenant)
    if running is None:
        raise Problem(503, "policies-unknown", "The running policies are not known.")
    try:
        await asyncio.to_thread(demand_grant, running, "edge", USER_TYPE, ROLE_TYPE, "Enrolment.create")
    except GatedWrite as error:
        raise Problem(
            409, error.code, "The policies grant role changes to no such page.", detail=error.hint
        ) from error


def routes(guard: Redoubt) -> list[Route]:
    """Return the enrolment pages."""
    roles = sorted(guard.plan.roles)

    @permit("Console.view")
    async def form(request: Request) -> Response:
        g = GuardedRequest.of(request)
        if not may(g, "Enrolment.create"):
            raise Problem(403, "denied", "You may not do this.")
        return answer(g, "enrolments.html", {"roles": roles}, url=None)

    @permit("Enrolment.create")
    async def create(request: Request) -> Response:
        g = GuardedRequest.of(request)
        given = fields(request)
        role = text(given, "role", most=100)
        email = text(given, "email", most=254, default="")
        try:
            address = parse_email(email) if email else None
        except AddressRefused as error:
            raise Problem(422, error.code, error.message, detail=error.hint) from error
        if role not in guard.plan.roles:
            raise Problem(422, "invalid", "There is no such role.")
        await demand_role_grant(guard, g)
        enrolments = guard.services.identity.enrolments

        def mint(tx: Tx) -> str:
            link_id, url = enrolments.mint(tx, role, person(g), address)
            record(tx, g.core, g.event("identity.enrolment.mint", ("Enrolment", link_id), {"role": role}))
            return url

        url = await g.write(mint)
        if wants_json(g) or "json" in g.headers.get("content-type", ""):
            return done(g, {"url": url, "role": role}, "/console/enrolments", 201)
        return page(g, "enrolments.html", roles=roles, url=url)

    return [
        Route("/console/enrolments", form, methods=["GET"]),
        Route("/console/enrolments", create, methods=["POST"]),
    ]
