"""Roles as steps that are only appended: what somebody has is what their newest sealed step says.

A trigger with its owner's rights keeps the table of members, so no process has to be let write that itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "authz_0007"
down_revision = "authz_0006"
branch_labels = None
depends_on = None

_NEXT = (
    "COALESCE((SELECT MAX(seq) + 1 FROM role_steps WHERE tenant = NEW.tenant AND user_id = NEW.user_id), 0)"
)
_RULES = (
    (
        "next",
        "INSERT",
        f"NEW.seal = '' OR NEW.seq <> {_NEXT}",
        "a step of roles follows the last, under its seal",
    ),
    ("no_update", "UPDATE", "1 = 1", "a step of roles is never changed"),
    ("no_delete", "DELETE", "1 = 1", "a step of roles is never removed"),
)
_TAKEN = "DELETE FROM role_members WHERE tenant = NEW.tenant AND user_id = NEW.user_id AND role = NEW.role"
_GIVEN = (
    "INSERT INTO role_members (tenant, user_id, role, granted_by, at, seal, expires_at, approval_id)"
    " SELECT NEW.tenant, NEW.user_id, NEW.role, NEW.granted_by, NEW.at, NEW.member_seal, NEW.expires_at, NEW.approval_id"
)
_CLOCKS = ("policy_head_clock_insert", "role_members_clock_insert", "role_members_clock_delete")


def upgrade() -> None:
    op.create_table(
        "role_steps",
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("granted_by", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.Column("approval_id", sa.Text, nullable=True),
        sa.Column("member_seal", sa.Text, nullable=True),
        sa.Column("held", sa.Text, nullable=False),
        sa.Column("seal", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "user_id", "seq"),
        sa.CheckConstraint("kind IN ('give', 'take', 'adopt')", name="role_steps_kind"),
        sa.CheckConstraint("(kind = 'give') = (member_seal IS NOT NULL)", name="role_steps_sealed"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _postgresql()
    else:
        _sqlite()


def downgrade() -> None:
    raise RuntimeError("without their steps a role that was taken could be put back")


def _sqlite() -> None:
    for name, event, refused, message in _RULES:
        op.execute(
            f"CREATE TRIGGER role_steps_{name} BEFORE {event} ON role_steps WHEN {refused}"
            f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        "CREATE TRIGGER role_steps_apply AFTER INSERT ON role_steps"
        f" BEGIN {_TAKEN}; {_GIVEN} WHERE NEW.kind = 'give'; END"
    )


def _postgresql() -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    path = f"SET search_path = {schema}, pg_catalog, pg_temp"
    for name, event, refused, message in _RULES:
        op.execute(
            f"CREATE FUNCTION authz_role_steps_{name}() RETURNS trigger LANGUAGE plpgsql {path} AS"
            f" $$ BEGIN IF {refused} THEN RAISE EXCEPTION '{message}' USING ERRCODE = '23514'; END IF;"
            " RETURN NEW; END $$"
        )
        op.execute(
            f"CREATE TRIGGER role_steps_{name} BEFORE {event} ON role_steps"
            f" FOR EACH ROW EXECUTE FUNCTION authz_role_steps_{name}()"
        )
    op.execute(
        "CREATE TRIGGER role_steps_no_truncate BEFORE TRUNCATE ON role_steps"
        " FOR EACH STATEMENT EXECUTE FUNCTION authz_role_steps_no_delete()"
    )
    op.execute(
        f"CREATE FUNCTION authz_role_steps_apply() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path} AS"
        f" $$ BEGIN {_TAKEN}; IF NEW.kind = 'give' THEN {_GIVEN}; END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER role_steps_apply AFTER INSERT ON role_steps"
        " FOR EACH ROW EXECUTE FUNCTION authz_role_steps_apply()"
    )
    for name in _CLOCKS:
        op.execute(f"ALTER FUNCTION authz_{name}() SECURITY DEFINER {path}")
    for name in ("role_steps_apply", *_CLOCKS):
        op.execute(f"REVOKE ALL ON FUNCTION authz_{name}() FROM PUBLIC")
