"""What we send goes out once for each event and target, signed anew at each attempt, until it is taken."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
import standardwebhooks.webhooks
import svix.webhooks

from redoubt.audit import Actor
from redoubt.core.egress import Egress, EgressPolicy
from redoubt.core.errors import RedoubtError
from redoubt.core.jobs import Jobs
from redoubt.webhooks import store
from redoubt.webhooks.errors import ConfigError
from redoubt.webhooks.keystore import rotate
from redoubt.webhooks.models import TargetConfig
from redoubt.webhooks.outbox import emit, enable
from redoubt.webhooks.service import Webhooks

from .conftest import OTHER, WHSEC, actions, file_ref
from .receiver import Receiver

OPERATOR = Actor(kind="operator", id="op-1")


@asynccontextmanager
async def sending(core, *receivers, switches=None, allow=True, **more):
    """A worker with one target for each receiver, through the real egress client."""
    async with AsyncExitStack() as stack:
        for receiver in receivers:
            await stack.enter_async_context(receiver)
        local = [f"127.0.0.1:{receiver.port}" for receiver in receivers] if allow else []
        egress = await stack.enter_async_context(Egress(EgressPolicy(private=local, profile="development")))
        ref = file_ref(core, "out.key", WHSEC)
        targets = [
            TargetConfig(f"t{i}", receiver.url, ["order.paid"], [ref], **more)
            for i, receiver in enumerate(receivers)
        ]
        hooks = Webhooks(core, [], targets, sender=egress, switches=switches)
        await hooks.start()
        jobs = Jobs(core)
        hooks.register(jobs)
        await jobs.run_once()  # the pruning
        yield hooks, jobs


def send(core, n=1, event="order.paid"):
    return core.db.write_sync(lambda tx: emit(tx, core, event, {"order": n, "weight": 1.5}))


def states(core):
    return core.db.read_sync(
        lambda tx: tx.execute(sa.select(store.outbox.c.state).order_by(store.outbox.c.id)).scalars().all()
    )


def attempts(core):
    rows = core.db.read_sync(
        lambda tx: tx.execute(sa.select(store.attempts).order_by(store.attempts.c.id)).mappings().all()
    )
    return [(row["status"], row["error"]) for row in rows]


def proven(request, at, secret=WHSEC):
    """Judged by the reference library, told what time it is."""

    class Then(standardwebhooks.webhooks.datetime):
        @classmethod
        def now(cls, tz=None):
            return at

    real = standardwebhooks.webhooks.datetime
    standardwebhooks.webhooks.datetime = Then
    try:
        svix.webhooks.Webhook(secret).verify(request.body, request.headers)
        return True
    except svix.webhooks.WebhookVerificationError:
        return False
    finally:
        standardwebhooks.webhooks.datetime = real


async def test_a_delivery_arrives_signed_and_is_not_sent_again(core):
    receiver = Receiver()
    async with sending(core, receiver) as (_, jobs):
        (delivery,) = send(core)
        await jobs.run_once()
        assert await jobs.run_once() == 0
    (request,) = receiver.got
    assert proven(request, core.clock.now())
    assert request.headers["webhook-id"] == delivery
    assert json.loads(request.body)["data"] == {"order": 1, "weight": 1.5}
    assert states(core) == ["delivered"]
    assert attempts(core) == [(204, None)]
    assert "webhook.delivered" in actions(core)


async def test_what_is_rolled_back_is_not_sent(core):
    receiver = Receiver()
    async with sending(core, receiver) as (_, jobs):

        def undone(tx):
            emit(tx, core, "order.paid", {})
            raise ValueError

        with pytest.raises(ValueError):
            core.db.write_sync(undone)
        assert send(core, event="order.shipped") == []
        assert await jobs.run_once() == 0
    assert receiver.got == []


@pytest.mark.parametrize("failure", [500, 404, 301, 429])
async def test_a_failed_attempt_is_repeated_with_the_same_id_and_bytes_and_a_new_moment(core, failure):
    answers = iter([failure, failure, 200])
    receiver = Receiver(lambda request: next(answers))
    async with sending(core, receiver) as (_, jobs):
        send(core)
        for _ in range(3):
            assert await jobs.run_once() in (1, 2)  # the pruning too, at times
            at = core.clock.now()
            assert proven(receiver.got[-1], at)
            assert await jobs.run_once() == 0  # never at once
            core.clock.advance(timedelta(minutes=10))
    assert len({r.headers["webhook-id"] for r in receiver.got}) == len({r.body for r in receiver.got}) == 1
    assert len({r.headers["webhook-timestamp"] for r in receiver.got}) == 3
    assert states(core) == ["delivered"]
    assert [status for status, _ in attempts(core)] == [failure, failure, 200]


async def test_no_answer_and_no_receiver_are_failures_too(core):
    receiver = Receiver(hang=asyncio.Event())
    async with sending(core, receiver, timeout=timedelta(seconds=1)) as (_, jobs):
        send(core)
        await jobs.run_once()
        receiver.server.close()
        core.clock.advance(timedelta(minutes=10))
        await jobs.run_once()
    assert attempts(core) == [(None, "egress-timeout"), (None, "egress-unreachable")]
    assert states(core) == ["pending"]
    receiver.hang.set()


async def test_a_host_that_is_not_allowed_is_never_called(core):
    receiver = Receiver()
    async with sending(core, receiver, allow=False, max_attempts=1) as (_, jobs):
        send(core)
        await jobs.run_once()
    assert receiver.arrived == 0
    assert attempts(core) == [(None, "egress-refused")]


async def test_after_the_last_attempt_it_is_a_dead_letter(core):
    async with sending(core, Receiver(lambda request: 500), max_attempts=3) as (_, jobs):
        send(core)
        for _ in range(5):
            await jobs.run_once()
            core.clock.advance(timedelta(hours=6))
    assert states(core) == ["dead"]
    assert len(attempts(core)) == 3
    assert "webhook.delivery.dead" in actions(core)


async def test_what_the_receiver_answers_is_cut_and_redacted(core):
    secret = b"mail jo@example.org, key sk_live_" + b"a" * 24 + b", " + b"x" * 100_000
    async with sending(core, Receiver(lambda request: (200, secret))) as (_, jobs):
        send(core)
        await jobs.run_once()
    excerpt = core.db.read_sync(lambda tx: tx.execute(sa.select(store.attempts.c.excerpt)).scalar_one())
    assert "jo@example.org" not in excerpt
    assert "sk_live" not in excerpt
    assert 0 < len(excerpt) < 1100


async def test_a_target_that_is_gone_is_disabled_and_keeps_its_deliveries(core):
    status = 410
    receiver = Receiver(lambda request: status)
    async with sending(core, receiver) as (hooks, jobs):
        send(core, 1)
        await jobs.run_once()
        send(core, 2)
        core.clock.advance(timedelta(hours=1))
        assert await jobs.run_once() in (0, 1)  # pruning, perhaps
        assert len(receiver.got) == 1
        assert states(core) == ["pending", "pending"]
        assert "webhook.target.disabled" in actions(core)
        await hooks.reload()  # a restart does not enable it
        assert send(core, 3)
        status = 200
        assert core.db.write_sync(lambda tx: enable(tx, core, "t0", OPERATOR)) == 3
        while await jobs.run_once():
            pass
    assert states(core) == ["delivered"] * 3
    assert sorted(json.loads(r.body)["data"]["order"] for r in receiver.got[1:]) == [1, 2, 3]


async def test_a_target_that_fails_for_days_is_disabled(core):
    async with sending(core, Receiver(lambda request: 500), disable_after=timedelta(days=2)) as (_, jobs):
        send(core)
        await jobs.run_once()
        core.clock.advance(timedelta(days=2))
        while await jobs.run_once():
            pass
        assert "webhook.target.disabled" in actions(core)
        assert states(core) == ["pending"]


async def test_a_slow_target_delays_no_other(core):
    slow, fast = Receiver(hang=asyncio.Event()), Receiver()
    async with sending(core, slow, fast) as (_, jobs):
        for n in range(30):
            send(core, n)
        stop = asyncio.Event()
        worker = asyncio.create_task(jobs.run(stop, idle=0.02))
        for _ in range(500):
            if len(fast.got) == 30:
                break
            await asyncio.sleep(0.02)
        assert len(fast.got) == 30
        assert slow.got == []
        assert slow.arrived <= 2
        stop.set()
        slow.hang.set()
        await asyncio.wait_for(worker, 30)


async def test_during_a_rotation_both_keys_sign(core):
    receiver = Receiver()
    async with sending(core, receiver) as (hooks, jobs):
        ref = file_ref(core, "new.key", OTHER)
        core.db.write_sync(lambda tx: rotate(tx, core, "t0", ref, timedelta(hours=1), OPERATOR))
        core.clock.advance(timedelta(seconds=1))
        send(core)
        await jobs.run_once()
        assert proven(receiver.got[0], core.clock.now(), WHSEC)
        assert proven(receiver.got[0], core.clock.now(), OTHER)
        core.clock.advance(timedelta(hours=1))
        send(core)
        while await jobs.run_once():
            pass
        assert not proven(receiver.got[1], core.clock.now(), WHSEC)
        assert proven(receiver.got[1], core.clock.now(), OTHER)


async def test_a_killed_switch_holds_deliveries_without_spending_attempts(core):
    class Killed(RedoubtError):
        code = "killed"

    class Board:
        live = False

        def check(self, capability, tenant):
            if not self.live and capability == "webhooks.out":
                raise Killed("killed")

    board, receiver = Board(), Receiver()
    async with sending(core, receiver, switches=board, max_attempts=2) as (_, jobs):
        send(core)
        for _ in range(5):
            await jobs.run_once()
            core.clock.advance(timedelta(seconds=6))
        assert receiver.got == []
        assert states(core) == ["pending"]
        board.live = True
        await jobs.run_once()
    assert states(core) == ["delivered"]


async def test_payloads_at_rest_are_sealed(core):
    async with sending(core, Receiver()):
        core.db.write_sync(lambda tx: emit(tx, core, "order.paid", {"note": "a-very-plain-word"}))
        dump = core.db.read_sync(lambda tx: tx.execute(sa.select(store.outbox)).mappings().one())
        assert b"a-very-plain-word" not in dump["sealed"]


def test_unsafe_targets_are_refused(core):
    ref = file_ref(core, "k", WHSEC)
    good = {"name": "t", "url": "https://x.example/h", "events": ["a.b"], "secrets": [ref]}
    assert TargetConfig(**good)
    for change in (
        {"pins": ["sha256/x"]}, {"events": []}, {"events": ["A B"]}, {"url": "ftp://x"}, {"secrets": []},
        {"timeout": timedelta(minutes=1)}, {"name": "X"},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            TargetConfig(**{**good, **change})
    hooks = Webhooks(core, [], [TargetConfig(**good)])
    with pytest.raises(ConfigError, match="egress"):
        hooks.register(Jobs(core))
