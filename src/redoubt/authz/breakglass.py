"""Break-glass: a role for minutes, asked for by one, approved by another, loud, and over by itself.

It is a change request like others: the second person's passkey signs who gets which role for how long and why. The database
refuses the role without that approval, for longer than an hour, and when the approver is who asked or who gets it. Every
request that is decided while it lasts is decided with it, and not one after.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard.approvals import Approvals
from redoubt.guard.errors import ApprovalStale, PayloadInvalid
from redoubt.guard.kinds import Kind, MayDecide
from redoubt.guard.models import Approval, Decision

from . import store
from .errors import AuthzError
from .roles import Roles

_log = logging.getLogger("redoubt.authz")

KIND = "authz.break-glass"
MAX_MINUTES = 60
LIFETIME = timedelta(hours=1)
"""How long a request waits for its second person: an emergency of yesterday is none."""


def break_glass_kind(core: Core, roles: Roles, may_decide: MayDecide) -> Kind:
    """Return the kind of change request for emergency roles; `may_decide` says who may be the second person."""
    return Kind(KIND, BreakGlass(core, roles), may_decide, lifetime=LIFETIME)


def break_glass(
    tx: Tx,
    approvals: Approvals,
    *,
    user: str,
    role: str,
    minutes: int,
    reason: str,
    by: str,
    ticket: str,
    tenant: str = "main",
    request_id: str | None = None,
) -> Approval:
    """Ask that `user` have `role` for `minutes` from its approval on, 1 to 60.

    Raises PayloadInvalid for other minutes or without a reason.
    """
    if not 1 <= minutes <= MAX_MINUTES:
        raise PayloadInvalid(f"an emergency role is for 1 to {MAX_MINUTES} minutes.")
    if not user or not role or not reason.strip() or len(reason) > 500:
        raise PayloadInvalid("an emergency role says who, which and why, in at most 500 characters.")
    payload = {"tenant": tenant, "user": user, "role": role, "minutes": minutes, "reason": reason.strip()}
    return approvals.create(
        tx, KIND, payload, requester=by, ticket=ticket, tenant=tenant, request_id=request_id
    )


class BreakGlass:
    """Gives the role that was approved (guard's Executor)."""

    def __init__(self, core: Core, roles: Roles) -> None:
        self._core = core
        self._roles = roles

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any]:
        """Give the role until its minutes are over; raises ApprovalStale when it cannot be given any more."""
        payload = approval.payload
        user, role, minutes = str(payload["user"]), str(payload["role"]), int(payload["minutes"])
        if payload["tenant"] != approval.tenant or decision.approver == user:
            raise ApprovalStale("an emergency role is approved by neither who asks for it nor who gets it.")
        if role in self._roles.roles(tx, approval.tenant, user):
            raise ApprovalStale(f"this user has the role {role} already.")
        now = self._core.clock.now()
        ends = now + timedelta(minutes=minutes)
        try:
            self._roles.assign(
                tx, approval.tenant, user, role, approval.requester, expires=ends, approval_id=approval.id
            )
        except AuthzError as error:
            raise ApprovalStale(str(error)) from error
        said = {"role": role, "until": ends.isoformat(), "approval": approval.id, "reason": payload["reason"]}
        event = Event(
            action="authz.break-glass.open",
            outcome="success",
            actor=Actor(kind="user", id=approval.requester),
            tenant=approval.tenant,
            target=("User", user),
            data={**said, "approver": decision.approver, "ticket": approval.ticket},
        )
        record(tx, self._core, event)
        _log.warning(
            "break-glass: an emergency role was given in %s, approval %s", approval.tenant, approval.id
        )
        return said


def open_now(tx: Tx, core: Core, tenant: str) -> list[store.Member]:
    """Return the emergency roles that a tenant's people have now."""
    now = core.clock.now()
    return [
        row
        for row in store.expiring(tx, tenant)
        if row.approval_id and row.expires_at and now < row.expires_at
    ]
