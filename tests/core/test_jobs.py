"""Jobs: claimed once, effect and state together, retried with back-off, dead at the end; on both databases."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, Tx
from redoubt.core.jobs import Backoff, GiveUp, Job, Jobs, Retry, claim, enqueue, jobs

effects = sa.Table("job_effects", sa.MetaData(), sa.Column("name", sa.Text))


@pytest.fixture
def ready(core: Core) -> Core:
    core.db.write_sync(lambda tx: effects.create(tx.conn))
    return core


def effect_count(core: Core) -> int:
    return core.db.read_sync(
        lambda tx: tx.execute(sa.select(sa.func.count()).select_from(effects)).scalar_one()
    )


def state_of(core: Core, job_id: str) -> dict[str, Any]:
    return core.db.read_sync(
        lambda tx: dict(tx.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one())
    )


def leave_effect(tx: Tx, job: Job) -> None:
    tx.execute(sa.insert(effects), {"name": job.payload["name"]})


async def test_a_transactional_job_leaves_its_effect_once(ready: Core) -> None:
    runner = Jobs(ready)
    runner.transactional("greet", leave_effect)
    job_id = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}))
    assert await runner.run_once() == 1
    assert await runner.run_once() == 0
    assert effect_count(ready) == 1
    assert state_of(ready, job_id)["state"] == "done"


async def test_a_failing_job_leaves_nothing_and_is_tried_again_later(ready: Core, clock: ManualClock) -> None:
    tried = []

    def fails_once(tx: Tx, job: Job) -> None:
        leave_effect(tx, job)
        tried.append(job.attempts)
        if len(tried) == 1:
            raise ValueError("the secret sk_live_1234 must not be kept")

    runner = Jobs(ready)
    runner.transactional("greet", fails_once, backoff=Backoff(base=10))
    job_id = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}))
    await runner.run_once()
    assert effect_count(ready) == 0
    row = state_of(ready, job_id)
    assert row["state"] == "ready"
    assert row["last_error"] == "ValueError"
    assert await runner.run_once() == 0
    clock.advance(timedelta(seconds=21))
    assert await runner.run_once() == 1
    assert effect_count(ready) == 1
    assert tried == [1, 2]


async def test_attempts_end_in_a_dead_letter_that_is_kept(ready: Core, clock: ManualClock) -> None:
    buried: list[str] = []

    def always(tx: Tx, job: Job) -> None:
        raise Retry("not yet", after=timedelta(seconds=1))

    runner = Jobs(ready)
    runner.transactional("greet", always, on_dead=lambda tx, job, reason: buried.append(job.id))
    job_id = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}, max_attempts=3))
    for _ in range(5):
        await runner.run_once()
        clock.advance(timedelta(seconds=2))
    assert state_of(ready, job_id)["state"] == "dead"
    assert state_of(ready, job_id)["attempts"] == 3
    assert buried == [job_id]
    clock.advance(timedelta(days=400))
    assert await runner.prune() == 0


async def test_a_job_that_takes_every_worker_down_ends_dead(ready: Core, clock: ManualClock) -> None:
    runner = Jobs(ready)
    runner.transactional("greet", leave_effect)
    job_id = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}, max_attempts=2))
    for token in ("t1", "t2"):  # two workers claim it and are never heard of again
        assert ready.db.write_sync(lambda tx, token=token: claim(tx, clock.now(), token, ["greet"], 1))
        clock.advance(timedelta(seconds=61))
    await runner.run_once()
    assert state_of(ready, job_id)["state"] == "dead"
    assert effect_count(ready) == 0


async def test_giving_up_is_final(ready: Core) -> None:
    def hopeless(tx: Tx, job: Job) -> None:
        raise GiveUp("there is no such order.")

    runner = Jobs(ready)
    runner.transactional("greet", hopeless)
    job_id = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}))
    await runner.run_once()
    assert state_of(ready, job_id)["state"] == "dead"


async def test_a_key_makes_enqueueing_idempotent(ready: Core) -> None:
    first = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}, key="once"))
    second = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "b"}, key="once"))
    assert first == second


async def test_an_outward_job_settles_with_its_outcome(ready: Core) -> None:
    async def call(job: Job) -> str:
        return "outcome of " + str(job.payload["name"])

    runner = Jobs(ready)
    runner.outward(
        "call", call, lambda tx, job, outcome: tx.execute(sa.insert(effects), {"name": outcome}) and None
    )
    ready.db.write_sync(lambda tx: enqueue(tx, ready, "call", {"name": "a"}))
    await runner.run_once()
    assert ready.db.read_sync(lambda tx: tx.execute(sa.select(effects.c.name)).scalar_one()) == "outcome of a"


async def test_a_worker_that_lost_its_lease_leaves_no_effect(ready: Core, clock: ManualClock) -> None:
    second = Jobs(ready)
    second.transactional("greet", leave_effect)
    started, resume = asyncio.Event(), asyncio.Event()

    async def slow(job: Job) -> None:
        started.set()
        await resume.wait()

    first = Jobs(ready)
    first.outward("greet", slow, lambda tx, job, outcome: leave_effect(tx, job))
    ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}))
    running = asyncio.create_task(first.run_once())
    await started.wait()
    clock.advance(timedelta(seconds=61))
    assert await second.run_once() == 1
    resume.set()
    await running
    assert effect_count(ready) == 1


async def left_by(core: Core, place: str, *, first: bool = True) -> asyncio.Task[int]:
    """Have the worker at `place` hang in the middle of the one job that it finds, and return its task."""
    hangs = asyncio.Event()

    async def hang(job: Job) -> None:
        hangs.set()
        await asyncio.Event().wait()

    runner = Jobs(core, place=place)
    runner.outward("greet", hang, lambda tx, job, outcome: None)
    if not first:
        await runner._take_up()
    task = asyncio.create_task(runner.run_once())
    await hangs.wait()
    return task


async def followed_at(core: Core, place: str) -> None:
    """Run the next worker at `place` until it left an effect."""
    successor = Jobs(core, place=place)
    successor.transactional("greet", leave_effect)
    stop = asyncio.Event()
    running = asyncio.create_task(successor.run(stop, idle=0.01))
    for _ in range(500):
        if effect_count(core):
            break
        await asyncio.sleep(0.01)
    stop.set()
    await running


async def ended(tasks: list[asyncio.Task[int]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_worker_takes_up_at_once_what_died_with_the_one_before_in_its_place(ready: Core) -> None:
    left, held = {}, []
    for place in ("s1.worker", "s1.worker2", "s2.worker", ""):
        body = {"name": place}
        left[place] = ready.db.write_sync(lambda tx, body=body: enqueue(tx, ready, "greet", body))
        held.append(await left_by(ready, place))
    await followed_at(ready, "s1.worker")
    done = [place for place, job_id in left.items() if state_of(ready, job_id)["state"] == "done"]
    assert done == ["s1.worker"]
    assert state_of(ready, left["s1.worker"])["attempts"] == 2
    await ended(held)


async def test_what_was_left_behind_too_often_waits_for_its_lease(ready: Core, clock: ManualClock) -> None:
    """It may be what kills its workers, and is not to take others with it again and again."""
    job_id = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}))
    held = [await left_by(ready, "s1.worker", first=life == 0) for life in range(4)]
    assert state_of(ready, job_id)["attempts"] == 4
    fifth = Jobs(ready, place="s1.worker")
    fifth.transactional("greet", leave_effect)
    await fifth._take_up()
    assert await fifth.run_once() == 0
    clock.advance(timedelta(seconds=16))
    assert await fifth.run_once() == 1
    await ended(held)


async def test_who_seemed_dead_and_comes_back_leaves_no_second_effect(ready: Core) -> None:
    started, resume = asyncio.Event(), asyncio.Event()

    async def pauses(job: Job) -> None:
        started.set()
        await resume.wait()

    paused = Jobs(ready, place="s1.worker")
    paused.outward("greet", pauses, lambda tx, job, outcome: leave_effect(tx, job))
    ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}))
    running = asyncio.create_task(paused.run_once())
    await started.wait()
    await followed_at(ready, "s1.worker")
    resume.set()
    await running
    assert effect_count(ready) == 1


async def test_workers_of_two_processes_never_share_a_job(ready: Core, database_url: str) -> None:
    other_db = Database(database_url)
    other = evolve(ready, db=other_db)
    for i in range(60):
        ready.db.write_sync(lambda tx, i=i: enqueue(tx, ready, "greet", {"name": str(i)}))
    runners = [Jobs(ready), Jobs(other), Jobs(ready)]
    for runner in runners:
        runner.transactional("greet", leave_effect)

    async def drain(runner: Jobs) -> int:
        total = 0
        while ran := await runner.run_once(limit=4):
            total += ran
        return total

    totals = await asyncio.gather(*(drain(runner) for runner in runners))
    other_db.close()
    assert sum(totals) == 60
    assert effect_count(ready) == 60


async def test_a_full_lane_leaves_room_for_others(ready: Core) -> None:
    release = asyncio.Event()
    seen: list[str] = []

    async def call(job: Job) -> None:
        seen.append(job.lane)
        if job.lane == "slow":
            await release.wait()

    runner = Jobs(ready, concurrency=4)
    runner.outward("call", call, lambda tx, job, outcome: None, lane_limit=2)
    for i in range(6):
        ready.db.write_sync(lambda tx, i=i: enqueue(tx, ready, "call", {"name": str(i)}, lane="slow"))
    ready.db.write_sync(lambda tx: enqueue(tx, ready, "call", {"name": "x"}, lane="quick"))
    stop = asyncio.Event()
    loop = asyncio.create_task(runner.run(stop, idle=0.01))
    for _ in range(500):
        if "quick" in seen:
            break
        await asyncio.sleep(0.01)
    assert "quick" in seen
    assert seen.count("slow") <= 2
    release.set()
    stop.set()
    await loop


async def test_a_long_call_keeps_its_lease(
    ready: Core, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redoubt.core.jobs.runner._RENEW_SECONDS", 0.02)
    started, resume = asyncio.Event(), asyncio.Event()

    async def slow(job: Job) -> None:
        started.set()
        await resume.wait()

    runner = Jobs(ready)
    runner.outward("greet", slow, lambda tx, job, outcome: leave_effect(tx, job))
    job_id = ready.db.write_sync(lambda tx: enqueue(tx, ready, "greet", {"name": "a"}))
    stop = asyncio.Event()
    loop = asyncio.create_task(runner.run(stop, idle=0.01))
    await started.wait()
    before = state_of(ready, job_id)["lease_until"]
    clock.advance(timedelta(seconds=10))
    for _ in range(500):
        if state_of(ready, job_id)["lease_until"] > before:
            break
        await asyncio.sleep(0.02)
    clock.advance(timedelta(seconds=10))
    assert ready.db.write_sync(lambda tx: claim(tx, clock.now(), "other", ["greet"], 1)) == []
    resume.set()
    stop.set()
    await loop
    assert effect_count(ready) == 1


def test_claiming_is_ordered_by_when_work_was_due(ready: Core, clock: ManualClock) -> None:
    later = ready.db.write_sync(
        lambda tx: enqueue(tx, ready, "k", {}, run_at=clock.now() - timedelta(seconds=1))
    )
    sooner = ready.db.write_sync(
        lambda tx: enqueue(tx, ready, "k", {}, run_at=clock.now() - timedelta(seconds=9))
    )
    first = ready.db.write_sync(lambda tx: claim(tx, clock.now(), "t1", ["k"], 1))
    second = ready.db.write_sync(lambda tx: claim(tx, clock.now(), "t2", ["k"], 1))
    assert [first[0].id, second[0].id] == [sooner, later]
