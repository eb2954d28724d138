"""Authorization: Cedar policies, who decides by them, and who may change them."""

from pathlib import Path

from redoubt.core.db import Domain

from . import store
from .decide import Decider
from .enforce import Enforcer, guard_routes, wrap_route
from .grants import DEFINERS, GRANTS
from .head import PolicyHead
from .models import AuthzRequest, Caller, Decision, Entity, EntityUid, collection_entity, user_uid
from .permits import (
    Permission,
    authenticated,
    check_routes,
    own_account,
    permit,
    public,
    routes_without_permission,
)
from .roles import Roles

DOMAIN = Domain(
    name="authz",
    migrations=Path(__file__).parent / "migrations",
    metadata=store.metadata,
    triggers=store.TRIGGERS,
    grants=GRANTS,
    definers=DEFINERS,
)

__all__ = [
    "DOMAIN",
    "AuthzRequest",
    "Caller",
    "Decider",
    "Decision",
    "Enforcer",
    "Entity",
    "EntityUid",
    "Permission",
    "PolicyHead",
    "Roles",
    "authenticated",
    "check_routes",
    "collection_entity",
    "guard_routes",
    "own_account",
    "permit",
    "public",
    "routes_without_permission",
    "user_uid",
    "wrap_route",
]
