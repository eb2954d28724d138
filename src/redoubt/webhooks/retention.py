"""Forgets on schedule: dedupe rows after their window, raw payloads after their retention; never what is held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from ..audit import Actor, Event, record
from ..core.base import Core
from ..core.db import Tx
from ..core.jobs import Job, Jobs, enqueue
from .store import dedupe, inbox

PRUNE = "webhooks.prune"
_EVERY = timedelta(minutes=5)
_BATCH = 1000


def prune(tx: Tx, core: Core) -> tuple[int, int]:
    """Drop dedupe rows and payload bytes whose time has come, a thousand of each at most; return how many."""
    now = core.clock.now()
    ended = (
        sa.select(dedupe.c.endpoint, dedupe.c.tenant, dedupe.c.identity)
        .where(dedupe.c.expires_at <= now)
        .limit(_BATCH)
    )
    rows = tx.execute(ended).all()
    for row in rows:
        tx.execute(
            sa.delete(dedupe)
            .where(dedupe.c.endpoint == row.endpoint, dedupe.c.tenant == row.tenant)
            .where(dedupe.c.identity == row.identity, dedupe.c.expires_at <= now)
        )
    due = (
        sa.select(inbox.c.id)
        .where(inbox.c.retain_until <= now, inbox.c.sealed.is_not(None))
        .where(inbox.c.legal_hold.is_(False), inbox.c.state != "accepted")
        .limit(_BATCH)
    )
    purged = tx.execute(
        sa.update(inbox).where(inbox.c.id.in_(due.scalar_subquery())).values(sealed=None, purged_at=now)
    ).rowcount
    if purged:
        record(
            tx,
            core,
            Event(
                action="webhook.purged",
                outcome="success",
                actor=Actor(kind="service", id="webhooks"),
                target=("webhook", "inbox"),
                data={"payloads": purged},
            ),
        )
    return len(rows), purged


def schedule(tx: Tx, core: Core, *, after: timedelta = timedelta()) -> None:
    """Have the next pruning run once, however many processes ask for it."""
    at = core.clock.now() + after
    slot = int((at - datetime(1970, 1, 1, tzinfo=UTC)) / _EVERY)
    enqueue(tx, core, PRUNE, {}, run_at=at, key=f"{PRUNE}:{slot}")


class Retention:
    """The worker's side of forgetting."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def register(self, jobs: Jobs) -> None:
        """Take this work on in a worker process."""
        jobs.transactional(PRUNE, self.run, on_dead=lambda tx, job, reason: self._next(tx))

    def run(self, tx: Tx, _job: Job) -> None:
        """Prune, then plan the next time."""
        prune(tx, self._core)
        self._next(tx)

    def _next(self, tx: Tx) -> None:
        schedule(tx, self._core, after=_EVERY)
