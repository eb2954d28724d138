"""Policy versions and their head, append-only; role members."""

import sqlalchemy as sa
from alembic import op

revision = "authz_0001"
down_revision = None
branch_labels = ("authz",)
depends_on = None

_NEXT = "COALESCE((SELECT MAX(seq) + 1 FROM policy_head WHERE tenant = NEW.tenant), 0)"


def upgrade() -> None:
    op.create_table(
        "policy_versions",
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("parent", sa.Text, nullable=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("reviewers", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id"),
        sa.ForeignKeyConstraint(["tenant", "parent"], ["policy_versions.tenant", "policy_versions.id"]),
        sa.CheckConstraint("length(id) = 64", name="policy_versions_id"),
    )
    op.create_table(
        "policy_head",
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("approval_id", sa.Text, nullable=True, unique=True),
        sa.Column("reviewer", sa.Text, nullable=True),
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "seq"),
        sa.ForeignKeyConstraint(["tenant", "version"], ["policy_versions.tenant", "policy_versions.id"]),
        sa.CheckConstraint("kind IN ('genesis', 'change', 'rollback')", name="policy_head_kind"),
        # Four eyes, held by the database: after version 0 nothing becomes the head without somebody else.
        sa.CheckConstraint(
            "(seq = 0 AND kind = 'genesis') OR (seq > 0 AND kind <> 'genesis' AND approval_id IS NOT NULL"
            " AND reviewer IS NOT NULL AND reviewer <> author AND ticket <> '')",
            name="policy_head_four_eyes",
        ),
    )
    op.create_table(
        "role_members",
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("granted_by", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "user_id", "role"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _postgresql()
    else:
        _sqlite()


def downgrade() -> None:
    op.drop_table("role_members")
    op.drop_table("policy_head")
    op.drop_table("policy_versions")


def _sqlite() -> None:
    for table in ("policy_versions", "policy_head"):
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        f"CREATE TRIGGER policy_head_next BEFORE INSERT ON policy_head WHEN NEW.seq <> {_NEXT}"
        " BEGIN SELECT RAISE(ABORT, 'the policy head moves one step at a time'); END"
    )


def _postgresql() -> None:
    op.execute(
        "CREATE FUNCTION authz_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '23514'; END $$"
    )
    op.execute(
        "CREATE FUNCTION authz_head_next() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.seq <> {_NEXT} THEN"
        " RAISE EXCEPTION 'the policy head moves one step at a time' USING ERRCODE = '23514';"
        " END IF; RETURN NEW; END $$"
    )
    for table in ("policy_versions", "policy_head"):
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION authz_append_only()"
            )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION authz_append_only()"
        )
    op.execute(
        "CREATE TRIGGER policy_head_next BEFORE INSERT ON policy_head"
        " FOR EACH ROW EXECUTE FUNCTION authz_head_next()"
    )
