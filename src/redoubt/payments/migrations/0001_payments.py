"""Payments, refunds, the outbox of commands and the reader's place in the charge service's feed."""

import sqlalchemy as sa
from alembic import op

revision = "payments_0001"
down_revision = None
branch_labels = ("payments",)
depends_on = None

_STATES = "('created', 'unknown', 'pending', 'succeeded', 'refused', 'expired')"
_LIVE = "state IN ('created', 'unknown', 'pending', 'succeeded')"
_RULES = {
    "payments": (
        ("id", "tenant", "order_id", "customer_id", "amount", "currency", "created_at"),
        "(OLD.state IN ('succeeded', 'refused', 'expired') AND NEW.state <> OLD.state)"
        " OR NEW.refunded < OLD.refunded",
        "this change of a payment is refused",
    ),
    "payment_commands": (
        ("id", "tenant", "kind", "body", "body_hash", "created_at"),
        "OLD.state <> 'pending' AND NEW.state <> OLD.state",
        "a command is never changed",
    ),
}


def upgrade() -> None:
    text, big = sa.Text, sa.BigInteger
    op.create_table(
        "payments",
        sa.Column("id", text, primary_key=True),
        sa.Column("tenant", text, nullable=False, server_default="main"),
        sa.Column("order_id", text, nullable=False),
        sa.Column("customer_id", text, nullable=False),
        sa.Column("amount", big, nullable=False),
        sa.Column("currency", text, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("redirect_url", text, nullable=True),
        sa.Column("provider_payment", text, nullable=True),
        sa.Column("refunded", big, nullable=False),
        sa.Column("failure", text, nullable=True),
        sa.Column("human", sa.Boolean, nullable=False),
        sa.Column("created_at", big, nullable=False),
        sa.Column("updated_at", big, nullable=False),
        sa.CheckConstraint("amount > 0", name="payments_amount"),
        sa.CheckConstraint("refunded >= 0 AND refunded <= amount", name="payments_refunded"),
        sa.CheckConstraint(f"state IN {_STATES}", name="payments_state"),
    )
    op.create_index(
        "payments_one_live",
        "payments",
        ["tenant", "order_id"],
        unique=True,
        sqlite_where=sa.text(_LIVE),
        postgresql_where=sa.text(_LIVE),
    )
    op.create_index("payments_customer", "payments", ["tenant", "customer_id"])
    op.create_table(
        "payment_refunds",
        sa.Column("id", text, primary_key=True),
        sa.Column("tenant", text, nullable=False, server_default="main"),
        sa.Column("payment_id", text, sa.ForeignKey("payments.id"), nullable=False),
        sa.Column("amount", big, nullable=False),
        sa.Column("currency", text, nullable=False),
        sa.Column("reason", text, nullable=False),
        sa.Column("requester", text, nullable=False),
        sa.Column("approval_id", text, nullable=False, unique=True),
        sa.Column("state", text, nullable=False),
        sa.Column("failure", text, nullable=True),
        sa.Column("created_at", big, nullable=False),
        sa.Column("updated_at", big, nullable=False),
        sa.CheckConstraint("amount > 0", name="payment_refunds_amount"),
    )
    op.create_index("payment_refunds_payment", "payment_refunds", ["tenant", "payment_id"])
    op.create_table(
        "payment_commands",
        sa.Column("id", text, primary_key=True),
        sa.Column("tenant", text, nullable=False, server_default="main"),
        sa.Column("kind", text, nullable=False),
        sa.Column("body", text, nullable=False),
        sa.Column("body_hash", text, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("reason", text, nullable=True),
        sa.Column("created_at", big, nullable=False),
        sa.Column("delivered_at", big, nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'refused')", name="payment_commands_state"),
    )
    op.create_table(
        "payment_feed",
        sa.Column("source", text, primary_key=True),
        sa.Column("tenant", text, nullable=False, server_default="main"),
        sa.Column("after", big, nullable=False),
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table, (fixed, refused, message) in _RULES.items():
        _guard(table, fixed, refused, message, sqlite=sqlite)


def _guard(table: str, fixed: tuple[str, ...], refused: str, message: str, *, sqlite: bool) -> None:
    operator = "IS NOT" if sqlite else "IS DISTINCT FROM"
    changed = " OR ".join(f"NEW.{column} {operator} OLD.{column}" for column in fixed)
    if sqlite:
        op.execute(
            f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{message}') WHERE ({refused}) OR {changed}; END"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} are kept'); END"
        )
        return
    raising = "RAISE EXCEPTION '{}' USING ERRCODE = 'integrity_constraint_violation';"
    for name, when, body in (
        (
            f"{table}_update",
            "UPDATE",
            f"IF ({refused}) OR {changed} THEN {raising.format(message)} END IF; RETURN NEW;",
        ),
        (f"{table}_no_delete", "DELETE", raising.format(f"{table} are kept")),
    ):
        op.execute(
            sa.text(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN {body} END $body$"
            )
        )
        op.execute(f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")


def downgrade() -> None:
    for table in ("payment_feed", "payment_commands", "payment_refunds", "payments"):
        op.drop_table(table)
