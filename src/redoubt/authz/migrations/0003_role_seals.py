"""A role is given by the app, under its seal; a row is never changed into another."""

import sqlalchemy as sa
from alembic import op

revision = "authz_0003"
down_revision = "authz_0002"
branch_labels = None
depends_on = None

_RULES = (
    ("no_update", "UPDATE", "1 = 1", "a role is given and taken, never changed"),
    ("sealed", "INSERT", "NEW.seal IS NULL OR NEW.seal = ''", "a role is given by the app"),
)


def upgrade() -> None:
    op.add_column("role_members", sa.Column("seal", sa.Text, nullable=True))
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name, event, refused, message in _RULES:
        if not postgresql:
            op.execute(
                f"CREATE TRIGGER role_members_{name} BEFORE {event} ON role_members WHEN {refused}"
                f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
            continue
        op.execute(
            f"CREATE FUNCTION authz_role_{name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF {refused} THEN RAISE EXCEPTION '{message}' USING ERRCODE = '23514'; END IF;"
            " RETURN NEW; END $$"
        )
        op.execute(
            f"CREATE TRIGGER role_members_{name} BEFORE {event} ON role_members"
            f" FOR EACH ROW EXECUTE FUNCTION authz_role_{name}()"
        )


def downgrade() -> None:
    raise RuntimeError("without their seals roles could be given by whoever writes the table")
