"""A policy version becomes the head by a proof that it grants nothing more, or by a consumed approval; by nothing else."""

import sqlalchemy as sa
from alembic import op

revision = "authz_0002"
down_revision = "authz_0001"
branch_labels = None
depends_on = ("guard_0001",)

_HOUR = 3_600 * 1_000_000
_NEXT = "COALESCE((SELECT MAX(seq) + 1 FROM policy_head WHERE tenant = NEW.tenant), 0)"
_KEPT = (
    "tenant", "seq", "version", "kind", "author", "approval_id", "reviewer", "ticket", "note", "at",
)  # fmt: skip
_EYES = (
    "(seq = 0 AND kind = 'genesis') OR (seq > 0 AND kind <> 'genesis' AND ("
    "(approval_id IS NOT NULL AND reviewer IS NOT NULL AND reviewer <> author AND ticket <> '')"
    " OR (approval_id IS NULL AND reviewer IS NULL AND verdict_id IS NOT NULL)))"
)


def upgrade() -> None:
    op.create_table(
        "policy_verdicts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("base_seq", sa.Integer, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("passes", sa.Integer, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("judged_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["tenant", "base"], ["policy_versions.tenant", "policy_versions.id"]),
        sa.CheckConstraint("length(head) = 64 AND head <> base", name="policy_verdicts_head"),
        sa.CheckConstraint("kind IN ('change', 'rollback')", name="policy_verdicts_kind"),
        sa.CheckConstraint(
            "verdict IN ('equal', 'narrower', 'new', 'unknown', 'wider')", name="policy_verdicts_verdict"
        ),
        sa.CheckConstraint(
            "passes = 0 OR (passes = 1 AND verdict IN ('equal', 'narrower'))", name="policy_verdicts_passes"
        ),
    )
    if op.get_bind().dialect.name == "postgresql":
        _postgresql()
    else:
        _sqlite()


def downgrade() -> None:
    raise RuntimeError("verdicts are evidence: there is no way back")


def _sqlite() -> None:
    op.create_table(
        "policy_head_new",
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
        sa.Column("verdict_id", sa.Text, sa.ForeignKey("policy_verdicts.id"), nullable=True, unique=True),
        sa.Column("seal", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "seq"),
        sa.ForeignKeyConstraint(["tenant", "version"], ["policy_versions.tenant", "policy_versions.id"]),
        sa.CheckConstraint("kind IN ('genesis', 'change', 'rollback')", name="policy_head_kind"),
        sa.CheckConstraint(_EYES, name="policy_head_four_eyes"),
    )
    names = ", ".join(_KEPT)
    op.execute(f"INSERT INTO policy_head_new ({names}) SELECT {names} FROM policy_head")  # noqa: S608
    op.execute("DROP TABLE policy_head")
    op.execute("ALTER TABLE policy_head_new RENAME TO policy_head")
    for table in ("policy_verdicts", "policy_head"):
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        f"CREATE TRIGGER policy_head_next BEFORE INSERT ON policy_head WHEN NEW.seq <> {_NEXT}"
        " BEGIN SELECT RAISE(ABORT, 'the policy head moves one step at a time'); END"
    )
    op.execute(
        f"CREATE TRIGGER policy_head_proven BEFORE INSERT ON policy_head WHEN {_refused()}"
        " BEGIN SELECT RAISE(ABORT, 'a policy version needs a proof or an approval'); END"
    )


