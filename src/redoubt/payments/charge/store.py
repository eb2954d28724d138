"""The charge service's tables. Nobody else has the address of this database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from redoubt.core.db import Json, Timestamp, Tx, tenant_column

from .models import Intent

metadata = sa.MetaData()

commands = sa.Table(
    "charge_commands",
    metadata,
    tenant_column(),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("intent", sa.Text, nullable=True),
    sa.Column("answer", Json, nullable=False),
    sa.Column("received_at", Timestamp, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "id"),
)

intents = sa.Table(
    "charge_intents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("op", sa.Text, nullable=False),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("order_ref", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("parent", sa.Text, sa.ForeignKey("charge_intents.id"), nullable=True),
    sa.Column("request", Json, nullable=False),
    sa.Column("provider_object", sa.Text, nullable=True, unique=True),
    sa.Column("provider_payment", sa.Text, nullable=True),
    sa.Column("redirect_url", sa.Text, nullable=True),
    sa.Column("captured", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("refunded", sa.BigInteger, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("maybe_sent", sa.Boolean, nullable=False),
    sa.Column("first_call_at", Timestamp, nullable=True),
    sa.Column("lease_until", Timestamp, nullable=True),
    sa.Column("next_at", Timestamp, nullable=True),
    sa.Column("paged_at", Timestamp, nullable=True),
    sa.Column("failure", sa.Text, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.UniqueConstraint("tenant", "kind", "op"),
)

events = sa.Table(
    "charge_provider_events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("object_id", sa.Text, nullable=True),
    sa.Column("intent", sa.Text, nullable=True),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("received_at", Timestamp, nullable=False),
)

ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("intent", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("lines", Json, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.UniqueConstraint("tenant", "seq"),
    sa.UniqueConstraint("intent", "kind"),
)

ledger_postings = sa.Table(
    "ledger_postings",
    metadata,
    sa.Column("entry", sa.Text, sa.ForeignKey("ledger_entries.id"), nullable=False),
    sa.Column("line", sa.Integer, nullable=False),
    tenant_column(),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("entry", "line"),
)

approvers = sa.Table(
    "charge_approvers",
    metadata,
    sa.Column("credential", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("enrolled_at", Timestamp, nullable=False),
    sa.Column("revoked_at", Timestamp, nullable=True),
)

consumed = sa.Table(
    "charge_consumed_approvals",
    metadata,
    tenant_column(),
    sa.Column("nonce", sa.Text, nullable=False),
    sa.Column("payload_hash", sa.Text, nullable=False, unique=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("requester", sa.Text, nullable=False),
    sa.Column("approver", sa.Text, nullable=False),
    sa.Column("credential", sa.Text, nullable=False),
    sa.Column("intent", sa.Text, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "nonce"),
)

velocity = sa.Table(
    "charge_velocity",
    metadata,
    tenant_column(),
    sa.Column("cap", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("touched", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "cap", "subject"),
)

switches = sa.Table(
    "charge_switches",
    metadata,
    tenant_column(),
    sa.Column("capability", sa.Text, nullable=False),
    sa.Column("killed", sa.Boolean, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "capability"),
)

feed = sa.Table(
    "charge_feed",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    tenant_column(),
    sa.Column("intent", sa.Text, nullable=False),
    sa.Column("body", Json, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
)

TRIGGERS = frozenset(
    f"{table}_{what}"
    for table, names in {
        "ledger_entries": ("insert", "post", "no_update", "no_delete"),
        "ledger_postings": ("insert", "no_update", "no_delete"),
        "charge_consumed": ("no_update", "no_delete", "insert"),
        "charge_approvers": ("insert", "update", "no_delete"),
        "charge_intents": ("insert", "update", "no_delete"),
        "charge_events": ("no_update", "no_delete", "insert"),
    }.items()
    for what in names
)


def insert_once(tx: Tx, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert `values` unless a unique key of theirs is taken; return whether they were inserted."""
    insert = sqlite.insert(table) if tx.dialect == "sqlite" else postgresql.insert(table)
    inserted = tx.execute(insert.on_conflict_do_nothing().returning(sa.literal(1)), dict(values))
    return inserted.first() is not None


def serialise(tx: Tx, what: str) -> None:
    """Let one transaction at a time past this line until it ends (SQLite has one writer anyway)."""
    if tx.dialect == "postgresql":
        tx.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))"), {"what": what})


def intent_by(tx: Tx, *where: sa.ColumnElement[bool], lock: bool = False) -> Intent | None:
    """Return the one intent that `where` names, its row locked until the transaction ends when `lock`."""
    query = sa.select(intents).where(*where)
    row = tx.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else Intent(**row)


def lock_with_parent(tx: Tx, intent_id: str) -> tuple[Intent, Intent | None]:
    """Lock an intent, its payment first: whoever locks both takes them in this order, so nobody deadlocks."""
    parent_id = tx.execute(sa.select(intents.c.parent).where(intents.c.id == intent_id)).scalar_one()
    parent = intent_by(tx, intents.c.id == parent_id, lock=True) if parent_id is not None else None
    intent = intent_by(tx, intents.c.id == intent_id, lock=True)
    assert intent is not None
    return intent, parent
