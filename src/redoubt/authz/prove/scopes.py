"""Whether a policy's scope leaves it in play for a request's types and action."""

from __future__ import annotations

from cedarpy import pst

from ..models import EntityUid
from ..schema.types import Environment, Schema


def type_in(scope: pst.PrincipalOrResourceConstraint, kind: str) -> bool:
    """Say whether an entity of the type `kind` may fit the scope."""
    match scope:
        case pst.ScopeEq(entity=pst.EntityUid(type=named)):
            return str(named) == kind
        case pst.ScopeIs(entity_type=named) | pst.ScopeIsIn(entity_type=named):
            return str(named) == kind
    return True


def action_in(scope: pst.ActionConstraint, schema: Schema, environment: Environment) -> bool:
    """Say whether the environment's action is in the scope, by name or by a group."""
    here = environment.action
    match scope:
        case pst.ActionEq(entity=uid):
            return EntityUid(str(uid.type), uid.id) == here
        case pst.ActionIn(entities=uids):
            groups = {here, *schema.action_ancestors(here)}
            return any(EntityUid(str(uid.type), uid.id) in groups for uid in uids)
    return True
