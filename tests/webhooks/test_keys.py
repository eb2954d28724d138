"""Keys live side by side, end when they should, everywhere at once, and never show themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.audit import Actor
from redoubt.core.secrets import SecretError, SecretRef
from redoubt.webhooks import store
from redoubt.webhooks.errors import ConfigError, UnknownEndpoint, Unproven
from redoubt.webhooks.keystore import rotate
from redoubt.webhooks.models import EndpointConfig
from redoubt.webhooks.service import Webhooks

from .conftest import (
    MINUTE,
    OTHER,
    STRIPE_SECRET,
    WHSEC,
    actions,
    endpoints,
    file_ref,
    payload,
    standard,
    write_effect,
)

OPERATOR = Actor(kind="operator", id="op-1")


async def accepted(hooks, core, secret, message_id):
    body = payload()
    try:
        received = await hooks.receive("partner", standard(body, core.clock.now(), message_id, secret), body)
    except Unproven:
        return False
    return received.answer == "accepted"


async def test_a_rotation_overlaps_and_then_the_old_key_is_refused(hooks, core):
    ref = file_ref(core, "new.key", OTHER)
    core.db.write_sync(lambda tx: rotate(tx, core, "partner", ref, timedelta(hours=1), OPERATOR))
    core.clock.advance(timedelta(seconds=1))  # other processes see it within a second
    assert await accepted(hooks, core, WHSEC, "m1")
    assert await accepted(hooks, core, OTHER, "m2")
    core.clock.advance(timedelta(hours=1))
    assert not await accepted(hooks, core, WHSEC, "m3")
    assert await accepted(hooks, core, OTHER, "m4")
    assert actions(core).count("webhook.key.added") == 4


async def test_a_key_that_was_rotated_out_stays_out_over_restart_and_reload(hooks, core):
    core.db.write_sync(lambda tx: rotate(tx, core, "partner", None, timedelta(), OPERATOR))
    again = Webhooks(core, endpoints(core))  # the settings still name the old secret
    await again.start()
    await again.reload()
    assert not await accepted(again, core, WHSEC, "m1")


async def test_a_made_secret_is_shown_once_and_works(hooks, core):
    made = core.db.write_sync(lambda tx: rotate(tx, core, "partner", None, timedelta(hours=1), OPERATOR))
    assert made.startswith("whsec_")
    await hooks.keys.refresh()
    assert await accepted(hooks, core, made, "m1")
    dump = str(core.db.read_sync(lambda tx: tx.execute(sa.select(store.keys)).all()))
    audit = str(core.db.read_sync(lambda tx: tx.execute(sa.text("SELECT body FROM audit_entries")).all()))
    for secret in (made, made.removeprefix("whsec_"), WHSEC.removeprefix("whsec_"), STRIPE_SECRET):
        assert secret not in dump
        assert secret not in audit


async def test_a_changed_secret_is_taken_up_without_a_restart(hooks, core):
    file_ref(core, "partner.key", OTHER)
    assert not await accepted(hooks, core, OTHER, "m1")
    await hooks.reload()
    assert await accepted(hooks, core, OTHER, "m2")
    assert not await accepted(hooks, core, WHSEC, "m3")
    file_ref(core, "partner.key", WHSEC)  # a removal is no rotation: it may be taken back
    await hooks.reload()
    assert await accepted(hooks, core, WHSEC, "m4")


async def test_a_reload_that_cannot_read_a_secret_changes_nothing(hooks, core):
    (core.settings.base / "stripe.key").unlink()
    file_ref(core, "partner.key", OTHER)
    with pytest.raises(SecretError):
        await hooks.reload()
    assert await accepted(hooks, core, WHSEC, "m1")


async def test_several_declared_secrets_all_count(core, effects):
    refs = [file_ref(core, "a.key", WHSEC), file_ref(core, "b.key", OTHER)]
    hooks = Webhooks(core, [EndpointConfig("partner", "standard", refs, write_effect)])
    await hooks.start()
    assert await accepted(hooks, core, WHSEC, "m1")
    assert await accepted(hooks, core, OTHER, "m2")


async def test_a_revocation_in_another_process_counts_within_a_second(hooks, core):
    assert await accepted(hooks, core, WHSEC, "m1")
    other = Webhooks(core, endpoints(core))
    await other.start()
    core.db.write_sync(lambda tx: rotate(tx, core, "partner", None, timedelta(), OPERATOR))
    core.clock.advance(timedelta(seconds=1))
    for process in (hooks, other):
        assert not await accepted(process, core, WHSEC, "m2")


async def test_one_endpoints_key_opens_no_other(hooks, core):
    body = payload()
    assert not await accepted(hooks, core, OTHER, "m1")
    row = core.db.read_sync(
        lambda tx: tx.execute(sa.select(store.keys).where(store.keys.c.owner == "in:stripe")).mappings().one()
    )
    with pytest.raises(sa.exc.IntegrityError):  # the same key row cannot stand twice
        core.db.write_sync(lambda tx: tx.execute(sa.insert(store.keys), dict(row)))
    core.db.write_sync(lambda tx: tx.execute(sa.insert(store.keys), {**row, "owner": "in:partner"}))
    core.clock.advance(MINUTE)
    with pytest.raises(Exception, match="sealed value"):  # it was sealed for its own endpoint
        await hooks.receive("partner", standard(body, core.clock.now(), "m2", STRIPE_SECRET), body)


async def test_mistakes_are_named(hooks, core):
    refs = [file_ref(core, "a.key", WHSEC), file_ref(core, "b.key", WHSEC)]
    with pytest.raises(ConfigError):
        await Webhooks(core, [EndpointConfig("twice", "standard", refs, write_effect)]).start()
    with pytest.raises(SecretError):
        await Webhooks(
            core, [EndpointConfig("no", "standard", [SecretRef.parse("env:NOT_SET")], write_effect)]
        ).start()
    for name, overlap, error in (
        ("nobody", MINUTE, UnknownEndpoint),
        ("partner", timedelta(days=31), ConfigError),
    ):
        with pytest.raises(error):
            core.db.write_sync(lambda tx, n=name, o=overlap: rotate(tx, core, n, None, o, OPERATOR))
