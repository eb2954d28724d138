"""The app's tables for payments: mirrors of the charge service's state, and the outbox of commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from redoubt.core.db import Json, Timestamp, Tx, tenant_column

from .models import LIVE, OutboxCommand, Payment, Refund

metadata = sa.MetaData()

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("redirect_url", sa.Text, nullable=True),
    sa.Column("provider_payment", sa.Text, nullable=True),
    sa.Column("refunded", sa.BigInteger, nullable=False),
    sa.Column("failure", sa.Text, nullable=True),
    sa.Column("human", sa.Boolean, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Index("payments_by_tenant_id", "tenant", "id"),
    sa.Index("payments_by_tenant_customer_id_id", "tenant", "customer_id", "id"),
    sa.Index("payments_by_tenant_order_id_id", "tenant", "order_id", "id"),
)

refunds = sa.Table(
    "payment_refunds",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("requester", sa.Text, nullable=False),
    sa.Column("approval_id", sa.Text, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("failure", sa.Text, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
)

commands = sa.Table(
    "payment_commands",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", Json, nullable=False),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("delivered_at", Timestamp, nullable=True),
)

feed = sa.Table(
    "payment_feed",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("after", sa.BigInteger, nullable=False),
)

TRIGGERS = frozenset(
    {"payments_update", "payments_no_delete", "payment_commands_update", "payment_commands_no_delete"}
)


def insert_once(tx: Tx, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert `values` unless a unique key of theirs is taken; return whether they were inserted."""
    insert = sqlite.insert(table) if tx.dialect == "sqlite" else postgresql.insert(table)
    inserted = tx.execute(insert.on_conflict_do_nothing().returning(sa.literal(1)), dict(values))
    return inserted.first() is not None


def payment(tx: Tx, tenant: str, payment_id: str, *, lock: bool = False) -> Payment | None:
    """Return a payment of this tenant, its row locked when `lock`."""
    query = sa.select(payments).where(payments.c.tenant == tenant, payments.c.id == payment_id)
    row = tx.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else Payment(**row)


def live_payment(tx: Tx, tenant: str, order_id: str) -> Payment | None:
    """Return the order's payment that has not failed; an index holds that there is at most one."""
    query = sa.select(payments).where(
        payments.c.tenant == tenant, payments.c.order_id == order_id, payments.c.state.in_(LIVE)
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else Payment(**row)


def payments_of(tx: Tx, tenant: str, order_id: str) -> list[Payment]:
    """Return every payment of an order, newest first."""
    query = (
        sa.select(payments)
        .where(payments.c.tenant == tenant, payments.c.order_id == order_id)
        .order_by(payments.c.id.desc())
    )
    return [Payment(**row) for row in tx.execute(query).mappings()]


def refund(tx: Tx, *where: sa.ColumnElement[bool], lock: bool = False) -> Refund | None:
    """Return the one refund that `where` names."""
    query = sa.select(refunds).where(*where)
    row = tx.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else Refund(**row)


def refunds_of(tx: Tx, tenant: str, payment_id: str) -> list[Refund]:
    """Return every refund of a payment, oldest first."""
    query = (
        sa.select(refunds)
        .where(refunds.c.tenant == tenant, refunds.c.payment_id == payment_id)
        .order_by(refunds.c.id)
    )
    return [Refund(**row) for row in tx.execute(query).mappings()]


def command(tx: Tx, command_id: str, *, lock: bool = False) -> OutboxCommand | None:
    """Return a command of the outbox."""
    query = sa.select(commands).where(commands.c.id == command_id)
    row = tx.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else OutboxCommand(**row)
