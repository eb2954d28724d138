"""Tables of authorization and their SQL: policy versions, verdicts about them, their head, role members."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from attrs import asdict, frozen

from redoubt.core.db import Json, Timestamp, Tx, tenant_column

metadata = sa.MetaData()

MAIN = "main"
"""The tenant whose policies decide for every tenant that has none of its own."""

TRIGGERS = frozenset(
    {
        "policy_versions_no_update",
        "policy_versions_no_delete",
        "policy_head_no_update",
        "policy_head_no_delete",
        "policy_head_next",
        "policy_head_proven",
        "policy_verdicts_no_update",
        "policy_verdicts_no_delete",
        "role_members_no_update",
        "role_members_sealed",
        "role_members_urgent",
        "role_steps_next",
        "role_steps_no_update",
        "role_steps_no_delete",
        "role_steps_apply",
    }
)

policy_versions = sa.Table(
    "policy_versions",
    metadata,
    tenant_column(),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("parent", sa.Text),
    sa.Column("body", Json, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("ticket", sa.Text, nullable=False),
    sa.Column("reviewers", Json, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "id"),
)

policy_head = sa.Table(
    "policy_head",
    metadata,
    tenant_column(),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("approval_id", sa.Text),
    sa.Column("reviewer", sa.Text),
    sa.Column("ticket", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("verdict_id", sa.Text),
    sa.Column("seal", sa.Text),
    sa.PrimaryKeyConstraint("tenant", "seq"),
)

policy_verdicts = sa.Table(
    "policy_verdicts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("base_seq", sa.Integer, nullable=False),
    sa.Column("head", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("passes", sa.Integer, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("judged_at", Timestamp, nullable=False),
)

role_members = sa.Table(
    "role_members",
    metadata,
    tenant_column(),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("granted_by", sa.Text, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("seal", sa.Text),
    sa.Column("expires_at", Timestamp),
    sa.Column("approval_id", sa.Text),
    sa.PrimaryKeyConstraint("tenant", "user_id", "role"),
)

role_steps = sa.Table(
    "role_steps",
    metadata,
    tenant_column(),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("granted_by", sa.Text, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("approval_id", sa.Text),
    sa.Column("member_seal", sa.Text),
    sa.Column("held", Json, nullable=False),
    sa.Column("seal", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "user_id", "seq"),
)

policy_proofs = sa.Table(
    "policy_proofs",
    metadata,
    tenant_column(),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("seal", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "version", "rule"),
)

authz_clock = sa.Table(
    "authz_clock",
    metadata,
    tenant_column(),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("tenant"),
)


@frozen
class Version:
    """A stored policy set with who wrote and who reviewed it."""

    tenant: str
    id: str
    parent: str | None
    body: dict[str, Any]
    author: str
    ticket: str
    reviewers: list[str]
    note: str
    created_at: datetime


@frozen
class Head:
    """One step of a tenant's head: which version became current, how and by whom."""

    tenant: str
    seq: int
    version: str
    kind: str
    author: str
    approval_id: str | None
    reviewer: str | None
    ticket: str
    note: str
    at: datetime
    verdict_id: str | None = None
    seal: str | None = None


@frozen
class Verdict:
    """What was proven of one change, against one step of the head; `evidence` says how and by what.

    `passes` lets its author make `head` the running version without a second person, for an hour.
    """

    id: str
    tenant: str
    base: str
    base_seq: int
    head: str
    kind: str
    author: str
    verdict: str
    passes: bool
    evidence: dict[str, Any]
    judged_at: datetime


def insert_verdict(tx: Tx, verdict: Verdict) -> None:
    """Store a verdict for good."""
    tx.execute(policy_verdicts.insert(), {**asdict(verdict, recurse=False), "passes": int(verdict.passes)})


def verdict(tx: Tx, tenant: str, verdict_id: str) -> Verdict | None:
    """Return a stored verdict."""
    row = tx.execute(
        sa.select(policy_verdicts).where(
            policy_verdicts.c.tenant == tenant, policy_verdicts.c.id == verdict_id
        )
    ).one_or_none()
    return None if row is None else Verdict(**{**row._asdict(), "passes": bool(row.passes)})


@frozen
class Proof:
    """That a policy set keeps a rule by itself, proven at `at`, under the app's seal."""

    tenant: str
    version: str
    rule: str
    at: datetime
    seal: str = ""


def insert_proof(tx: Tx, proof: Proof) -> None:
    """Store a proof; one that is there already is replaced."""
    tx.execute(
        sa.text(
            "INSERT INTO policy_proofs (tenant, version, rule, at, seal) VALUES (:tenant, :version, :rule, :at, :seal)"
            " ON CONFLICT (tenant, version, rule) DO UPDATE SET at = excluded.at, seal = excluded.seal"
        ).bindparams(sa.bindparam("at", type_=Timestamp)),
        asdict(proof, recurse=False),
    )


