"""Append-only entries, the tree over them, its tiles, and the sequencer's lease."""

import sqlalchemy as sa
from alembic import op

revision = "audit_0001"
down_revision = None
branch_labels = ("audit",)
depends_on = None

_FIXED = (
    "id", "tenant", "at", "action", "outcome", "class_uid", "severity_id", "actor_kind", "actor_id", "session",
    "target_type", "target_id", "request_id", "body", "leaf_hash",
)  # fmt: skip


def _tenant() -> "sa.Column[str]":
    return sa.Column("tenant", sa.Text, nullable=False, server_default="main")


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("class_uid", sa.BigInteger, nullable=False),
        sa.Column("severity_id", sa.Integer, nullable=False),
        sa.Column("actor_kind", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=True),
        sa.Column("target_type", sa.Text, nullable=True),
        sa.Column("target_id", sa.Text, nullable=True),
        sa.Column("request_id", sa.Text, nullable=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("leaf_index", sa.BigInteger, nullable=True, unique=True),
        sa.CheckConstraint("outcome IN ('success', 'failure', 'denied')", name="audit_outcome"),
        sa.CheckConstraint("leaf_index >= 0", name="audit_leaf_index"),
        sa.CheckConstraint("length(leaf_hash) = 32", name="audit_leaf_hash"),
    )
    unplaced = sa.text("leaf_index IS NULL")
    op.create_index(
        "audit_entries_unplaced", "audit_entries", ["id"], sqlite_where=unplaced, postgresql_where=unplaced
    )
    op.create_index("audit_entries_tenant", "audit_entries", ["tenant", "id"])
    op.create_index("audit_entries_action", "audit_entries", ["action", "id"])
    op.create_table(
        "audit_personal",
        sa.Column("entry_id", sa.Text, sa.ForeignKey("audit_entries.id"), primary_key=True),
        sa.Column("commitment", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("lookup", sa.Text, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("audit_personal_lookup", "audit_personal", ["lookup", "entry_id"])
    op.create_table(
        "audit_tree",
        sa.Column("name", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("peaks", sa.LargeBinary, nullable=False),
        sa.Column("checkpoint", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_tiles",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("idx", sa.BigInteger, primary_key=True, autoincrement=False),
        _tenant(),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("length(hashes) = 8192 AND length(root) = 32", name="audit_tile_whole"),
    )
    op.create_table(
        "audit_lease",
        sa.Column("name", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    dialect = op.get_bind().dialect.name
    differs = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    changed = " OR ".join(f"NEW.{name} {differs} OLD.{name}" for name in _FIXED)
    for table, event, when, message in (
        ("audit_entries", "INSERT", "NEW.leaf_index IS NOT NULL", "only the sequencer places an audit entry"),
        (
            "audit_entries",
            "UPDATE",
            f"OLD.leaf_index IS NOT NULL OR NEW.leaf_index IS NULL OR {changed}",
            "an audit entry cannot be changed",
        ),
        ("audit_entries", "DELETE", None, "an audit entry cannot be deleted"),
        ("audit_personal", "UPDATE", None, "a disclosure cannot be changed; erasure deletes it"),
        ("audit_tiles", "UPDATE", None, "a tile of the audit tree cannot be changed"),
        ("audit_tiles", "DELETE", None, "a tile of the audit tree cannot be deleted"),
        (
            "audit_tree",
            "UPDATE",
            f"NEW.size < OLD.size OR NEW.name {differs} OLD.name",
            "the audit tree only grows",
        ),
        ("audit_tree", "DELETE", None, "the audit tree cannot be deleted"),
        ("audit_lease", "UPDATE", "NEW.fence < OLD.fence", "a fencing token only grows"),
        ("audit_lease", "DELETE", None, "a fencing token cannot be forgotten"),
    ):
        _refuse(dialect, table, event, when, message)


def _refuse(dialect: str, table: str, event: str, when: str | None, message: str) -> None:
    name = f"{table}_{event.lower()}"
    condition = f" WHEN ({when})" if when else ""
    if dialect == "sqlite":
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table}{condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
        return
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW{condition} EXECUTE FUNCTION {name}()"
    )
    if event == "DELETE":
        op.execute(
            f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )


def downgrade() -> None:
    raise RuntimeError("the audit log is append-only: there is no way back")
