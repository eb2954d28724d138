"""The operator's pages: overview, approvals, audit explorer, policies, switches, enrolments; readable without JavaScript."""

from __future__ import annotations

from starlette.routing import Route

from redoubt.runtime.app import Redoubt

from . import approvals, audit, emergencies, enrolments, overview, policies, switches


def routes(guard: Redoubt) -> list[Route]:
    """Return the console's routes for `guard`; each declares its permission."""
    found: list[Route] = []
    for module in (overview, approvals, audit, policies, switches, enrolments, emergencies):
        found += module.routes(guard)
    return found


__all__ = ["routes"]