def proof(tx: Tx, tenant: str, version_id: str, rule: str) -> Proof | None:
    """Return the stored proof that a version keeps a rule."""
    table = policy_proofs
    row = tx.execute(
        sa.select(table).where(table.c.tenant == tenant, table.c.version == version_id, table.c.rule == rule)
    ).one_or_none()
    return None if row is None else Proof(**row._asdict())


def insert_version(tx: Tx, version: Version) -> None:
    """Store a version; storing what is stored already is refused by its key."""
    tx.execute(policy_versions.insert(), asdict(version, recurse=False))


def version(tx: Tx, tenant: str, version_id: str) -> Version | None:
    """Return a stored version."""
    row = tx.execute(
        sa.select(policy_versions).where(
            policy_versions.c.tenant == tenant, policy_versions.c.id == version_id
        )
    ).one_or_none()
    return None if row is None else Version(**row._asdict())


def matching_versions(tx: Tx, tenant: str, prefix: str) -> list[str]:
    """Return the ids of a tenant's versions that start with `prefix`."""
    found = tx.execute(
        sa.select(policy_versions.c.id)
        .where(
            policy_versions.c.tenant == tenant,
            sa.func.substr(policy_versions.c.id, 1, len(prefix)) == prefix,
        )
        .order_by(policy_versions.c.id)
        .limit(10)
    )
    return [row.id for row in found]


def insert_head(tx: Tx, head: Head) -> None:
    """Move the head one step; the database refuses a skipped step and one without a proof or an approval."""
    tx.execute(policy_head.insert(), asdict(head, recurse=False))


def head(tx: Tx, tenant: str) -> Head | None:
    """Return a tenant's current head."""
    row = tx.execute(
        sa.select(policy_head)
        .where(policy_head.c.tenant == tenant)
        .order_by(policy_head.c.seq.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Head(**row._asdict())


def step(tx: Tx, tenant: str, seq: int) -> Head | None:
    """Return one step of a tenant's head."""
    row = tx.execute(
        sa.select(policy_head).where(policy_head.c.tenant == tenant, policy_head.c.seq == seq)
    ).one_or_none()
    return None if row is None else Head(**row._asdict())


def history(tx: Tx, tenant: str) -> list[Head]:
    """Return every step of a tenant's head, newest first."""
    rows = tx.execute(
        sa.select(policy_head).where(policy_head.c.tenant == tenant).order_by(policy_head.c.seq.desc())
    )
    return [Head(**row._asdict()) for row in rows]


def heads(tx: Tx) -> dict[str, tuple[int, str]]:
    """Return (step, version) of every tenant's head."""
    newest = (
        sa.select(policy_head.c.tenant, sa.func.max(policy_head.c.seq).label("seq"))
        .group_by(policy_head.c.tenant)
        .subquery()
    )
    rows = tx.execute(
        sa.select(policy_head.c.tenant, policy_head.c.seq, policy_head.c.version).join(
            newest, sa.and_(policy_head.c.tenant == newest.c.tenant, policy_head.c.seq == newest.c.seq)
        )
    )
    return {row.tenant: (row.seq, row.version) for row in rows}


def clock(tx: Tx, tenant: str) -> int:
    """Return how often the policies and roles of `tenant` have changed."""
    found = tx.execute(
        sa.select(authz_clock.c.seq).where(authz_clock.c.tenant == tenant)
    ).scalar_one_or_none()
    return 0 if found is None else int(found)


def clocks(tx: Tx) -> dict[str, int]:
    """Return how often the policies and roles of every tenant have changed."""
    return {row.tenant: row.seq for row in tx.execute(sa.select(authz_clock))}


@frozen
class Member:
    """One role of one user: who gave it and when, until when, by which approval in an emergency, under the app's seal."""

    tenant: str
    user_id: str
    role: str
    granted_by: str
    at: datetime
    seal: str | None = None
    expires_at: datetime | None = None
    approval_id: str | None = None


def expiring(tx: Tx, tenant: str | None = None, before: datetime | None = None) -> list[Member]:
    """Return the role rows that have an end, of one tenant or all, those that ended by `before` where it is given."""
    query = sa.select(role_members).where(role_members.c.expires_at.is_not(None))
    if tenant is not None:
        query = query.where(role_members.c.tenant == tenant)
    if before is not None:
        query = query.where(role_members.c.expires_at <= before)
    rows = tx.execute(query.order_by(role_members.c.expires_at).limit(1000))
    return [Member(**row._asdict()) for row in rows]
