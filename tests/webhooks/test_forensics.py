"""What was received can be shown byte for byte, verified as of its time, and not changed behind anybody's back."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.audit import Actor
from redoubt.core.jobs import Jobs
from redoubt.webhooks import forensics, store
from redoubt.webhooks.errors import NotReplayable, PayloadGone, UnknownDelivery
from redoubt.webhooks.keystore import rotate
from redoubt.webhooks.retention import prune

from .conftest import actions, by_stripe, payload, standard

OPERATOR = Actor(kind="operator", id="op-1")


async def receive(hooks, core, n=1):
    body = payload(n)
    return (await hooks.receive("partner", standard(body, core.clock.now(), f"msg_{n}"), body)).id


def run(core, fn, *args, **kwargs):
    return core.db.write_sync(lambda tx: fn(tx, core, *args, **kwargs))


async def test_raw_bytes_come_back_and_each_look_is_audited(hooks, core):
    delivery = await receive(hooks, core)
    found = run(core, forensics.raw, delivery, OPERATOR)
    assert found.body == payload()
    assert (b"webhook-id", b"msg_1") in found.headers
    assert actions(core).count("webhook.raw.read") == 1
    assert "evt_1" not in repr(found)
    with pytest.raises(UnknownDelivery):
        run(core, forensics.raw, "nothing", OPERATOR)
    (row,) = core.db.read_sync(lambda tx: forensics.listed(tx, endpoint="partner"))
    assert "sealed" not in row


async def test_an_old_delivery_verifies_as_of_its_time_with_the_key_of_its_time(hooks, core):
    delivery = await receive(hooks, core)
    core.clock.advance(timedelta(seconds=1))
    run(core, rotate, "partner", None, timedelta(), OPERATOR)
    (core.settings.base / "partner.key").unlink()
    core.clock.advance(timedelta(days=30))
    then = run(core, forensics.reverify, delivery, OPERATOR, at_received=True)
    now = run(core, forensics.reverify, delivery, OPERATOR, at_received=False)
    assert (then.proven, now.proven, now.reason) == (True, False, "unproven")
    assert actions(core).count("webhook.reverified") == 2


async def test_a_stripe_delivery_verifies_too(hooks, core):
    body = payload()
    delivery = (await hooks.receive("stripe", by_stripe(body, core.clock.now()), body)).id
    core.clock.advance(timedelta(hours=1))
    assert run(core, forensics.reverify, delivery, OPERATOR, at_received=True).proven
    late = run(core, forensics.reverify, delivery, OPERATOR, at_received=False)
    assert (late.proven, late.reason) == (False, "not-fresh")


async def test_replay_is_for_the_dead_unless_said_twice(hooks, core, effects):
    jobs = Jobs(core)
    hooks.register(jobs)
    delivery = await receive(hooks, core)
    with pytest.raises(NotReplayable):
        run(core, forensics.replay, delivery, OPERATOR)
    while await jobs.run_once():
        pass
    with pytest.raises(NotReplayable):
        run(core, forensics.replay, delivery, OPERATOR)
    assert effects() == [1]
    run(core, forensics.replay, delivery, OPERATOR, again=True)
    while await jobs.run_once():
        pass
    assert effects() == [1, 1]
    core.db.write_sync(lambda tx: tx.execute(sa.update(store.inbox).values(state="dead")))
    run(core, forensics.replay, delivery, OPERATOR)
    while await jobs.run_once():
        pass
    assert effects() == [1, 1, 1]
    assert actions(core).count("webhook.replayed") == 2


@pytest.mark.parametrize(
    "change",
    [
        {"sealed": b"other"}, {"endpoint": "github"}, {"identity": "x"}, {"digest": "x"}, {"key_id": "x"},
        {"tenant": "x"}, {"size": 1}, {"scheme": "github"}, {"tolerance_s": 1},
    ],
)  # fmt: skip
async def test_the_evidence_cannot_be_changed(hooks, core, change):
    await receive(hooks, core)
    with pytest.raises(sa.exc.DBAPIError, match="cannot be changed"):
        core.db.write_sync(lambda tx: tx.execute(sa.update(store.inbox).values(**change)))


async def test_the_evidence_cannot_be_deleted_replaced_or_purged_early(hooks, core):
    delivery = await receive(hooks, core)
    with pytest.raises(sa.exc.DBAPIError, match="cannot be deleted"):
        core.db.write_sync(lambda tx: tx.execute(sa.delete(store.inbox)))
    if core.db.dialect == "sqlite":
        with pytest.raises(sa.exc.DBAPIError, match="cannot be deleted"):
            core.db.write_sync(
                lambda tx: tx.execute(sa.text("REPLACE INTO webhook_inbox SELECT * FROM webhook_inbox"))
            )
    early = {"sealed": None, "purged_at": core.clock.now()}
    with pytest.raises(sa.exc.DBAPIError, match="cannot be changed"):
        core.db.write_sync(lambda tx: tx.execute(sa.update(store.inbox).values(**early)))
    with pytest.raises(sa.exc.DBAPIError, match="cannot be changed"):
        core.db.write_sync(
            lambda tx: tx.execute(
                sa.update(store.inbox).values(retain_until=core.clock.now() - timedelta(days=1))
            )
        )
    assert run(core, forensics.raw, delivery, OPERATOR).body == payload()


async def test_payloads_go_when_their_time_is_up_unless_they_are_held(hooks, core, effects):
    jobs = Jobs(core)
    hooks.register(jobs)
    gone, held, waiting = await receive(hooks, core, 1), await receive(hooks, core, 2), None
    while await jobs.run_once():
        pass
    waiting = await receive(hooks, core, 3)  # nobody handled it yet
    run(core, forensics.hold, held, OPERATOR, on=True)
    core.clock.advance(timedelta(days=89))
    assert run(core, prune)[1] == 0
    core.clock.advance(timedelta(days=1))
    assert run(core, prune)[1] == 1
    with pytest.raises(PayloadGone):
        run(core, forensics.raw, gone, OPERATOR)
    assert run(core, forensics.raw, held, OPERATOR).body == payload(2)
    assert run(core, forensics.raw, waiting, OPERATOR).body == payload(3)
    with pytest.raises(sa.exc.DBAPIError, match="cannot be changed"):
        core.db.write_sync(
            lambda tx: tx.execute(
                sa.update(store.inbox)
                .where(store.inbox.c.id == held)
                .values(sealed=None, purged_at=core.clock.now())
            )
        )
    run(core, forensics.hold, held, OPERATOR, on=False)
    assert run(core, prune)[1] == 1
    assert {"webhook.held", "webhook.released", "webhook.purged"} <= set(actions(core))
