"""A counter per tenant that every change of policies or roles moves, so that a caller can ask for at least its own write."""

import sqlalchemy as sa
from alembic import op

revision = "authz_0004"
down_revision = "authz_0003"
branch_labels = None
depends_on = None

_MOVED_BY = (
    ("policy_head", "INSERT", "NEW"),
    ("role_members", "INSERT", "NEW"),
    ("role_members", "DELETE", "OLD"),
)
_UP = (
    "INSERT INTO authz_clock (tenant, seq) VALUES ({row}.tenant, 1)"
    " ON CONFLICT (tenant) DO UPDATE SET seq = authz_clock.seq + 1"
)
_RULES = (
    ("forward", "UPDATE", "NEW.seq <= OLD.seq OR NEW.tenant <> OLD.tenant"),
    ("kept", "DELETE", "1 = 1"),
)
_MESSAGE = "the clock of policies and roles only goes forward"


def upgrade() -> None:
    op.create_table(
        "authz_clock",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO authz_clock (tenant, seq) SELECT tenant, max(seq) + 1 FROM policy_head GROUP BY tenant"
    )
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table, event, row in _MOVED_BY:
        name, statement = f"{table}_clock_{event.lower()}", _UP.format(row=row)
        if not postgresql:
            op.execute(f"CREATE TRIGGER {name} AFTER {event} ON {table} BEGIN {statement}; END")
            continue
        op.execute(
            f"CREATE FUNCTION authz_{name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {statement}; RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW EXECUTE FUNCTION authz_{name}()"
        )
    for name, event, refused in _RULES:
        if not postgresql:
            op.execute(
                f"CREATE TRIGGER authz_clock_{name} BEFORE {event} ON authz_clock WHEN {refused}"
                f" BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
            )
            continue
        op.execute(
            f"CREATE FUNCTION authz_clock_{name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF {refused} THEN RAISE EXCEPTION '{_MESSAGE}' USING ERRCODE = '23514'; END IF;"
            " RETURN NEW; END $$"
        )
        op.execute(
            f"CREATE TRIGGER authz_clock_{name} BEFORE {event} ON authz_clock"
            f" FOR EACH ROW EXECUTE FUNCTION authz_clock_{name}()"
        )


def downgrade() -> None:
    raise RuntimeError("without its clock no caller could ask for at least its own write")