def _postgresql() -> None:
    op.add_column("policy_head", sa.Column("verdict_id", sa.Text, nullable=True))
    op.add_column("policy_head", sa.Column("seal", sa.Text, nullable=True))
    op.create_foreign_key("policy_head_verdict", "policy_head", "policy_verdicts", ["verdict_id"], ["id"])
    op.create_unique_constraint("policy_head_verdict_once", "policy_head", ["verdict_id"])
    op.drop_constraint("policy_head_four_eyes", "policy_head")
    op.create_check_constraint("policy_head_four_eyes", "policy_head", _EYES)
    for verb in ("update", "delete"):
        op.execute(
            f"CREATE TRIGGER policy_verdicts_no_{verb} BEFORE {verb.upper()} ON policy_verdicts"
            " FOR EACH ROW EXECUTE FUNCTION authz_append_only()"
        )
    op.execute(
        "CREATE TRIGGER policy_verdicts_no_truncate BEFORE TRUNCATE ON policy_verdicts"
        " FOR EACH STATEMENT EXECUTE FUNCTION authz_append_only()"
    )
    op.execute(
        "CREATE FUNCTION authz_head_proven() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF {_refused()} THEN"
        " RAISE EXCEPTION 'a policy version needs a proof or an approval' USING ERRCODE = '23514';"
        " END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER policy_head_proven BEFORE INSERT ON policy_head"
        " FOR EACH ROW EXECUTE FUNCTION authz_head_proven()"
    )


def _running(tenant: str) -> str:
    return f"(SELECT h.version FROM policy_head h WHERE h.tenant = {tenant} ORDER BY h.seq DESC LIMIT 1)"  # noqa: S608


def _refused() -> str:
    """What may not become the head.

    A tenant's own history begins with what decides for it already. After that a step rests on a verdict about exactly
    this base, step and version: one that passes, of the last hour, or one that an approval consumed in time.
    """
    running = _running("'main'")
    fork = f"NEW.tenant <> 'main' AND (NEW.version <> {running} OR {running} IS NULL)"
    verdict = " AND ".join(
        (
            "v.id = NEW.verdict_id",
            "v.tenant = NEW.tenant",
            f"v.base = {_running('NEW.tenant')}",
            "v.base_seq = NEW.seq - 1",
            "v.head = NEW.version",
            "v.kind = NEW.kind",
            "v.author = NEW.author",
            "NEW.at >= v.judged_at",
        )
    )
    proven = (
        "NEW.approval_id IS NULL AND NEW.reviewer IS NULL AND v.passes = 1"
        f" AND v.verdict IN ('equal', 'narrower') AND NEW.at - v.judged_at <= {_HOUR}"
    )
    rests = f"{verdict} AND (({proven}) OR EXISTS ({_approved()}))"
    stands = "SELECT 1 FROM policy_verdicts v WHERE " + rests  # noqa: S608
    return f"NEW.seal IS NULL OR NEW.seal = '' OR (NEW.seq = 0 AND {fork}) OR (NEW.seq > 0 AND NOT EXISTS ({stands}))"


def _approved() -> str:
    """The approval that this step consumes: two people, in time, over exactly this base, text, verdict and version.

    The payload is canonical JSON, so its beginning and its end are fixed text: quotes in a value are escaped, and the
    last brace closes the outermost object. JSON functions would not do: SQLite calls them unsafe in triggers.
    """
    begins = (
        """'{"author":"' || NEW.author || '","base":"' || v.base || '","body":' || p.body || ',"dry_run":"'"""
    )
    ends = """'","verdict":"' || v.verdict || '","verdict_id":"' || v.id || '","version":"' || NEW.version || '"}'"""
    conditions = [
        "a.id = NEW.approval_id",
        "a.kind = 'policy.change'",
        "a.state = 'approved'",
        "a.tenant = NEW.tenant",
        "a.requester = NEW.author",
        "a.decided_by = NEW.reviewer",
        "a.ticket = NEW.ticket",
        "NEW.at >= a.decided_at",
        "NEW.at < a.expires_at",
        "p.tenant = NEW.tenant",
        "p.id = NEW.version",
        f"substr(a.payload, 1, length({begins})) = {begins}",
        f"substr(a.payload, length(a.payload) - length({ends}) + 1) = {ends}",
    ]
    return "SELECT 1 FROM approvals a, policy_versions p WHERE " + " AND ".join(conditions)  # noqa: S608
