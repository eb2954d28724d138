"""Tables of the guard. Triggers hold the rules against every role; the service only gives nicer errors."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..core.db import Json, Timestamp, Tx, tenant_column
from .models import Approval, Switch

metadata = sa.MetaData()

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("payload_hash", sa.Text, nullable=False, unique=True),
    sa.Column("requester", sa.Text, nullable=False),
    sa.Column("ticket", sa.Text, nullable=False),
    sa.Column("dry_run", Json, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=True),
    sa.Column("decided_at", Timestamp, nullable=True),
    sa.Column("reason", sa.Text, nullable=True),
    sa.Column("credential", sa.Text, nullable=True),
    sa.Column("assertion", sa.Text, nullable=True),
    sa.Column("assertion_hash", sa.Text, nullable=True, unique=True),
)

switches = sa.Table(
    "switches",
    metadata,
    tenant_column(),
    sa.Column("capability", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("changed_at", Timestamp, nullable=False),
    sa.Column("approval_id", sa.Text, nullable=True, unique=True),
    sa.PrimaryKeyConstraint("tenant", "capability"),
)

TRIGGERS = frozenset(
    {
        "approvals_insert", "approvals_update", "approvals_delete",
        "switches_insert", "switches_update", "switches_delete",
    }
)  # fmt: skip

_APPROVAL = [approvals.c[name] for name in (
    "id", "tenant", "kind", "payload", "payload_hash", "requester", "ticket", "dry_run", "created_at", "expires_at",
    "state", "decided_by", "decided_at", "reason", "credential",
)]  # fmt: skip


def approval(tx: Tx, approval_id: str, tenant: str, *, lock: bool = False) -> Approval | None:
    """Return a request of this tenant; `lock` holds it until the transaction ends."""
    query = sa.select(*_APPROVAL).where(approvals.c.id == approval_id, approvals.c.tenant == tenant)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _approval(row)


def list_approvals(
    tx: Tx, tenant: str, *, state: str | None, kind: str | None, before: str | None, limit: int
) -> list[Approval]:
    """Return requests of this tenant, newest first, older than the id `before`."""
    query = sa.select(*_APPROVAL).where(approvals.c.tenant == tenant)
    if state is not None:
        query = query.where(approvals.c.state == state)
    if kind is not None:
        query = query.where(approvals.c.kind == kind)
    if before is not None:
        query = query.where(approvals.c.id < before)
    return [_approval(row) for row in tx.execute(query.order_by(approvals.c.id.desc()).limit(limit))]


def list_switches(tx: Tx) -> list[Switch]:
    """Return every switch that was ever flipped."""
    return [Switch(**dict(row)) for row in tx.execute(sa.select(switches)).mappings()]


def switch(tx: Tx, tenant: str, capability: str, *, lock: bool = False) -> Switch | None:
    """Return one switch, or None when it was never flipped."""
    query = sa.select(switches).where(switches.c.tenant == tenant, switches.c.capability == capability)
    row = tx.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else Switch(**dict(row))


def _approval(row: Any) -> Approval:
    values = dict(row._mapping)
    return Approval(payload_bytes=values.pop("payload").encode(), **values)
