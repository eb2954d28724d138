"""The table of jobs, and what is done to its rows: put in, claimed under a lease, held on to, taken up, finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from ..base import Core
from ..clock import Clock
from ..db import Domain, Json, Timestamp, Tx, tenant_column, use
from ..ids import Ids

metadata = sa.MetaData()
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False, server_default=""),
    sa.Column("key", sa.Text, nullable=True, unique=True),
    sa.Column("payload", Json, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("run_at", Timestamp, nullable=False),
    sa.Column("lease_token", sa.Text, nullable=True),
    sa.Column("lease_until", Timestamp, nullable=True),
    sa.Column("last_error", sa.Text, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp, nullable=True),
    sa.CheckConstraint("state IN ('ready', 'running', 'done', 'dead')", name="jobs_state"),
    sa.Index("jobs_due", "state", "run_at"),
)

_PROGRESS = ("state", "attempts", "run_at", "lease_token", "lease_until", "last_error", "finished_at")
GRANTS = {
    "app": (
        use(jobs, select=("id", "key"), insert=True),
    ),  # what waits, and what it says, is the worker's to read
    "worker": (use(jobs, insert=True, update=_PROGRESS, delete=True),),
}

DOMAIN = Domain(
    name="core", migrations=Path(__file__).parent.parent / "migrations", metadata=metadata, grants=GRANTS
)

LEASE = timedelta(seconds=15)
MOST_TAKEN_UP = 3


@frozen
class Job:
    """One piece of work as its handler sees it."""

    id: str
    tenant: str
    kind: str
    lane: str
    payload: Mapping[str, Any]
    attempts: int
    max_attempts: int
    created_at: datetime
    lease_token: str


def enqueue(
    tx: Tx,
    core: Core,
    kind: str,
    payload: Mapping[str, Any],
    *,
    tenant: str = "main",
    run_at: datetime | None = None,
    key: str | None = None,
    lane: str = "",
    max_attempts: int = 12,
) -> str:
    """Add a job in the caller's transaction and return its id; with a `key` that exists, return that job's id."""
    return add(
        tx, core.clock, core.ids, kind, payload,
        tenant=tenant, run_at=run_at, key=key, lane=lane, max_attempts=max_attempts,
    )  # fmt: skip


def add(
    tx: Tx,
    clock: Clock,
    ids: Ids,
    kind: str,
    payload: Mapping[str, Any],
    *,
    tenant: str = "main",
    run_at: datetime | None = None,
    key: str | None = None,
    lane: str = "",
    max_attempts: int = 12,
) -> str:
    """Do what `enqueue` does, for callers that hold no `Core`."""
    now = clock.now()
    job_id = ids.uuid7()
    values = {
        "id": job_id, "tenant": tenant, "kind": kind, "lane": lane, "key": key, "payload": dict(payload),
        "state": "ready", "attempts": 0, "max_attempts": max_attempts, "run_at": run_at or now, "created_at": now,
    }  # fmt: skip
    if key is None:
        tx.execute(sa.insert(jobs), values)
        return job_id
    found = tx.execute(sa.select(jobs.c.id).where(jobs.c.key == key)).scalar_one_or_none()
    if found is not None:
        return str(found)
    tx.execute(_insert_once(tx).values(values))
    return str(tx.execute(sa.select(jobs.c.id).where(jobs.c.key == key)).scalar_one())


def _insert_once(tx: Tx) -> Any:
    if tx.dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(jobs).on_conflict_do_nothing(index_elements=["key"])
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return postgres_insert(jobs).on_conflict_do_nothing(index_elements=["key"])


def claim(
    tx: Tx, now: datetime, token: str, kinds: Sequence[str], limit: int, *, full_lanes: Sequence[str] = ()
) -> list[Job]:
    """Claim up to `limit` due jobs of `kinds`; a job whose worker died is claimed again when its lease is over (`LEASE`).

    Its successor can `take_up` the job before that.
    """
    due = sa.or_(
        sa.and_(jobs.c.state == "ready", jobs.c.run_at <= now),
        sa.and_(jobs.c.state == "running", jobs.c.lease_until < now),
    )
    wanted = (
        sa.select(jobs.c.id)
        .where(due, jobs.c.kind.in_(kinds))
        .order_by(jobs.c.run_at, jobs.c.id)
        .limit(limit)
    )
    if full_lanes:
        wanted = wanted.where(jobs.c.lane.not_in(full_lanes))
    if tx.dialect == "postgresql":
        wanted = wanted.with_for_update(skip_locked=True)
    rows = tx.execute(
        sa.update(jobs)
        .where(jobs.c.id.in_(wanted.scalar_subquery()))
        .values(state="running", lease_token=token, lease_until=now + LEASE, attempts=jobs.c.attempts + 1)
        .returning(jobs)
    ).mappings()
    claimed = [
        Job(
            id=row["id"], tenant=row["tenant"], kind=row["kind"], lane=row["lane"], payload=row["payload"],
            attempts=row["attempts"], max_attempts=row["max_attempts"], created_at=row["created_at"], lease_token=token,
        )
        for row in rows
    ]  # fmt: skip
    return sorted(claimed, key=lambda job: job.id)


def held(job: Job) -> sa.ColumnElement[bool]:
    """Return the condition that a job still runs under the lease that this one was claimed with."""
    return sa.and_(jobs.c.id == job.id, jobs.c.lease_token == job.lease_token, jobs.c.state == "running")


class LeaseLost(Exception):
    """Another worker took the job over; this one's effect is rolled back."""


def finish(tx: Tx, job: Job, now: datetime) -> None:
    """Mark a job done, in the transaction of its effect; raises LeaseLost where it is another's by now."""
    done = tx.execute(
        sa.update(jobs)
        .where(held(job))
        .values(state="done", finished_at=now, lease_token=None, lease_until=None)
    )
    if done.rowcount != 1:
        raise LeaseLost


def token_at(place: str, token: str) -> str:
    """Return a lease's token: with a place, by which a successor knows what is its own to take up."""
    return f"{place}.{token}" if place else token


def take_up(tx: Tx, place: str) -> int:
    """Make ready what whoever had this place before was running when it died, and return how many jobs that were.

    What was left behind more often than `MOST_TAKEN_UP` times may be what kills its workers: it waits for its lease. So
    does, on PostgreSQL, what a transaction of the dead still holds.
    """
    left = sa.select(jobs.c.id).where(
        jobs.c.state == "running",
        jobs.c.lease_token.startswith(f"{place}.", autoescape=True),
        jobs.c.attempts <= MOST_TAKEN_UP,
    )
    if tx.dialect == "postgresql":
        left = left.with_for_update(skip_locked=True)
    back = sa.update(jobs).where(jobs.c.id.in_(left.scalar_subquery()))
    return tx.execute(back.values(state="ready", lease_token=None, lease_until=None)).rowcount
