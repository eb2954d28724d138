"""The worker's side: handlers by kind, and the loop that runs what is due."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from ..base import Core
from ..db import Tx
from ..errors import RedoubtError
from .queue import LEASE, Job, LeaseLost, claim, finish, held, jobs, take_up, token_at

log = logging.getLogger("redoubt.jobs")

_RENEW_SECONDS = 5.0
_KEPT = timedelta(days=7)
_MAX_ERROR = 500


class Retry(RedoubtError):
    """Raised by a handler that wants its job to run again later; `after` overrides the back-off."""

    code = "job-retry"

    def __init__(self, message: str, *, after: timedelta | None = None) -> None:
        super().__init__(message)
        self.after = after


class GiveUp(RedoubtError):
    """Raised by a handler whose job can never succeed: it goes to the dead letters at once."""

    code = "job-give-up"


Transactional = Callable[[Tx, Job], None]
Outward = Callable[[Job], Awaitable[Any]]
Settle = Callable[[Tx, Job, Any], None]
OnDead = Callable[[Tx, Job, str], None]


@frozen
class Backoff:
    """Exponential back-off with full jitter: up to `base · 2^attempts` seconds, never above `cap`."""

    base: float = 1.0
    cap: float = 3600.0

    def delay(self, attempts: int, jitter: float) -> timedelta:
        """Return the wait before the next attempt; `jitter` in [0, 1) picks from its upper half."""
        ceiling = min(self.cap, self.base * 2.0 ** min(attempts, 30))
        return timedelta(seconds=ceiling * (0.5 + jitter / 2))


@frozen
class _Handler:
    transactional: Transactional | None
    outward: Outward | None
    settle: Settle | None
    on_dead: OnDead | None
    backoff: Backoff
    lane_limit: int


class Jobs:
    """The worker's side: handlers by kind, and the loop that runs what is due."""

    def __init__(self, core: Core, *, concurrency: int = 16, place: str = "") -> None:
        """`place` names one worker at a time: who runs with it takes up at once what its predecessor left behind.

        Whoever gives a place away must have seen the end of the worker that had it. Were it wrong about that, a call to
        the outside might happen twice, as after a lease that ran out; no effect in the database ever does.
        """
        self._core = core
        self._place = place
        self._handlers: dict[str, _Handler] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._held: dict[str, str] = {}  # job id → lease token, while its handler runs
        self._lanes: Counter[str] = Counter()
        self._concurrency = concurrency

    @property
    def kinds(self) -> list[str]:
        """The kinds that have a handler."""
        return sorted(self._handlers)

    def transactional(
        self,
        kind: str,
        handler: Transactional,
        *,
        backoff: Backoff | None = None,
        on_dead: OnDead | None = None,
    ) -> None:
        """Run `handler(tx, job)` in the transaction that marks the job done."""
        self._handlers[kind] = _Handler(handler, None, None, on_dead, backoff or Backoff(), 0)

    def outward(
        self,
        kind: str,
        call: Outward,
        settle: Settle,
        *,
        backoff: Backoff | None = None,
        on_dead: OnDead | None = None,
        lane_limit: int = 0,
    ) -> None:
        """Await `call(job)` outside a transaction, then run `settle(tx, job, outcome)` with the job's end.

        At most `lane_limit` jobs of one lane run at once in this worker (0: no limit), so that one slow peer
        starves nobody else.
        """
        self._handlers[kind] = _Handler(None, call, settle, on_dead, backoff or Backoff(), lane_limit)

    async def run_once(self, limit: int = 16) -> int:
        """Claim what is due, run it to its end, and return how many jobs ran."""
        claimed = await self._claim(limit)
        await asyncio.gather(*(self._run(job) for job in claimed))
        return len(claimed)

    async def run(self, stop: asyncio.Event, *, idle: float = 0.1) -> None:
        """Run due jobs until `stop` is set, then wait for those under way."""
        await self._take_up()
        renewing = asyncio.create_task(self._renew())
        try:
            await self._work(stop, idle)
        finally:
            renewing.cancel()

    async def _work(self, stop: asyncio.Event, idle: float) -> None:
        while not stop.is_set():
            free = self._concurrency - len(self._running)
            claimed: list[Job] = []
            if free > 0:
                try:
                    claimed = await self._claim(free)
                except Exception:
                    log.exception("jobs could not be claimed; trying again")
                    await asyncio.sleep(1)
            for job in claimed:
                task = asyncio.create_task(self._run(job))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if not claimed:
                try:
                    await asyncio.wait_for(stop.wait(), idle)
                except TimeoutError:
                    continue
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _take_up(self) -> None:
        """Make ready what whoever had this place before was running when it died."""
        if not self._place:
            return
        try:
            count = await self._core.db.write(lambda tx: take_up(tx, self._place))
        except Exception:
            log.exception("what the worker before left could not be taken up; its leases will run out")
            return
        if count:
            log.warning("took up %d jobs of the worker before", count)

    async def prune(self) -> int:
        """Delete jobs that ended well more than seven days ago; the dead ones stay until somebody decides."""
        before = self._core.clock.now() - _KEPT

        def delete(tx: Tx) -> int:
            return tx.execute(
                sa.delete(jobs).where(jobs.c.state == "done", jobs.c.finished_at < before)
            ).rowcount

        return await self._core.db.write(delete)

    async def _claim(self, limit: int) -> list[Job]:
        if not self._handlers:
            return []
        now, kinds = self._core.clock.now(), self.kinds
        token = token_at(self._place, self._core.ids.token(12))
        full = [lane for lane, count in self._lanes.items() if lane and 0 < self._lane_limit() <= count]

        def any_due(tx: Tx) -> bool:
            due = sa.or_(
                sa.and_(jobs.c.state == "ready", jobs.c.run_at <= now),
                sa.and_(jobs.c.state == "running", jobs.c.lease_until < now),
            )
            return (
                tx.execute(sa.select(jobs.c.id).where(due, jobs.c.kind.in_(kinds)).limit(1)).first()
                is not None
            )

        if not await self._core.db.read(any_due):  # an idle worker takes no write lock
            return []
        claimed = await self._core.db.write(lambda tx: self._claim_within_lanes(tx, now, token, limit, full))
        for job in claimed:
            self._lanes[job.lane] += 1
        return claimed

    def _claim_within_lanes(
        self, tx: Tx, now: datetime, token: str, limit: int, full: Sequence[str]
    ) -> list[Job]:
        """Claim, then give back what would overfill a lane: the next round leaves that lane out."""
        kept: list[Job] = []
        surplus: list[str] = []
        filling = Counter(self._lanes)
        for job in claim(tx, now, token, self.kinds, limit, full_lanes=full):
            most = self._handlers[job.kind].lane_limit
            if job.lane and 0 < most <= filling[job.lane]:
                surplus.append(job.id)
                continue
            filling[job.lane] += 1
            kept.append(job)
        if surplus:
            back = sa.update(jobs).where(jobs.c.id.in_(surplus), jobs.c.lease_token == token)
            tx.execute(
                back.values(state="ready", lease_token=None, lease_until=None, attempts=jobs.c.attempts - 1)
            )
        return kept

    def _lane_limit(self) -> int:
        return max((handler.lane_limit for handler in self._handlers.values()), default=0)

    async def _renew(self) -> None:
        """Hold on to what runs here: a lease is short so that a dead worker's jobs are soon somebody else's."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            mine = dict(self._held)
            if not mine:
                continue
            until = self._core.clock.now() + LEASE
            statement = (
                sa.update(jobs)
                .where(
                    jobs.c.id.in_(mine), jobs.c.lease_token.in_(set(mine.values())), jobs.c.state == "running"
                )
                .values(lease_until=until)
            )
            try:
                await self._core.db.write(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]
            except Exception:
                log.exception("leases could not be renewed; trying again")

    async def _run(self, job: Job) -> None:
        handler = self._handlers[job.kind]
        self._held[job.id] = job.lease_token
        try:
            if job.attempts > job.max_attempts:  # it took its worker down every time
                raise GiveUp("every worker that took it up ended before it did.")
            if handler.transactional is not None:
                run = handler.transactional

                def effect(tx: Tx) -> None:
                    finish(tx, job, self._core.clock.now())
                    run(tx, job)

                await self._core.db.write(effect)
            elif handler.outward is not None and handler.settle is not None:
                settle = handler.settle
                outcome = await handler.outward(job)

                def settled(tx: Tx) -> None:
                    finish(tx, job, self._core.clock.now())
                    settle(tx, job, outcome)

                await self._core.db.write(settled)
        except LeaseLost:
            log.warning("job %s of kind %s was taken over by another worker", job.id, job.kind)
        except Exception as error:
            await self._failed(job, handler, error)
        finally:
            self._held.pop(job.id, None)
            self._lanes[job.lane] -= 1

    async def _failed(self, job: Job, handler: _Handler, error: Exception) -> None:
        dead = isinstance(error, GiveUp) or job.attempts >= job.max_attempts
        after = error.after if isinstance(error, Retry) and error.after is not None else None
        wait = after or handler.backoff.delay(job.attempts, self._core.ids.jitter())
        known = isinstance(error, RedoubtError)
        reason = self._core.redactor.text(
            f"{type(error).__name__}: {error}" if known else type(error).__name__
        )[:_MAX_ERROR]
        now = self._core.clock.now()

        def write(tx: Tx) -> None:
            changed = tx.execute(
                sa.update(jobs)
                .where(held(job))
                .values(
                    state="dead" if dead else "ready",
                    run_at=now + wait,
                    last_error=reason,
                    lease_token=None,
                    lease_until=None,
                    finished_at=now if dead else None,
                )
            )
            if changed.rowcount == 1 and dead and handler.on_dead is not None:
                handler.on_dead(tx, job, reason)

        if known:
            log.warning("job %s of kind %s failed, attempt %d: %s", job.id, job.kind, job.attempts, reason)
        else:
            log.error("job %s of kind %s failed, attempt %d", job.id, job.kind, job.attempts, exc_info=error)
        try:
            await self._core.db.write(write)
        except Exception:
            log.exception("the failure of job %s could not be written; its lease will run out", job.id)
