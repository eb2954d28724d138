"""Giving a role to somebody who has an account: a change request that a second person signs. Taking one needs nobody.

Roles are what policies read most of people, so a role more is a widening. Who signs must not be who gains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard.approvals import Approvals
from redoubt.guard.errors import ApprovalStale
from redoubt.guard.kinds import Kind, MayDecide
from redoubt.guard.models import Approval, Decision

from .errors import AuthzError, RolesRefused
from .roles import Roles

KIND = "authz.role"


class RoleGrant:
    """Shows which roles a person has beside the new one, and gives it when it is approved."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    def run(self, tx: Tx, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the roles that the person has now: the request is stale once they change."""
        held = self._roles.roles(tx, str(payload["tenant"]), str(payload["user"]))
        return {"roles_before": sorted(held), "roles_after": sorted(held | {str(payload["role"])})}

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any]:
        """Give the role; raises ApprovalStale where the payload is not of this tenant or the role no longer exists."""
        payload = approval.payload
        try:
            if payload["tenant"] != approval.tenant:
                raise ApprovalStale("the request names another tenant than its own.")
            self._roles.assign(tx, approval.tenant, payload["user"], payload["role"], decision.approver)
        except (AuthzError, KeyError, TypeError) as error:
            raise ApprovalStale(f"the role cannot be given: {error}") from error
        return {"user": payload["user"], "role": payload["role"]}


def role_grant_kind(core: Core, roles: Roles, may_decide: MayDecide) -> Kind:
    """Return the kind of change request that gives a role; whoever would gain it cannot be the second person."""
    grant = RoleGrant(roles)

    def another(tx: Tx, approval: Approval, person: str) -> bool:
        return approval.payload.get("user") != person and may_decide(tx, approval, person)

    return Kind(KIND, grant, another, grant)


def request_role(
    tx: Tx,
    approvals: Approvals,
    roles: Roles,
    user: str,
    role: str,
    *,
    requester: str,
    ticket: str,
    tenant: str,
) -> Approval:
    """Ask that the account `user` be given `role`; it is once somebody else, who does not gain, signs.

    Raises UnknownRole for a role that is not declared, RolesRefused where the person has it already.
    """
    roles.demand_declared(role)
    if role in roles.roles(tx, tenant, user):
        raise RolesRefused(f"this person is {role!r} already.")
    payload = {"tenant": tenant, "user": user, "role": role}
    return approvals.create(tx, KIND, payload, requester=requester, ticket=ticket, tenant=tenant)


def take_role(
    tx: Tx, roles: Roles, user: str, role: str, *, by: str, tenant: str, keep: Mapping[str, int] | None = None
) -> None:
    """Take `role` from `user` at once.

    `keep` says how many must be left of a role. Raises RolesRefused where fewer would be, or where the person does not
    have the role.
    """
    least = (keep or {}).get(role, 0)
    if role not in roles.roles(tx, tenant, user):
        raise RolesRefused(f"this person is not {role!r}.")
    lasting = roles.holders(
        tx, tenant, role, lasting=True
    )  # who has it for minutes does not keep an app in hand
    if least and user in lasting and len(lasting) <= least:
        raise RolesRefused(
            f"at least {least} people must stay {role!r}: one asks, another approves.",
            hint=f"Make somebody else {role!r} first.",
        )
    roles.revoke(tx, tenant, user, role, by)
