"""Inbox, dedupe window, keys, outbox; the evidence in the inbox cannot be changed or dropped early."""

import sqlalchemy as sa
from alembic import op

revision = "webhooks_0001"
down_revision = None
branch_labels = ("webhooks",)
depends_on = None

_FIXED = (
    "id",
    "tenant",
    "endpoint",
    "scheme",
    "identity",
    "digest",
    "key_id",
    "tolerance_s",
    "received_at",
    "size",
)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.Text, nullable=False, server_default="main")


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("name", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("scheme", sa.Text, nullable=False),
        sa.Column("tolerance_s", sa.BigInteger, nullable=False),
        sa.Column("dedupe_window_s", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("dedupe_window_s >= 2 * tolerance_s", name="webhook_window"),
    )
    op.create_table(
        "webhook_keys",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("ref", sa.Text, nullable=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=True),
        sa.Column("ended_by", sa.Text, nullable=True),
        sa.CheckConstraint("ended_by IN ('rotation', 'removal')", name="webhook_keys_end"),
    )
    op.create_table(
        "webhook_dedupe",
        sa.Column("endpoint", sa.Text, nullable=False),
        _tenant(),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("inbox_id", sa.Text, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("duplicates", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("endpoint", "tenant", "identity"),
    )
    op.create_index("webhook_dedupe_expiry", "webhook_dedupe", ["expires_at"])
    op.create_table(
        "webhook_inbox",
        sa.Column("id", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("scheme", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("tolerance_s", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("signed_at", sa.BigInteger, nullable=True),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("runs", sa.Integer, nullable=False, server_default="0"),
        sa.Column("finished_at", sa.BigInteger, nullable=True),
        sa.Column("last_error", sa.Text, nullable=True),
        sa.Column("retain_until", sa.BigInteger, nullable=False),
        sa.Column("legal_hold", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("purged_at", sa.BigInteger, nullable=True),
        sa.CheckConstraint("state IN ('accepted', 'done', 'dead')", name="webhook_inbox_state"),
        sa.CheckConstraint("(sealed IS NULL) = (purged_at IS NOT NULL)", name="webhook_inbox_purged"),
    )
    op.create_index("webhook_inbox_retention", "webhook_inbox", ["retain_until"])
    op.create_table(
        "webhook_targets",
        sa.Column("name", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.Text, nullable=False),
        sa.Column("timeout_ms", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("disable_after_s", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("failing_since", sa.BigInteger, nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('enabled', 'disabled', 'removed')", name="webhook_targets_state"),
    )
    op.create_table(
        "webhook_outbox",
        sa.Column("id", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="webhook_outbox_state"),
    )
    op.create_index("webhook_outbox_target", "webhook_outbox", ["target", "state"])
    op.create_table(
        "webhook_attempts",
        sa.Column("id", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("delivery", sa.Text, sa.ForeignKey("webhook_outbox.id"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer, nullable=True),
        sa.Column("error", sa.Text, nullable=True),
        sa.Column("excerpt", sa.Text, nullable=True),
        sa.Column("millis", sa.Integer, nullable=False),
    )
    op.create_index("webhook_attempts_delivery", "webhook_attempts", ["delivery"])
    _defend(op.get_bind().dialect.name)


def _defend(dialect: str) -> None:
    """The evidence stays as it came; only its bytes go, when retention has ended and nobody holds them."""
    differs = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    changed = " OR ".join(f"NEW.{name} {differs} OLD.{name}" for name in (*_FIXED, "signed_at"))
    held = "OLD.legal_hold" if dialect == "postgresql" else "OLD.legal_hold <> 0"
    replaced = (
        f"{changed} OR NEW.retain_until < OLD.retain_until OR (NEW.sealed IS NOT NULL AND NEW.sealed {differs} OLD.sealed)"
        f" OR (NEW.sealed IS NULL AND OLD.sealed IS NOT NULL AND ({held} OR NEW.purged_at < OLD.retain_until))"
    )
    kept = f"OLD.sealed IS NOT NULL OR {held}"
    if dialect == "sqlite":
        for name, event, when, message in (
            ("webhook_inbox_evidence", "UPDATE", replaced, "a stored delivery cannot be changed"),
            ("webhook_inbox_kept", "DELETE", kept, "a stored delivery cannot be deleted"),
        ):
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {event} ON webhook_inbox WHEN {when}"
                f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        return
    for name, event, when, message in (
        ("webhook_inbox_evidence", "UPDATE", replaced, "a stored delivery cannot be changed"),
        ("webhook_inbox_kept", "DELETE", kept, "a stored delivery cannot be deleted"),
    ):
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON webhook_inbox FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()"
        )


def downgrade() -> None:
    for table in ("attempts", "outbox", "targets", "inbox", "dedupe", "keys", "endpoints"):
        op.drop_table(f"webhook_{table}")
