"""The tables of the webhooks domain."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ..core.db import Json, Timestamp, Tx, tenant_column

metadata = sa.MetaData()

endpoints = sa.Table(
    "webhook_endpoints",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("scheme", sa.Text, nullable=False),
    sa.Column("tolerance_s", sa.BigInteger, nullable=False),
    sa.Column("dedupe_window_s", sa.BigInteger, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
)

keys = sa.Table(
    "webhook_keys",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),  # in:NAME or out:NAME
    sa.Column("key_id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("ref", sa.Text, nullable=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("not_before", Timestamp, nullable=False),
    sa.Column("not_after", Timestamp, nullable=True),
    sa.Column("ended_by", sa.Text, nullable=True),
)

dedupe = sa.Table(
    "webhook_dedupe",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, primary_key=True, server_default="main"),
    sa.Column("identity", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("inbox_id", sa.Text, nullable=False),
    sa.Column("first_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("duplicates", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_at", Timestamp, nullable=True),
)

inbox = sa.Table(
    "webhook_inbox",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("scheme", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("tolerance_s", sa.BigInteger, nullable=False),
    sa.Column("received_at", Timestamp, nullable=False),
    sa.Column("signed_at", Timestamp, nullable=True),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("runs", sa.Integer, nullable=False, server_default="0"),
    sa.Column("finished_at", Timestamp, nullable=True),
    sa.Column("last_error", sa.Text, nullable=True),
    sa.Column("retain_until", Timestamp, nullable=False),
    sa.Column("legal_hold", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("purged_at", Timestamp, nullable=True),
)

targets = sa.Table(
    "webhook_targets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", Json, nullable=False),
    sa.Column("timeout_ms", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("disable_after_s", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("failing_since", Timestamp, nullable=True),
    sa.Column("reason", sa.Text, nullable=True),
    sa.Column("updated_at", Timestamp, nullable=False),
)

outbox = sa.Table(
    "webhook_outbox",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("finished_at", Timestamp, nullable=True),
)

attempts = sa.Table(
    "webhook_attempts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("delivery", sa.Text, sa.ForeignKey("webhook_outbox.id"), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("status", sa.Integer, nullable=True),
    sa.Column("error", sa.Text, nullable=True),
    sa.Column("excerpt", sa.Text, nullable=True),
    sa.Column("millis", sa.Integer, nullable=False),
)

TRIGGERS = frozenset({"webhook_inbox_evidence", "webhook_inbox_kept"})


def insert_new(tx: Tx, table: sa.Table) -> Any:
    """Return an INSERT into `table` that leaves rows which exist as they are."""
    insert = sqlite_insert if tx.dialect == "sqlite" else postgres_insert
    return insert(table).on_conflict_do_nothing()
