"""A handler's effect, its inbox status and its job are one transaction: the effect happens once, whatever dies."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.core.jobs import Jobs
from redoubt.webhooks import store
from redoubt.webhooks.models import EndpointConfig
from redoubt.webhooks.service import Webhooks

from .conftest import WHSEC, actions, by_github, file_ref, payload, standard


def states(core):
    return core.db.read_sync(
        lambda tx: tx.execute(sa.select(store.inbox.c.state).order_by(store.inbox.c.id)).scalars().all()
    )


async def started(core, handler, **more):
    hooks = Webhooks(
        core, [EndpointConfig("partner", "standard", [file_ref(core, "partner.key", WHSEC)], handler, **more)]
    )
    await hooks.start()
    jobs = Jobs(core)
    hooks.register(jobs)
    await jobs.run_once()  # the pruning that is due at the start
    return hooks, jobs


async def deliver(hooks, core, n=1):
    body = payload(n)
    return await hooks.receive("partner", standard(body, core.clock.now(), f"msg_{n}"), body)


async def test_the_effect_commits_with_the_status(hooks, core, effects):
    jobs = Jobs(core)
    hooks.register(jobs)
    for n in range(5):
        body = payload(n)
        await hooks.receive("partner", standard(body, core.clock.now(), f"msg_{n}"), body)
        await hooks.receive("partner", standard(body, core.clock.now(), f"msg_{n}"), body)
    while await jobs.run_once():
        pass
    assert effects() == [0, 1, 2, 3, 4]
    assert states(core) == ["done"] * 5
    assert actions(core).count("webhook.handled") == 5


async def test_the_handler_sees_what_was_signed(core):
    seen = []
    hooks, jobs = await started(core, lambda tx, delivery: seen.append(delivery))
    received = await deliver(hooks, core)
    await jobs.run_once()
    (delivery,) = seen
    assert (delivery.id, delivery.endpoint, delivery.identity) == (received.id, "partner", "msg_1")
    assert delivery.body == payload()
    assert delivery.headers["webhook-id"] == "msg_1"
    assert "evt_1" not in repr(delivery)


async def test_a_handler_that_fails_after_its_effect_leaves_none_and_is_tried_again(core, effects):
    tries = []

    def handler(tx, delivery):
        tx.execute(sa.text("INSERT INTO effects (delivery, n) VALUES ('x', 1)"))
        tries.append(core.clock.now())
        if len(tries) < 4:
            raise ValueError("not yet")

    hooks, jobs = await started(core, handler)
    await deliver(hooks, core)
    for _ in range(4):
        assert effects() == []
        await jobs.run_once()
        assert await jobs.run_once() == 0  # never at once
        core.clock.advance(timedelta(hours=1))
    assert effects() == [1]
    assert states(core) == ["done"]


async def test_a_handler_that_always_fails_ends_among_the_dead_letters(core):
    def handler(tx, delivery):
        raise ValueError("card 4242 4242 4242 4242 of jo@example.org")

    hooks, jobs = await started(core, handler, max_attempts=3)
    await deliver(hooks, core)
    for _ in range(5):
        await jobs.run_once()
        core.clock.advance(timedelta(hours=1))
    assert states(core) == ["dead"]
    assert "webhook.dead" in actions(core)
    error = core.db.read_sync(lambda tx: tx.execute(sa.select(store.inbox.c.last_error)).scalar_one())
    assert error == "ValueError"  # what a handler says is not repeated


async def test_many_workers_never_run_one_item_twice(core, effects):
    def handler(tx, delivery):
        tx.execute(
            sa.text("INSERT INTO effects (delivery, n) VALUES (:d, :n)"),
            {"d": delivery.id, "n": delivery.json()["n"]},
        )

    hooks, jobs = await started(core, handler)
    workers = [jobs]
    for _ in range(3):
        other = Jobs(core)
        hooks.register(other)
        workers.append(other)
    for n in range(40):
        await deliver(hooks, core, n)
    while sum(await asyncio.gather(*(w.run_once() for w in workers))):
        pass
    assert effects() == list(range(40))


async def test_a_worker_that_lost_its_lease_cannot_commit_its_effect(core, effects):
    """It hangs in the middle of a run; the job goes to another; then it wakes up."""
    from redoubt.core.jobs import claim

    def handler(tx, delivery):
        tx.execute(sa.text("INSERT INTO effects (delivery, n) VALUES ('x', 1)"))

    hooks, jobs = await started(core, handler)
    await deliver(hooks, core)
    (stuck,) = core.db.write_sync(lambda tx: claim(tx, core.clock.now(), "stuck", ["webhooks.handle"], 1))
    core.clock.advance(timedelta(minutes=2))
    assert await jobs.run_once() >= 1
    await jobs._run(stuck)
    assert effects() == [1]


async def test_a_job_that_comes_twice_for_one_delivery_has_one_effect(core, effects):
    from redoubt.core.jobs import enqueue

    def handler(tx, delivery):
        tx.execute(sa.text("INSERT INTO effects (delivery, n) VALUES ('x', 1)"))

    hooks, jobs = await started(core, handler)
    received = await deliver(hooks, core)
    core.db.write_sync(lambda tx: enqueue(tx, core, "webhooks.handle", {"id": received.id}))
    while await jobs.run_once():
        pass
    assert effects() == [1]


async def test_a_payload_that_was_changed_in_the_store_never_reaches_the_handler(core, effects):
    seen = []
    hooks, jobs = await started(core, lambda tx, d: seen.append(d), max_attempts=1)
    await deliver(hooks, core)

    def tamper(tx):
        if tx.dialect == "sqlite":
            tx.execute(sa.text("DROP TRIGGER webhook_inbox_evidence"))
        else:
            tx.execute(sa.text("ALTER TABLE webhook_inbox DISABLE TRIGGER webhook_inbox_evidence"))
        sealed = bytearray(tx.execute(sa.select(store.inbox.c.sealed)).scalar_one())
        sealed[-1] ^= 1
        tx.execute(sa.update(store.inbox).values(sealed=bytes(sealed)))

    core.db.write_sync(tamper)
    await jobs.run_once()
    assert seen == []
    assert states(core) == ["dead"]


async def test_pruning_runs_by_schedule(hooks, core, effects):
    jobs = Jobs(core)
    hooks.register(jobs)
    body = b"a body"
    await hooks.receive("github", by_github(body), body)
    again = Webhooks(core, list(hooks._incoming.values()))
    await again.start()  # a second process asks for the same slot
    planned = sa.text("SELECT count(*) FROM jobs WHERE kind = 'webhooks.prune' AND state = 'ready'")
    assert core.db.read_sync(lambda tx: tx.execute(planned).scalar_one()) == 1
    core.clock.advance(timedelta(days=31))
    await jobs.run_once()
    assert (
        core.db.read_sync(lambda tx: tx.execute(sa.text("SELECT count(*) FROM webhook_dedupe")).scalar_one())
        == 0
    )
    assert core.db.read_sync(lambda tx: tx.execute(planned).scalar_one()) == 1


@pytest.mark.parametrize("where", ["tests.webhooks.conftest:write_effect"])
async def test_a_handler_may_be_named(core, effects, where):
    hooks, jobs = await started(core, where)
    await deliver(hooks, core, 7)
    await jobs.run_once()
    assert effects() == [7]
