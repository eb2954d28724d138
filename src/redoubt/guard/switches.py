"""Kill switches: one operator kills, two people re-enable; every process follows within 250 ms.

A switch is `(tenant, capability)`; tenant `*` means every tenant and capability `all` everything. A kill commits with
its audit entry. Going live again is a change request of the kind `switch.enable` whose payload names the switch and
the version that it lifts: a second kill in between makes it stale, and the database refuses any other way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..audit import Actor, Event, record
from ..core.base import Core
from ..core.db import Tx
from . import store
from .approvals import Approvals
from .errors import ApprovalStale, SwitchRefused
from .kinds import Kind, MayDecide
from .models import Approval, Decision, Switch

ENABLE = "switch.enable"
EVERY_TENANT = "*"
EVERYTHING = "all"
CAPABILITIES = ("login", "payments", "refunds", "webhooks.in", "webhooks.out", "writes", EVERYTHING)
_NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*){0,3}")
_TENANT = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_MAX = 500

_KILL = sa.text(
    "INSERT INTO switches (tenant, capability, state, version, reason, changed_by, changed_at, approval_id)"
    " VALUES (:tenant, :capability, 'killed', 1, :reason, :by, :at, NULL)"
    " ON CONFLICT (tenant, capability) DO UPDATE SET state = 'killed', version = switches.version + 1,"
    " reason = excluded.reason, changed_by = excluded.changed_by, changed_at = excluded.changed_at, approval_id = NULL"
).bindparams(sa.bindparam("at", type_=store.switches.c.changed_at.type))


def kill(
    tx: Tx,
    core: Core,
    capability: str,
    *,
    reason: str,
    by: Actor,
    tenant: str = EVERY_TENANT,
    request_id: str | None = None,
) -> Switch:
    """Switch `capability` off for `tenant`, with its audit entry; killing twice is allowed and counts.

    Raises SwitchRefused for a malformed name or a missing reason.
    """
    _check(capability, tenant)
    if not reason.strip() or len(reason) > _MAX:
        raise SwitchRefused("a kill says why, in at most 500 characters.")
    tx.execute(
        _KILL,
        {
            "tenant": tenant,
            "capability": capability,
            "reason": reason.strip(),
            "by": by.id,
            "at": core.clock.now(),
        },
    )
    found = store.switch(tx, tenant, capability)
    assert found is not None
    _record(tx, core, "switch.kill", found, by, request_id, {"reason": reason.strip()})
    return found


def request_enable(
    tx: Tx, approvals: Approvals, capability: str, *, requester: str, ticket: str, tenant: str = EVERY_TENANT,
    approvals_tenant: str = "main", expires: timedelta | None = None, request_id: str | None = None,
) -> Approval:  # fmt: skip
    """Ask that a killed switch go live again; it does when a second person approves.

    Raises SwitchRefused when it is not killed.
    """
    found = store.switch(tx, tenant, capability)
    if found is None or not found.killed:
        raise SwitchRefused("this switch is not killed.")
    payload = {"capability": capability, "tenant": tenant, "version": found.version}
    return approvals.create(
        tx, ENABLE, payload, requester=requester, ticket=ticket, tenant=approvals_tenant, expires=expires,
        request_id=request_id,
    )  # fmt: skip


class EnableExecutor:
    """Lifts exactly the kill that the approved payload names."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any]:
        """Set the switch live; raises ApprovalStale when it was killed again or is live already."""
        payload = approval.payload
        table = store.switches
        tenant, capability, version = payload["tenant"], payload["capability"], payload["version"]
        statement = (
            sa.update(table)
            .where(
                table.c.tenant == tenant,
                table.c.capability == capability,
                table.c.version == version,
                table.c.state == "killed",
            )
            .values(
                state="live", version=version + 1, reason=f"ticket {approval.ticket}", changed_by=decision.approver,
                changed_at=decision.at, approval_id=approval.id,
            )
        )  # fmt: skip
        try:
            changed = tx.execute(statement).rowcount
        except IntegrityError as error:
            raise SwitchRefused("the database refused to set this switch live.") from error
        if changed != 1:
            raise ApprovalStale("the switch was flipped since this was asked for.", hint="Ask again.")
        found = store.switch(tx, tenant, capability)
        assert found is not None
        by = Actor(kind="user", id=decision.approver)
        _record(
            tx,
            self._core,
            "switch.enable",
            found,
            by,
            None,
            {"approval": approval.id, "requester": approval.requester},
        )
        return {"capability": capability, "tenant": tenant, "version": found.version}


def enable_kind(core: Core, may_decide: MayDecide) -> Kind:
    """Return the kind of change request that sets a killed switch live."""
    return Kind(ENABLE, EnableExecutor(core), may_decide)


def status(tx: Tx) -> list[Switch]:
    """Return every switch that was ever flipped, killed ones first."""
    return sorted(store.list_switches(tx), key=lambda s: (not s.killed, s.tenant, s.capability))


def _check(capability: str, tenant: str) -> None:
    if len(capability) > 100 or not _NAME.fullmatch(capability):
        raise SwitchRefused("a capability is lower-case words joined by dots, such as payments.")
    if not _TENANT.fullmatch(tenant):
        raise SwitchRefused("a tenant is a name, or * for every tenant.")


def _record(
    tx: Tx,
    core: Core,
    action: str,
    switch: Switch,
    by: Actor,
    request_id: str | None,
    data: Mapping[str, Any],
) -> None:
    event = Event(
        action=action,
        outcome="success",
        actor=by,
        tenant="main" if switch.tenant == EVERY_TENANT else switch.tenant,
        target=("Switch", f"{switch.tenant}/{switch.capability}"),
        data={"version": switch.version, **data},
        request_id=request_id,
    )
    record(tx, core, event)
