"""A policy decision point over HTTP: OpenID AuthZEN Authorization API 1.0."""

from .app import pdp_app, pdp_routes
from .callers import BearerCallers, Pep
from .service import PolicyDecisionPoint
from .sources import EntitySource, MemorySource, Party

__all__ = [
    "BearerCallers",
    "EntitySource",
    "MemorySource",
    "Party",
    "Pep",
    "PolicyDecisionPoint",
    "pdp_app",
    "pdp_routes",
]
