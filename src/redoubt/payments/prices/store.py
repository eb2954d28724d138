"""Tables of prices: proposals with their dry runs, and the versions that counted; triggers hold both for every role."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from redoubt.core.db import Json, Timestamp, Tx, tenant_column
from redoubt.guard.store import approvals

from ..store import metadata
from .models import PriceKey, PriceProposal, PriceVersion


def _key_columns() -> list[sa.Column[Any]]:
    names = ("entity", "field", "row_id")
    return [tenant_column(), *(sa.Column(name, sa.Text, nullable=False) for name in names)]


proposals = sa.Table(
    "price_proposals",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    *_key_columns(),
    sa.Column("base", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("proposed_at", Timestamp, nullable=False),
    sa.Column("approval_id", sa.Text, nullable=True, unique=True),
)

versions = sa.Table(
    "price_versions",
    metadata,
    *_key_columns(),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=True),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("base", sa.BigInteger, nullable=True),
    sa.Column("proposal_id", sa.Text, nullable=True, unique=True),
    sa.Column("approval_id", sa.Text, nullable=True, unique=True),
    sa.Column("approver", sa.Text, nullable=True),
    sa.Column("proposed_at", Timestamp, nullable=False),
    sa.Column("effective_at", Timestamp, nullable=False),
    sa.Column("seal", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "entity", "field", "row_id", "version"),
)

TRIGGERS = frozenset(
    {
        "price_versions_insert", "price_versions_update", "price_versions_delete",
        "price_proposals_insert", "price_proposals_update", "price_proposals_delete",
    }
)  # fmt: skip


def insert_version(tx: Tx, one: PriceVersion) -> None:
    """Store a version; the database refuses one that is not next, or that no approved proposal stands behind."""
    tx.execute(
        sa.insert(versions),
        {
            **_values(one.key), "version": one.version, "amount": one.amount, "currency": one.currency,
            "author": one.author, "reason": one.reason, "base": one.base, "proposal_id": one.proposal_id,
            "approval_id": one.approval_id, "approver": one.approver, "proposed_at": one.proposed_at,
            "effective_at": one.effective_at, "seal": one.seal,
        },
    )  # fmt: skip


def head(tx: Tx, key: PriceKey) -> PriceVersion | None:
    """Return the version that counts, or None for a row that never had this price.

    Nothing is locked: of two next versions the primary key lets one in, and whoever changes a row holds its lock first.
    """
    query = sa.select(versions).where(*_is(versions, key)).order_by(versions.c.version.desc()).limit(1)
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _version(row)


def heads(tx: Tx, tenant: str, entity: str, field: str, rows: Collection[str]) -> dict[str, PriceVersion]:
    """Return the version that counts of the price `field` of each of `rows`, in one query; one without is left out."""
    table = versions
    newer = table.alias("newer")
    beyond = sa.exists().where(
        *(newer.c[name] == table.c[name] for name in ("tenant", "entity", "field", "row_id")),
        newer.c.version > table.c.version,
    )
    found = tx.execute(
        sa.select(table).where(
            table.c.tenant == tenant,
            table.c.entity == entity,
            table.c.field == field,
            table.c.row_id.in_(sorted(set(rows))),
            ~beyond,
        )
    ).mappings()
    return {row["row_id"]: _version(row) for row in found}


def history(tx: Tx, tenant: str, entity: str, row: str, limit: int = 100) -> list[PriceVersion]:
    """Return the newest versions of every price of a row, newest first."""
    query = (
        sa.select(versions)
        .where(versions.c.tenant == tenant, versions.c.entity == entity, versions.c.row_id == row)
        .order_by(versions.c.effective_at.desc(), versions.c.version.desc())
        .limit(limit)
    )
    return [_version(found) for found in tx.execute(query).mappings()]


def newest(tx: Tx, tenant: str, limit: int = 100) -> list[PriceVersion]:
    """Return the newest versions of a tenant, whatever their row."""
    query = (
        sa.select(versions)
        .where(versions.c.tenant == tenant)
        .order_by(versions.c.effective_at.desc(), versions.c.row_id, versions.c.version.desc())
        .limit(limit)
    )
    return [_version(found) for found in tx.execute(query).mappings()]


def insert_proposal(tx: Tx, one: PriceProposal) -> None:
    """Store a proposal; the database refuses one that is not over the version that counts."""
    tx.execute(
        sa.insert(proposals),
        {
            "id": one.id, **_values(one.key), "base": one.base, "amount": one.amount, "currency": one.currency,
            "author": one.author, "reason": one.reason, "evidence": one.evidence, "proposed_at": one.proposed_at,
            "approval_id": one.approval_id,
        },
    )  # fmt: skip


def bind_approval(tx: Tx, proposal_id: str, approval_id: str) -> None:
    """Say which change request asks for a proposal; that is said once."""
    tx.execute(
        sa.update(proposals)
        .where(proposals.c.id == proposal_id, proposals.c.approval_id.is_(None))
        .values(approval_id=approval_id)
    )


def proposal(tx: Tx, tenant: str, proposal_id: str) -> PriceProposal | None:
    """Return a proposal of this tenant."""
    query = sa.select(proposals).where(proposals.c.tenant == tenant, proposals.c.id == proposal_id)
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _proposal(row)


def waiting(
    tx: Tx, tenant: str, now: datetime, *, entity: str | None = None, row: str | None = None, limit: int = 50
) -> list[PriceProposal]:
    """Return proposals whose change request is undecided and in time, newest first; of one row where it is named."""
    table = proposals
    query = (
        sa.select(table)
        .join(approvals, approvals.c.id == table.c.approval_id)
        .where(table.c.tenant == tenant, approvals.c.state == "pending", approvals.c.expires_at > now)
    )
    if entity is not None:
        query = query.where(table.c.entity == entity)
    if row is not None:
        query = query.where(table.c.row_id == row)
    found = tx.execute(query.order_by(table.c.id.desc()).limit(limit)).mappings()
    return [_proposal(one) for one in found]


def _is(table: sa.Table, key: PriceKey) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in _values(key).items()]


def _values(key: PriceKey) -> dict[str, str]:
    return {"tenant": key.tenant, "entity": key.entity, "field": key.field, "row_id": key.row}


def _key(row: Any) -> PriceKey:
    return PriceKey(row["tenant"], row["entity"], row["field"], row["row_id"])


def _version(row: Any) -> PriceVersion:
    names = (
        "version", "amount", "currency", "author", "reason", "base", "proposal_id", "approval_id", "approver",
        "proposed_at", "effective_at", "seal",
    )  # fmt: skip
    return PriceVersion(_key(row), **{name: row[name] for name in names})


def _proposal(row: Any) -> PriceProposal:
    names = (
        "base", "amount", "currency", "author", "reason", "evidence", "proposed_at", "approval_id",
    )  # fmt: skip
    return PriceProposal(row["id"], _key(row), **{name: row[name] for name in names})
