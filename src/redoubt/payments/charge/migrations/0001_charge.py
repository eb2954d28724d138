"""Tables of the charge service, and the triggers that defend them against every role."""

# ruff: noqa: S608 - every part of these statements is a literal of this file

import sqlalchemy as sa
from alembic import op

revision = "charge_0001"
down_revision = None
branch_labels = ("charge",)
depends_on = None

_GENESIS = "0" * 64
_FIXED = (  # what no update of an intent may touch
    "id", "tenant", "kind", "op", "command", "key", "mode", "amount", "currency", "customer", "actor",
    "order_ref", "parent", "request", "created_at",
)  # fmt: skip


def upgrade() -> None:
    _tables()
    if op.get_bind().dialect.name == "sqlite":
        _sqlite_triggers()
    else:
        _postgres_triggers()


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.Text, nullable=False, server_default="main")


def _tables() -> None:
    text, big = sa.Text, sa.BigInteger
    op.create_table(
        "charge_commands",
        _tenant(),
        sa.Column("id", text, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("body_hash", text, nullable=False),
        sa.Column("identity", text, nullable=False),
        sa.Column("status", text, nullable=False),
        sa.Column("intent", text, nullable=True),
        sa.Column("answer", text, nullable=False),
        sa.Column("received_at", big, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id"),
        sa.CheckConstraint("status IN ('accepted', 'refused')", name="charge_commands_status"),
    )
    op.create_table(
        "charge_intents",
        sa.Column("id", text, primary_key=True),
        _tenant(),
        sa.Column("kind", text, nullable=False),
        sa.Column("op", text, nullable=False),
        sa.Column("command", text, nullable=False),
        sa.Column("key", text, nullable=False, unique=True),
        sa.Column("mode", text, nullable=False),
        sa.Column("amount", big, nullable=False),
        sa.Column("currency", text, nullable=False),
        sa.Column("customer", text, nullable=False),
        sa.Column("actor", text, nullable=False),
        sa.Column("order_ref", text, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("parent", text, sa.ForeignKey("charge_intents.id"), nullable=True),
        sa.Column("request", text, nullable=False),
        sa.Column("provider_object", text, nullable=True, unique=True),
        sa.Column("provider_payment", text, nullable=True),
        sa.Column("redirect_url", text, nullable=True),
        sa.Column("captured", big, nullable=False),
        sa.Column("reserved", big, nullable=False),
        sa.Column("refunded", big, nullable=False),
        sa.Column("calls", sa.Integer, nullable=False),
        sa.Column("maybe_sent", sa.Boolean, nullable=False),
        sa.Column("first_call_at", big, nullable=True),
        sa.Column("lease_until", big, nullable=True),
        sa.Column("next_at", big, nullable=True),
        sa.Column("paged_at", big, nullable=True),
        sa.Column("failure", text, nullable=True),
        sa.Column("created_at", big, nullable=False),
        sa.Column("updated_at", big, nullable=False),
        sa.UniqueConstraint("tenant", "kind", "op"),
        sa.CheckConstraint("amount > 0", name="charge_intents_amount"),
        sa.CheckConstraint("length(currency) = 3", name="charge_intents_currency"),
        sa.CheckConstraint("captured IN (0, amount)", name="charge_intents_captured"),
        sa.CheckConstraint(
            "reserved >= 0 AND refunded >= 0 AND reserved + refunded <= captured",
            name="charge_intents_refunds_within_capture",
        ),
        sa.CheckConstraint(
            "state IN ('created', 'unknown', 'pending', 'succeeded', 'refused', 'expired')",
            name="charge_intents_state",
        ),
        sa.CheckConstraint(
            "(kind = 'payment' AND parent IS NULL) OR"
            " (kind = 'refund' AND parent IS NOT NULL AND captured = 0)",
            name="charge_intents_kind",
        ),
    )
    op.create_index("charge_intents_due", "charge_intents", ["next_at"])
    op.create_index("charge_intents_customer", "charge_intents", ["tenant", "kind", "customer", "created_at"])
    op.create_index("charge_intents_actor", "charge_intents", ["tenant", "kind", "actor", "created_at"])
    op.create_index("charge_intents_time", "charge_intents", ["tenant", "kind", "created_at"])
    op.create_index(
        "charge_intents_payment",
        "charge_intents",
        ["provider_payment"],
        unique=True,
        sqlite_where=sa.text("kind = 'payment'"),
        postgresql_where=sa.text("kind = 'payment'"),
    )
    op.create_table(
        "charge_provider_events",
        sa.Column("id", text, primary_key=True),
        sa.Column("body_hash", text, nullable=False),
        sa.Column("type", text, nullable=False),
        sa.Column("object_id", text, nullable=True),
        sa.Column("intent", text, nullable=True),
        sa.Column("result", text, nullable=False),
        sa.Column("received_at", big, nullable=False),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", text, primary_key=True),
        _tenant(),
        sa.Column("seq", big, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("intent", text, nullable=False),
        sa.Column("currency", text, nullable=False),
        sa.Column("lines", text, nullable=False),
        sa.Column("at", big, nullable=False),
        sa.Column("prev", text, nullable=False),
        sa.Column("hash", text, nullable=False),
        sa.UniqueConstraint("tenant", "seq"),
        sa.UniqueConstraint("intent", "kind"),
        sa.CheckConstraint("length(hash) = 64 AND length(prev) = 64", name="ledger_entries_hash"),
    )
    op.create_table(
        "ledger_postings",
        sa.Column("entry", text, sa.ForeignKey("ledger_entries.id"), nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        _tenant(),
        sa.Column("account", text, nullable=False),
        sa.Column("currency", text, nullable=False),
        sa.Column("amount", big, nullable=False),
        sa.PrimaryKeyConstraint("entry", "line"),
    )
    op.create_index("ledger_postings_account", "ledger_postings", ["tenant", "account", "currency"])
    op.create_table(
        "charge_approvers",
        sa.Column("credential", text, primary_key=True),
        _tenant(),
        sa.Column("person", text, nullable=False),
        sa.Column("public_key", text, nullable=False),
        sa.Column("enrolled_at", big, nullable=False),
        sa.Column("revoked_at", big, nullable=True),
    )
    op.create_table(
        "charge_consumed_approvals",
        _tenant(),
        sa.Column("nonce", text, nullable=False),
        sa.Column("payload_hash", text, nullable=False, unique=True),
        sa.Column("payload", text, nullable=False),
        sa.Column("requester", text, nullable=False),
        sa.Column("approver", text, nullable=False),
        sa.Column("credential", text, nullable=False),
        sa.Column("intent", text, nullable=False),
        sa.Column("at", big, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "nonce"),
        sa.CheckConstraint("approver <> requester", name="charge_consumed_four_eyes"),
    )
    op.create_table(
        "charge_velocity",
        _tenant(),
        sa.Column("cap", text, nullable=False),
        sa.Column("subject", text, nullable=False),
        sa.Column("touched", big, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "cap", "subject"),
    )
    op.create_table(
        "charge_switches",
        _tenant(),
        sa.Column("capability", text, nullable=False),
        sa.Column("killed", sa.Boolean, nullable=False),
        sa.Column("revision", big, nullable=False),
        sa.Column("at", big, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "capability"),
    )
    op.create_table(
        "charge_feed",
        sa.Column("seq", big, primary_key=True, autoincrement=False),
        _tenant(),
        sa.Column("intent", text, nullable=False),
        sa.Column("body", text, nullable=False),
        sa.Column("at", big, nullable=False),
    )


# What each rule says, once for both dialects: (trigger, table, when, condition that is refused, message).
# The conditions use only SQL that both speak; what differs (JSON) is written out per dialect below.
_APPEND_ONLY = {
    "ledger_entries": "ledger_entries",
    "ledger_postings": "ledger_postings",
    "charge_consumed": "charge_consumed_approvals",
    "charge_events": "charge_provider_events",
}
_TAKEN = {
    "charge_consumed_insert": (
        "charge_consumed_approvals",
        "EXISTS (SELECT 1 FROM charge_consumed_approvals c WHERE c.payload_hash = NEW.payload_hash"
        " OR (c.tenant = NEW.tenant AND c.nonce = NEW.nonce))",
        "this approval is consumed",
    ),
    "charge_approvers_insert": (
        "charge_approvers",
        "EXISTS (SELECT 1 FROM charge_approvers a WHERE a.credential = NEW.credential)",
        "an approver is never replaced",
    ),
}
_INTENT_UPDATE = (
    "(OLD.state IN ('succeeded', 'refused', 'expired') AND NEW.state <> OLD.state)"
    " OR (OLD.provider_object IS NOT NULL AND {distinct_object})"
    " OR NEW.refunded < OLD.refunded OR NEW.captured < OLD.captured OR {fixed}"
)
_APPROVER_UPDATE = (
    "NEW.credential <> OLD.credential OR NEW.tenant <> OLD.tenant OR NEW.person <> OLD.person"
    " OR NEW.public_key <> OLD.public_key OR NEW.enrolled_at <> OLD.enrolled_at"
    " OR (OLD.revoked_at IS NOT NULL AND {distinct_revoked})"
)
_CHAIN = (
    "NEW.seq <> COALESCE((SELECT MAX(e.seq) FROM ledger_entries e WHERE e.tenant = NEW.tenant), 0) + 1"
    " OR NEW.prev <> COALESCE((SELECT e.hash FROM ledger_entries e"
    f" WHERE e.tenant = NEW.tenant AND e.seq = NEW.seq - 1), '{_GENESIS}')"
)
_ENTRY_TAKEN = (
    "EXISTS (SELECT 1 FROM ledger_entries e WHERE e.id = NEW.id"
    " OR (e.tenant = NEW.tenant AND e.seq = NEW.seq) OR (e.intent = NEW.intent AND e.kind = NEW.kind))"
)


def _distinct(column: str, operator: str) -> str:
    return f"NEW.{column} {operator} OLD.{column}"


def _sqlite(name: str, table: str, when: str, refused: str, message: str) -> None:
    op.execute(
        f"CREATE TRIGGER {name} BEFORE {when} ON {table}"
        f" BEGIN SELECT RAISE(ABORT, '{message}') WHERE {refused}; END"
    )


def _sqlite_triggers() -> None:
    for short, table in _APPEND_ONLY.items():
        for verb in ("update", "delete"):
            _sqlite(f"{short}_no_{verb}", table, verb.upper(), "1", f"{table} is append-only")
    for name, (table, refused, message) in _TAKEN.items():
        _sqlite(name, table, "INSERT", refused, message)
    taken = "EXISTS (SELECT 1 FROM charge_provider_events e WHERE e.id = NEW.id)"
    _sqlite("charge_events_insert", "charge_provider_events", "INSERT", taken, "this event is known")
    taken = (
        "EXISTS (SELECT 1 FROM charge_intents i WHERE i.id = NEW.id OR i.key = NEW.key"
        " OR (i.tenant = NEW.tenant AND i.kind = NEW.kind AND i.op = NEW.op)"
        " OR i.provider_object = NEW.provider_object)"
    )
    _sqlite("charge_intents_insert", "charge_intents", "INSERT", taken, "an intent is never replaced")
    fixed = " OR ".join(_distinct(column, "IS NOT") for column in _FIXED)
    refused = _INTENT_UPDATE.format(distinct_object=_distinct("provider_object", "IS NOT"), fixed=fixed)
    _sqlite(
        "charge_intents_update", "charge_intents", "UPDATE", refused, "this change of an intent is refused"
    )
    _sqlite("charge_intents_no_delete", "charge_intents", "DELETE", "1", "intents are kept")
    refused = _APPROVER_UPDATE.format(distinct_revoked=_distinct("revoked_at", "IS NOT"))
    _sqlite("charge_approvers_update", "charge_approvers", "UPDATE", refused, "an approver is never replaced")
    _sqlite("charge_approvers_no_delete", "charge_approvers", "DELETE", "1", "approvers are kept")
    op.execute(
        "CREATE TRIGGER ledger_entries_insert BEFORE INSERT ON ledger_entries BEGIN"
        f" SELECT RAISE(ABORT, 'a ledger entry is never replaced') WHERE {_ENTRY_TAKEN};"
        f" SELECT RAISE(ABORT, 'the entry does not continue the chain') WHERE {_CHAIN};"
        f" SELECT RAISE(ABORT, 'the entry is not balanced') WHERE (SELECT COUNT(*) FROM json_each(NEW.lines)) < 2"
        " OR EXISTS (SELECT 1 FROM json_each(NEW.lines) l WHERE l.type <> 'array'"
        " OR (SELECT COUNT(*) FROM json_each(l.value)) <> 2"
        f" OR {_part(0, 'type')} <> 'text' OR {_part(1, 'type')} <> 'integer' OR {_part(1)} = 0)"
        f" OR (SELECT SUM({_part(1)}) FROM json_each(NEW.lines) l) <> 0; END"
    )
    op.execute(
        "CREATE TRIGGER ledger_entries_post AFTER INSERT ON ledger_entries BEGIN"
        " INSERT INTO ledger_postings (entry, line, tenant, account, currency, amount)"
        f" SELECT NEW.id, l.key, NEW.tenant, {_part(0)}, NEW.currency, {_part(1)} FROM json_each(NEW.lines) l; END"
    )
    op.execute(
        "CREATE TRIGGER ledger_postings_insert BEFORE INSERT ON ledger_postings BEGIN"
        " SELECT RAISE(ABORT, 'postings come from a balanced entry only') WHERE"
        " EXISTS (SELECT 1 FROM ledger_postings p WHERE p.entry = NEW.entry AND p.line = NEW.line)"
        " OR NOT EXISTS (SELECT 1 FROM ledger_entries e, json_each(e.lines) l WHERE e.id = NEW.entry"
        " AND l.key = NEW.line AND e.tenant = NEW.tenant AND e.currency = NEW.currency"
        f" AND {_part(0)} = NEW.account AND {_part(1)} = NEW.amount);"
        " END"
    )


def _part(index: int, what: str = "atom") -> str:
    """Read one part of a line; SQLite's JSON functions count as unsafe in triggers, its JSON tables do not."""
    return f"(SELECT v.{what} FROM json_each(l.value) v WHERE v.key = {index})"


def _postgres(name: str, table: str, when: str, body: str) -> None:
    """A trigger whose function looks names up in this schema only, and fires for replicas too."""
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(
        sa.text(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql"
            f" SET search_path = {schema}, pg_catalog, pg_temp AS $body$ BEGIN {body} END $body$"
        )
    )
    each = "STATEMENT" if "TRUNCATE" in when else "ROW"
    op.execute(f"CREATE TRIGGER {name} {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {name}()")
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def _refuse(message: str) -> str:
    return f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation';"


def _unless(refused: str, message: str) -> str:
    return f"IF {refused} THEN {_refuse(message)} END IF;"


def _postgres_triggers() -> None:
    kept = {**_APPEND_ONLY, "charge_intents": "charge_intents", "charge_approvers": "charge_approvers"}
    for short, table in kept.items():
        verbs = ("update", "delete", "truncate") if short in _APPEND_ONLY else ("delete", "truncate")
        for verb in verbs:
            message = _refuse(f"{table} is append-only")
            _postgres(f"{short}_no_{verb}", table, f"BEFORE {verb.upper()}", message)
    for name, (table, refused, message) in _TAKEN.items():
        _postgres(name, table, "BEFORE INSERT", _unless(refused, message) + " RETURN NEW;")
    # On PostgreSQL nothing replaces a row but an update: the unique keys alone hold events and intents.
    for name, table in (
        ("charge_events_insert", "charge_provider_events"),
        ("charge_intents_insert", "charge_intents"),
    ):
        _postgres(name, table, "BEFORE INSERT", "RETURN NEW;")
    operator = "IS DISTINCT FROM"
    refused = _INTENT_UPDATE.format(
        distinct_object=_distinct("provider_object", operator),
        fixed=" OR ".join(_distinct(column, operator) for column in _FIXED),
    )
    body = _unless(refused, "this change of an intent is refused") + " RETURN NEW;"
    _postgres("charge_intents_update", "charge_intents", "BEFORE UPDATE", body)
    refused = _APPROVER_UPDATE.format(distinct_revoked=_distinct("revoked_at", operator))
    body = _unless(refused, "an approver is never replaced") + " RETURN NEW;"
    _postgres("charge_approvers_update", "charge_approvers", "BEFORE UPDATE", body)
    _postgres(
        "ledger_entries_insert",
        "ledger_entries",
        "BEFORE INSERT",
        _unless(_ENTRY_TAKEN, "a ledger entry is never replaced")
        + _unless(_CHAIN, "the entry does not continue the chain")
        + _unless(
            "jsonb_typeof(NEW.lines::jsonb) <> 'array' OR jsonb_array_length(NEW.lines::jsonb) < 2"
            " OR EXISTS (SELECT 1 FROM jsonb_array_elements(NEW.lines::jsonb) l WHERE jsonb_typeof(l) <> 'array'"
            " OR jsonb_array_length(l) <> 2 OR jsonb_typeof(l->0) <> 'string' OR jsonb_typeof(l->1) <> 'number'"
            " OR (l->>1) !~ '^-?[1-9][0-9]{0,17}$')",
            "the entry is not balanced",
        )
        + _unless(
            "(SELECT SUM((l->>1)::numeric) FROM jsonb_array_elements(NEW.lines::jsonb) l) <> 0",
            "the entry is not balanced",
        )
        + " RETURN NEW;",
    )
    _postgres(
        "ledger_entries_post",
        "ledger_entries",
        "AFTER INSERT",
        "INSERT INTO ledger_postings (entry, line, tenant, account, currency, amount)"
        " SELECT NEW.id, (l.n - 1)::int, NEW.tenant, l.v->>0, NEW.currency, (l.v->>1)::bigint"
        " FROM jsonb_array_elements(NEW.lines::jsonb) WITH ORDINALITY AS l(v, n); RETURN NULL;",
    )
    _postgres(
        "ledger_postings_insert",
        "ledger_postings",
        "BEFORE INSERT",
        _unless(
            "NOT EXISTS (SELECT 1 FROM ledger_entries e WHERE e.id = NEW.entry AND e.tenant = NEW.tenant"
            " AND e.currency = NEW.currency AND e.lines::jsonb->NEW.line->>0 = NEW.account"
            " AND (e.lines::jsonb->NEW.line->>1)::bigint = NEW.amount)",
            "postings come from a balanced entry only",
        )
        + " RETURN NEW;",
    )


def downgrade() -> None:
    raise NotImplementedError("the ledger is not taken down by a migration")
