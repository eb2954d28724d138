"""Steps of somebody's roles: each is appended under the app's seal, says what they have from then on, and stays.

The table of members is what triggers make of the steps, so that roles can be listed. Nobody is decided about by it: a row
that is deleted, changed or put back there changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from attrs import asdict, frozen

from redoubt.core.db import Tx, microseconds

from .store import Member, role_members, role_steps

_MOST_READ = 32  # steps without a seal of ours before everything that somebody has is refused
_NEWEST = (
    sa.select(role_steps)
    .where(role_steps.c.tenant == sa.bindparam("tenant"), role_steps.c.user_id == sa.bindparam("user_id"))
    .order_by(role_steps.c.seq.desc())
    .limit(sa.bindparam("most"))
)

_LATER = role_steps.alias("later")
_NEWEST_OF = sa.select(role_steps).where(
    role_steps.c.tenant.in_(sa.bindparam("tenants", expanding=True)),
    role_steps.c.user_id.in_(sa.bindparam("user_ids", expanding=True)),
    ~sa.exists().where(
        _LATER.c.tenant == role_steps.c.tenant,
        _LATER.c.user_id == role_steps.c.user_id,
        _LATER.c.seq > role_steps.c.seq,
    ),
)


@frozen
class Held:
    """One role that somebody has, until when."""

    role: str
    expires_at: datetime | None = None


@frozen
class Step:
    """A step: what was given or taken (`adopt`: neither), and everything that its person has after it."""

    tenant: str
    user_id: str
    seq: int
    kind: str
    role: str
    granted_by: str
    at: datetime
    expires_at: datetime | None
    approval_id: str | None
    member_seal: str | None
    held: tuple[Held, ...]
    seal: str = ""

    def plain(self) -> dict[str, Any]:
        """Return its columns, roles and times as they are stored and sealed."""
        values = asdict(self, recurse=False)
        return values | {"held": [[one.role, _micros(one.expires_at)] for one in self.held]}


def append(tx: Tx, step: Step) -> None:
    """Store a step; the database refuses one that does not follow the last, and applies it to the table of members."""
    tx.execute(role_steps.insert(), step.plain())


def newest(tx: Tx, tenant: str, user_id: str, *, most: int = 1) -> list[Step]:
    """Return the `most` newest steps of somebody, the newest first."""
    rows = tx.execute(_NEWEST, {"tenant": tenant, "user_id": user_id, "most": most})
    return [_step(row._mapping) for row in rows]


def newest_of(tx: Tx, people: Collection[tuple[str, str]]) -> list[Step]:
    """Return the newest step of each of `people`, who are given by tenant and user id, in one statement."""
    if not people:
        return []
    tenants, users = zip(*people, strict=True)
    found = tx.execute(_NEWEST_OF, {"tenants": sorted(set(tenants)), "user_ids": sorted(set(users))})
    return [_step(row._mapping) for row in found if (row.tenant, row.user_id) in people]


def newest_of_all(tx: Tx, tenant: str) -> list[Step]:
    """Return everybody's newest step."""
    last = (
        sa.select(role_steps.c.user_id, sa.func.max(role_steps.c.seq).label("seq"))
        .where(role_steps.c.tenant == tenant)
        .group_by(role_steps.c.user_id)
        .subquery()
    )
    query = sa.select(role_steps).join(
        last, sa.and_(role_steps.c.user_id == last.c.user_id, role_steps.c.seq == last.c.seq)
    )
    return [_step(row._mapping) for row in tx.execute(query.where(role_steps.c.tenant == tenant))]


def older(tx: Tx, tenant: str, user_id: str) -> list[Step]:
    """Return the newest steps of somebody as far as they are looked through for one that is sealed."""
    return newest(tx, tenant, user_id, most=_MOST_READ)


def serialise(tx: Tx, tenant: str, user_id: str) -> None:
    """Let one transaction at a time append to somebody's steps, until it ends (SQLite has one writer anyway)."""
    if tx.dialect == "postgresql":
        what = f"redoubt-roles:{tenant}:{user_id}"
        tx.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))"), {"what": what})


def none_yet(tx: Tx) -> bool:
    """Say whether no step was ever stored."""
    return tx.execute(sa.select(role_steps.c.seq).limit(1)).first() is None


def rows(tx: Tx) -> Iterable[Member]:
    """Return every row of the table of members."""
    ordered = sa.select(role_members).order_by(role_members.c.tenant, role_members.c.user_id)
    return [Member(**row._asdict()) for row in tx.execute(ordered)]


def _step(row: Mapping[Any, Any]) -> Step:
    return Step(**{**row, "held": tuple(Held(role, _time(until)) for role, until in row["held"])})


def _micros(value: datetime | None) -> int | None:
    return None if value is None else microseconds(value)


def _time(value: int | None) -> datetime | None:
    return (
        None
        if value is None
        else datetime.fromtimestamp(value // 1_000_000, UTC).replace(microsecond=value % 1_000_000)
    )
