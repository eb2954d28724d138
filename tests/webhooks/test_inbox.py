"""A proven delivery is kept once, whole and sealed, before anybody is told that it was accepted."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.core.db import StorageUnavailable
from redoubt.core.keys import SealBroken
from redoubt.webhooks import store
from redoubt.webhooks.errors import ConfigError, DeliveryRefused, NotFresh, Reused, TooLarge, Unproven
from redoubt.webhooks.inbox import unseal
from redoubt.webhooks.models import EndpointConfig
from redoubt.webhooks.retention import prune
from redoubt.webhooks.service import Webhooks

from .conftest import (
    MINUTE,
    actions,
    by_github,
    by_stripe,
    count,
    endpoints,
    file_ref,
    payload,
    standard,
    write_effect,
)


async def test_dedupe_row_payload_work_and_audit_commit_together(hooks, core):
    body = payload()
    received = await hooks.receive("partner", standard(body, core.clock.now()), body)
    assert received.answer == "accepted"
    assert [count(core, t) for t in ("webhook_dedupe", "webhook_inbox")] == [1, 1]
    jobs = core.db.read_sync(
        lambda tx: tx.execute(sa.text("SELECT kind FROM jobs WHERE kind = 'webhooks.handle'")).all()
    )
    assert len(jobs) == 1
    assert "webhook.accepted" in actions(core)


@pytest.mark.parametrize("table", ["jobs", "webhook_inbox", "audit_entries"])
async def test_when_one_part_cannot_be_written_nothing_is(hooks, core, table):
    core.db.write_sync(lambda tx: tx.execute(sa.text(f"ALTER TABLE {table} RENAME TO moved")))
    body = payload()
    with pytest.raises((StorageUnavailable, sa.exc.DBAPIError)):
        await hooks.receive("partner", standard(body, core.clock.now()), body)
    core.db.write_sync(lambda tx: tx.execute(sa.text(f"ALTER TABLE moved RENAME TO {table}")))
    assert count(core, "webhook_dedupe") == count(core, "webhook_inbox") == 0
    assert (await hooks.receive("partner", standard(body, core.clock.now()), body)).answer == "accepted"


async def test_the_exact_bytes_and_the_signed_headers_come_back(hooks, core):
    body = b'{"id": "evt_1",\n\t"n": 1.50, "text": "\xc3\xa9"}'
    headers = standard(body, core.clock.now())
    await hooks.receive("partner", headers, body)
    row = core.db.read_sync(lambda tx: tx.execute(sa.select(store.inbox)).mappings().one())
    kept, stored = unseal(core, row)
    assert stored == body
    assert set(headers[:4]) == set(kept)  # the cookie is not kept
    assert b"evt_1" not in row["sealed"]


async def test_a_sealed_payload_that_is_moved_to_another_row_does_not_open(hooks, core):
    for n in (1, 2):
        body = payload(n)
        await hooks.receive("partner", standard(body, core.clock.now(), f"msg_{n}"), body)
    rows = core.db.read_sync(lambda tx: tx.execute(sa.select(store.inbox)).mappings().all())
    for moved in (
        {"id": rows[1]["id"]},
        {"endpoint": "github"},
        {"received_at": rows[0]["received_at"] + MINUTE},
    ):
        with pytest.raises(SealBroken):
            unseal(core, {**rows[0], **moved})


async def test_the_same_delivery_again_is_a_duplicate_and_counted(hooks, core):
    body, at = payload(), core.clock.now()
    first = await hooks.receive("partner", standard(body, at), body)
    for _ in range(5):
        again = await hooks.receive("partner", standard(body, at), body)
        assert (again.answer, again.id) == ("duplicate", first.id)
    retry = await hooks.receive("partner", standard(body, at + timedelta(seconds=30)), body)
    assert retry.answer == "duplicate"
    row = core.db.read_sync(lambda tx: tx.execute(sa.select(store.dedupe)).mappings().one())
    assert row["duplicates"] == 6
    assert count(core, "webhook_inbox") == 1
    assert actions(core).count("webhook.duplicate") == 3  # at 1, 2 and 4


async def test_a_known_identity_over_other_bytes_is_refused_and_audited(hooks, core):
    body, at = payload(), core.clock.now()
    await hooks.receive("partner", standard(body, at), body)
    other = payload(2)
    with pytest.raises(Reused):
        await hooks.receive("partner", standard(other, at), other)
    assert count(core, "webhook_inbox") == 1
    assert "webhook.reused" in actions(core)


@pytest.mark.parametrize("same_body", [True, False])
async def test_racing_copies_are_accepted_once(hooks, core, same_body):
    at = core.clock.now()
    bodies = [payload(1 if same_body else n) for n in range(64)]
    outcomes = await asyncio.gather(
        *(hooks.receive("partner", standard(body, at), body) for body in bodies), return_exceptions=True
    )
    kinds = [getattr(o, "answer", type(o).__name__) for o in outcomes]
    assert kinds.count("accepted") == 1
    assert kinds.count("duplicate" if same_body else "Reused") == 63
    assert count(core, "webhook_inbox") == 1


async def test_replicas_share_the_window(hooks, core):
    body, at = payload(), core.clock.now()
    replica = Webhooks(core, endpoints(core))
    await replica.start()
    assert (await hooks.receive("stripe", by_stripe(body, at), body)).answer == "accepted"
    assert (await replica.receive("stripe", by_stripe(body, at), body)).answer == "duplicate"


async def test_one_identity_at_two_endpoints_is_two_deliveries(hooks, core):
    extra = EndpointConfig(
        "partner2", "standard", [file_ref(core, "p2.key", "whsec_" + "c2Vjb25k" * 4)], write_effect
    )
    two = Webhooks(core, [*endpoints(core), extra])
    await two.start()
    body, at = payload(), core.clock.now()
    assert (await two.receive("partner", standard(body, at), body)).answer == "accepted"
    with pytest.raises(Unproven):
        await two.receive("partner2", standard(body, at), body)
    assert (
        await two.receive("partner2", standard(body, at, secret="whsec_" + "c2Vjb25k" * 4), body)
    ).answer == "accepted"


async def test_an_unsigned_delivery_id_opens_no_way_around_the_window(hooks, core):
    body = payload()
    assert (await hooks.receive("github", by_github(body, "d-1"), body)).answer == "accepted"
    assert (await hooks.receive("github", by_github(body, "d-2"), body)).answer == "duplicate"
    assert (await hooks.receive("github", by_github(body)[:1], body)).answer == "duplicate"


async def test_refused_deliveries_leave_no_row_and_one_audit_event_a_minute(hooks, core):
    body, at = payload(), core.clock.now()
    for _ in range(50):
        with pytest.raises(Unproven):
            await hooks.receive("partner", standard(body + b" ", at), body)
    with pytest.raises(NotFresh):
        await hooks.receive("partner", standard(body, at - timedelta(minutes=6)), body)
    with pytest.raises(TooLarge):
        await hooks.receive("github", by_github(b"x" * 5000), b"x" * 5000)
    assert actions(core).count("webhook.refused") == 3
    core.clock.advance(MINUTE)
    with pytest.raises(DeliveryRefused):
        await hooks.receive("partner", [], body)
    assert actions(core).count("webhook.refused") == 5  # how many more there were, and the new one
    assert count(core, "webhook_inbox") == count(core, "webhook_dedupe") == 0


async def test_the_window_lasts_over_a_restart_and_ends_when_it_says(hooks, core):
    body = payload()
    await hooks.receive("github", by_github(body), body)
    restarted = Webhooks(core, endpoints(core))
    await restarted.start()
    core.clock.advance(timedelta(days=30) - MINUTE)
    core.db.write_sync(lambda tx: prune(tx, core))
    assert (await restarted.receive("github", by_github(body), body)).answer == "duplicate"
    core.clock.advance(MINUTE)
    assert core.db.write_sync(lambda tx: prune(tx, core)) == (1, 0)
    assert (await restarted.receive("github", by_github(body), body)).answer == "accepted"


async def test_the_window_of_each_endpoint_stands_in_the_database(hooks, core):
    rows = core.db.read_sync(lambda tx: tx.execute(sa.select(store.endpoints)).mappings().all())
    assert {row["name"]: row["dedupe_window_s"] for row in rows} == dict.fromkeys(
        ("partner", "stripe", "github"), 30 * 86400
    )
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.update(store.endpoints).values(dedupe_window_s=1)))


def test_an_unsafe_endpoint_is_refused_at_the_start(core):
    ref = file_ref(core, "k", "x" * 32)
    bad = [
        {"tolerance": timedelta(minutes=5), "dedupe_window": timedelta(minutes=9)},
        {"tolerance": timedelta(hours=2)},
        {"tolerance": timedelta()},
        {"secrets": []},
        {"scheme": "none"},
        {"scheme": "github", "dedupe_window": timedelta(hours=23)},
        {"max_body": 0},
        {"name": "../x"},
        {"retention": timedelta(days=1)},
    ]
    for change in bad:
        with pytest.raises(ConfigError):
            EndpointConfig(
                **{"name": "a", "scheme": "standard", "secrets": [ref], "handler": write_effect, **change}
            )
    for where in ("nothing", "redoubt.webhooks:absent", "no.such.module:f", "redoubt.webhooks:DOMAIN"):
        with pytest.raises(ConfigError):
            Webhooks(core, [EndpointConfig("a", "standard", [ref], where)])
    good = EndpointConfig("a", "standard", [ref], write_effect)
    with pytest.raises(ConfigError):
        Webhooks(core, [good, good])
