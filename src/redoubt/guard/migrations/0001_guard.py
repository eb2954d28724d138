"""Change requests that the database itself defends, and kill switches that only an approval re-enables."""

import sqlalchemy as sa
from alembic import op

revision = "guard_0001"
down_revision = None
branch_labels = ("guard",)
depends_on = None

_WEEK = 7 * 86_400 * 1_000_000
_FIXED = (
    "id", "tenant", "kind", "payload", "payload_hash", "requester", "ticket", "dry_run", "created_at", "expires_at",
)  # fmt: skip


def _tenant() -> "sa.Column[str]":
    return sa.Column("tenant", sa.Text, nullable=False, server_default="main")


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Text, primary_key=True),
        _tenant(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("payload_hash", sa.Text, nullable=False, unique=True),
        sa.Column("requester", sa.Text, nullable=False),
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("dry_run", sa.Text, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=True),
        sa.Column("decided_at", sa.BigInteger, nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("credential", sa.Text, nullable=True),
        sa.Column("assertion", sa.Text, nullable=True),
        sa.Column("assertion_hash", sa.Text, nullable=True, unique=True),
        sa.CheckConstraint("state IN ('pending', 'approved', 'rejected')", name="approvals_state"),
        sa.CheckConstraint("requester <> '' AND ticket <> ''", name="approvals_named"),
        sa.CheckConstraint(
            f"expires_at > created_at AND expires_at - created_at <= {_WEEK}", name="approvals_lifetime"
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (decided_by IS NULL) AND (state = 'pending') = (decided_at IS NULL)",
            name="approvals_decided",
        ),
        sa.CheckConstraint("state <> 'approved' OR decided_by <> requester", name="approvals_four_eyes"),
        sa.CheckConstraint(
            "state <> 'approved' OR (credential IS NOT NULL AND credential <> '' AND assertion IS NOT NULL"
            " AND assertion_hash IS NOT NULL AND decided_at < expires_at)",
            name="approvals_asserted",
        ),
    )
    op.create_index("approvals_tenant", "approvals", ["tenant", "id"])
    op.create_table(
        "switches",
        _tenant(),
        sa.Column("capability", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("approval_id", sa.Text, sa.ForeignKey("approvals.id"), nullable=True, unique=True),
        sa.PrimaryKeyConstraint("tenant", "capability"),
        sa.CheckConstraint("state IN ('killed', 'live')", name="switches_state"),
        sa.CheckConstraint("(state = 'live') = (approval_id IS NOT NULL)", name="switches_approved"),
    )
    dialect = op.get_bind().dialect.name
    differs = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    changed = " OR ".join(f"NEW.{name} {differs} OLD.{name}" for name in _FIXED)
    for table, event, refused, message in (
        ("approvals", "INSERT", "NEW.state <> 'pending'", "a change request starts undecided"),
        (
            "approvals",
            "UPDATE",
            f"OLD.state <> 'pending' OR NEW.state = 'pending' OR NEW.decided_at < OLD.created_at OR {changed}",
            "a change request is decided once and never changed",
        ),
        ("approvals", "DELETE", "1 = 1", "a change request cannot be deleted"),
        ("switches", "INSERT", "NEW.state <> 'killed' OR NEW.version <> 1", "a switch starts killed"),
        (
            "switches",
            "UPDATE",
            f"NEW.tenant {differs} OLD.tenant OR NEW.capability {differs} OLD.capability"
            " OR NEW.version <> OLD.version + 1"
            f" OR (NEW.state = 'live' AND NOT EXISTS ({_approved()}))",
            "a switch goes live only by its own approval",
        ),
        ("switches", "DELETE", "1 = 1", "a switch cannot be deleted"),
    ):
        _refuse(dialect, table, event, refused, message)


def _approved() -> str:
    """The approval that lifts exactly this kill: its payload names switch and version, and two people stand behind it.

    The payload is canonical JSON, so beginning and end are fixed text around the nonce. JSON functions would not do:
    SQLite calls them unsafe in triggers while the schema is not trusted. Quotes in a nonce are escaped, in names refused.
    """
    begins = """'{"capability":"' || NEW.capability || '","nonce":"'"""
    ends = """'","tenant":"' || NEW.tenant || '","version":' || OLD.version || '}'"""
    conditions = [
        "a.id = NEW.approval_id",
        "a.kind = 'switch.enable'",
        "a.state = 'approved'",
        f"substr(a.payload, 1, length({begins})) = {begins}",
        f"substr(a.payload, length(a.payload) - length({ends}) + 1) = {ends}",
    ]
    return "SELECT 1 FROM approvals a WHERE " + " AND ".join(conditions)  # noqa: S608


def _refuse(dialect: str, table: str, event: str, refused: str, message: str) -> None:
    name = f"{table}_{event.lower()}"
    if dialect == "sqlite":
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} WHEN {refused}"
            f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
        return
    raised = f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation';"
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF {refused} THEN {raised} END IF; RETURN NEW; END $$"
    )
    op.execute(f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")
    if event == "DELETE":
        op.execute(
            f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )


def downgrade() -> None:
    raise RuntimeError("decided change requests are evidence: there is no way back")
