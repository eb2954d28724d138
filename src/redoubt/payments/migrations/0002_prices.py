"""Prices: proposals with their dry runs and the versions that counted, each behind an approval that the database reads."""

import sqlalchemy as sa
from alembic import op

revision = "payments_0002"
down_revision = "payments_0001"
branch_labels = None
depends_on = ("guard_0001",)

_KEY = ("tenant", "entity", "field", "row_id")
_SAID = (*_KEY, "id", "base", "amount", "currency", "author", "reason", "evidence", "proposed_at")


def _key() -> "list[sa.Column[str]]":
    names = ("entity", "field", "row_id")
    return [
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        *(sa.Column(name, sa.Text, nullable=False) for name in names),
    ]


def upgrade() -> None:
    op.create_table(
        "price_versions",
        *_key(),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=True),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("base", sa.BigInteger, nullable=True),
        sa.Column("proposal_id", sa.Text, nullable=True, unique=True),
        sa.Column("approval_id", sa.Text, sa.ForeignKey("approvals.id"), nullable=True, unique=True),
        sa.Column("approver", sa.Text, nullable=True),
        sa.Column("proposed_at", sa.BigInteger, nullable=False),
        sa.Column("effective_at", sa.BigInteger, nullable=False),
        sa.Column("seal", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint(*_KEY, "version"),
        sa.CheckConstraint("amount >= 0", name="price_versions_amount"),
        sa.CheckConstraint("author <> '' AND reason <> '' AND seal <> ''", name="price_versions_named"),
        # Four eyes, held by the database: after version 1 no price counts without somebody else.
        sa.CheckConstraint(
            "(version = 1 AND base IS NULL AND proposal_id IS NULL AND approval_id IS NULL AND approver IS NULL)"
            " OR (version > 1 AND base = version - 1 AND amount IS NOT NULL AND proposal_id IS NOT NULL"
            " AND approval_id IS NOT NULL AND approver IS NOT NULL AND approver <> author)",
            name="price_versions_four_eyes",
        ),
    )
    op.create_index("price_versions_effective", "price_versions", ["tenant", "effective_at"])
    op.create_table(
        "price_proposals",
        sa.Column("id", sa.Text, primary_key=True),
        *_key(),
        sa.Column("base", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("proposed_at", sa.BigInteger, nullable=False),
        sa.Column("approval_id", sa.Text, sa.ForeignKey("approvals.id"), nullable=True, unique=True),
        sa.ForeignKeyConstraint([*_KEY, "base"], [f"price_versions.{name}" for name in (*_KEY, "version")]),
        sa.CheckConstraint("amount >= 0", name="price_proposals_amount"),
        sa.CheckConstraint("author <> '' AND reason <> ''", name="price_proposals_named"),
    )
    op.create_index("price_proposals_row", "price_proposals", [*_KEY])
    dialect = op.get_bind().dialect.name
    differs = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    changed = " OR ".join(f"NEW.{name} {differs} OLD.{name}" for name in _SAID)
    kept = "prices that counted are kept as they were"
    for table, event, refused, message in (
        (
            "price_versions",
            "INSERT",
            f"NEW.version <> {_head('NEW')} + 1 OR (NEW.version > 1 AND NOT EXISTS ({_approved()}))",
            "a price changes by an approved proposal",
        ),
        ("price_versions", "UPDATE", "1 = 1", kept),
        ("price_versions", "DELETE", "1 = 1", kept),
        (
            "price_proposals",
            "INSERT",
            f"NEW.base <> {_head('NEW')} OR NEW.approval_id IS NOT NULL",
            "a price is proposed over the one that counts",
        ),
        (
            "price_proposals",
            "UPDATE",
            f"OLD.approval_id IS NOT NULL OR {changed}",
            "what was proposed is never changed",
        ),
        ("price_proposals", "DELETE", "1 = 1", "what was proposed is kept"),
    ):
        _refuse(dialect, table, event, refused, message)


def _head(row: str) -> str:
    same = " AND ".join(f"h.{name} = {row}.{name}" for name in _KEY)
    return f"COALESCE((SELECT MAX(h.version) FROM price_versions h WHERE {same}), 0)"  # noqa: S608


def _approved() -> str:
    """The approval that this version consumes: two people, in time, over exactly this proposal and its dry run.

    The payload is canonical JSON, so its beginning and its end are fixed text, and so is what follows the 64 digits of
    the dry run's hash: quotes in the free text between are escaped, and the last brace closes the outermost object.
    JSON functions would not do: SQLite calls them unsafe in triggers.
    """
    begins = (
        '\'{"amount":\' || CAST(NEW.amount AS TEXT) || \',"author":"\' || NEW.author || \'","base":\''
        ' || CAST(NEW.base AS TEXT) || \',"currency":"\' || NEW.currency || \'","dry_run":"\''
    )
    goes_on = '\'","entity":"\' || NEW.entity || \'","field":"\' || NEW.field || \'","nonce":"\''
    ends = '\'","proposal":"\' || p.id || \'","row":"\' || NEW.row_id || \'","tenant":"\' || NEW.tenant || \'"}\''
    conditions = [
        "p.id = NEW.proposal_id",
        *(f"p.{name} = NEW.{name}" for name in (*_KEY, "base", "amount", "currency", "author", "reason")),
        "p.proposed_at = NEW.proposed_at",
        "p.approval_id = NEW.approval_id",
        "a.id = NEW.approval_id",
        "a.kind = 'price.change'",
        "a.state = 'approved'",
        "a.tenant = NEW.tenant",
        "a.requester = NEW.author",
        "a.decided_by = NEW.approver",
        "a.ticket = NEW.reason",
        "a.dry_run = p.evidence",
        "NEW.effective_at >= a.decided_at",
        "NEW.effective_at < a.expires_at",
        f"substr(a.payload, 1, length({begins})) = {begins}",
        f"substr(a.payload, length({begins}) + 65, length({goes_on})) = {goes_on}",
        f"substr(a.payload, length(a.payload) - length({ends}) + 1) = {ends}",
    ]
    return "SELECT 1 FROM approvals a, price_proposals p WHERE " + " AND ".join(conditions)  # noqa: S608


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
    raise RuntimeError("prices that counted are evidence: there is no way back")
