"""Refunds: two people over the exact bytes, checked by the charge service itself, never above what was captured."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from sqlalchemy.exc import DatabaseError

from redoubt.audit.store import entries
from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json
from redoubt.core.settings import Settings
from redoubt.payments.charge import ledger, store
from redoubt.payments.charge.commands import Command
from redoubt.payments.charge.config import APPROVER_MATURES, config_from
from redoubt.payments.charge.errors import CommandInvalid, Held
from redoubt.payments.charge.ledger_verify import verify
from redoubt.payments.charge.models import Cap, Intent
from redoubt.payments.charge.service import ChargeService
from tests.payments.support import (
    Account,
    Charge,
    Person,
    b64,
    deliver_events,
    pay,
    refund,
    refund_payload,
    settle_all,
)

APP = "spiffe://redoubt/app"


@pytest.fixture
def bob() -> Person:
    return Person("bob")


async def paid(service: ChargeService, bob: Person, amount: int = 5000, payment: str = "pay-1") -> str:
    """Enrol bob, take a payment, and return the provider's id of it."""
    await service.command(bob.enrolment(), APP)
    service.core.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    answer = await service.command(pay(payment, amount), APP)
    return str(answer["intent"]["provider_payment"])


def intent(core: Core, op: str) -> Intent:
    found = core.db.read_sync(lambda tx: store.intent_by(tx, store.intents.c.op == op))
    assert found is not None
    return found


async def reason(service: ChargeService, command: Command) -> str | None:
    return (await service.command(command, APP))["reason"]  # type: ignore[no-any-return]


async def test_an_approved_refund_is_made_once_and_booked(
    service: ChargeService, account: Account, bob: Person
) -> None:
    provider_id = await paid(service, bob)
    command = refund(refund_payload(service.core, provider_id, 2000), bob)
    assert (await service.command(command, APP))["intent"]["state"] == "succeeded"
    await service.command(command, APP)
    await deliver_events(service, account)
    assert account.refunded() == 2000
    payment = intent(service.core, "pay-1")
    assert (payment.captured, payment.reserved, payment.refunded) == (5000, 0, 2000)
    balances = service.core.db.read_sync(lambda tx: ledger.balances(tx, "main"))
    assert balances == {
        (ledger.CLEARING, "EUR"): 3000,
        (ledger.SALES, "EUR"): -3000,
        (ledger.RESERVED, "EUR"): 0,
    }
    assert service.core.db.read_sync(verify).sound
    assert [change["op"] for change in await service.changes(0, 9)] == ["pay-1", "pay-1", "ref-1"]


async def test_every_forged_approval_is_refused(
    service: ChargeService, account: Account, bob: Person
) -> None:
    provider_id = await paid(service, bob)
    core = service.core
    mallory, late = Person("mallory"), Person("late")
    good = refund_payload(core, provider_id, 1000)

    async def attempt(number: int, command_payload: bytes, **changes: Any) -> str | None:
        return await reason(service, refund(command_payload, bob, f"r{number}", **changes))

    def other(**changes: Any) -> bytes:
        return refund_payload(core, provider_id, changes.pop("amount", 1000), **changes)

    assert await attempt(1, other(requester="bob")) == "self-approval"
    assert await attempt(2, other(amount=9000), assertion=bob.assertion(good)) == "assertion-invalid"
    assert await attempt(3, good, approver="mallory", assertion=mallory.assertion(good)) == "approver-unknown"
    assert await attempt(4, good, approver="mallory") == "approver-unknown"
    assert (
        await attempt(5, good, assertion=bob.assertion(good, origin="https://evil.example"))
        == "assertion-invalid"
    )
    assert await attempt(6, good, assertion=bob.assertion(good, rp_id="evil.example")) == "assertion-invalid"
    assert await attempt(7, good, assertion=bob.assertion(good, uv=False)) == "assertion-invalid"
    assert (
        await attempt(8, good, assertion=bob.assertion(good, extra={"crossOrigin": True}))
        == "assertion-invalid"
    )
    frame = bob.assertion(good, extra={"topOrigin": "https://evil.example"})
    assert await attempt(9, good, assertion=frame) == "assertion-invalid"
    create = bob.assertion(good, extra={"type": "webauthn.create"})
    assert await attempt(10, good, assertion=create) == "assertion-invalid"
    broken = bob.assertion(good)
    broken["response"]["signature"] = b64(b"\0" * 70)
    assert await attempt(11, good, assertion=broken) == "assertion-invalid"
    assert await attempt(12, other(currency="USD")) == "payment-differs"
    assert await attempt(13, other(order="order-9")) == "payment-differs"
    assert await attempt(14, other(payment="pay-9")) == "payment-unknown"
    assert await attempt(15, refund_payload(core, "pi_other", 1000)) == "payment-unknown"
    assert await attempt(16, other(tenant="two")) == "tenant-differs"
    assert await attempt(17, other(amount=5001)) == "above-captured"
    old = (core.clock.now() - timedelta(days=8)).isoformat()
    assert await attempt(18, other(requested_at=old)) == "approval-expired"
    early = (core.clock.now() + timedelta(hours=1)).isoformat()
    assert await attempt(19, other(requested_at=early)) == "approval-from-future"
    core.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    await service.command(late.enrolment(), APP)
    assert await reason(service, refund(good, late, "r20")) == "approver-too-new"
    assert account.refunded() == 0
    assert intent(core, "pay-1").reserved == 0
    assert core.db.read_sync(lambda tx: ledger.head(tx, "main")).seq == 1
    assert await attempt(21, good) is None  # the positive control: the same bytes, honestly signed
    assert account.refunded() == 1000


async def test_a_stolen_app_cannot_enrol_an_approver_and_use_it_at_once(
    charge: Charge, account: Account, bob: Person
) -> None:
    charge.config = evolve(charge.config, approver_matures=APPROVER_MATURES)
    async with charge as service:
        provider_id = await paid(service, bob)
        mallory = Person("mallory")
        await service.command(mallory.enrolment(), APP)
        service.core.clock.advance(timedelta(hours=23))  # type: ignore[attr-defined]
        forged = refund_payload(service.core, provider_id, 1000)
        assert await reason(service, refund(forged, mallory, "r1")) == "approver-too-new"
        assert account.refunded() == 0
        service.core.clock.advance(timedelta(hours=1))  # type: ignore[attr-defined]
        assert (
            await reason(service, refund(forged, mallory, "r2")) is None
        )  # a day later, seen by whoever looked
        query = sa.select(sa.func.count()).where(entries.c.action == "charge.approver.enrolled")
        assert service.core.db.read_sync(lambda tx: tx.execute(query).scalar_one()) == 2


@pytest.mark.parametrize(
    ("profile", "wait"), [("production", APPROVER_MATURES), ("development", timedelta(0))]
)
def test_approvers_mature_where_money_is_real(tmp_path: Path, profile: str, wait: timedelta) -> None:
    (tmp_path / "redoubt.toml").write_text(
        f'[app]\nname = "t"\nprofile = "{profile}"\nbase_url = "https://t.example"\n'
    )
    assert config_from(Settings.load(tmp_path, {})).approver_matures == wait


async def test_an_approval_is_consumed_once(service: ChargeService, account: Account, bob: Person) -> None:
    provider_id = await paid(service, bob)
    payload = refund_payload(service.core, provider_id, 1000, nonce="n1")
    assert await reason(service, refund(payload, bob, "r1")) is None
    assert await reason(service, refund(payload, bob, "r2")) == "approval-consumed"
    twin = refund_payload(service.core, provider_id, 1001, nonce="n1")
    assert await reason(service, refund(twin, bob, "r3")) == "approval-consumed"
    assert account.refunded() == 1000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_only_canonical_payloads_with_exactly_their_fields_are_read(
    service: ChargeService, bob: Person
) -> None:
    provider_id = await paid(service, bob)
    good = refund_payload(service.core, provider_id, 1000)
    data = json.loads(good)
    for raw in (
        json.dumps(data).encode(),
        good + b" ",
        canonical_json({**data, "extra": 1}),
        canonical_json({name: data[name] for name in data if name != "nonce"}),
        canonical_json({**data, "amount": "1000"}),
        canonical_json({**data, "amount": True}),
        canonical_json({**data, "requested_at": "2026-01-01T12:00:00"}),
        good.replace(b'"amount":1000', b'"amount":1000,"amount":4000'),
        b"[]",
        b"\xff",
    ):
        with pytest.raises(CommandInvalid):
            await service.command(refund(raw, bob), APP)


async def test_an_approver_is_never_replaced_and_can_be_revoked(
    service: ChargeService, account: Account, bob: Person
) -> None:
    provider_id = await paid(service, bob)
    thief = Person("bob")
    thief.credential = bob.credential
    assert await reason(service, thief.enrolment(command="again")) == "approver-exists"
    assert await reason(service, bob.enrolment(command="same")) is None
    for sql in (
        "UPDATE charge_approvers SET public_key = 'x'",
        "UPDATE charge_approvers SET enrolled_at = 0",
        "DELETE FROM charge_approvers",
    ):
        with pytest.raises(DatabaseError):
            service.core.db.write_sync(lambda tx, sql=sql: tx.execute(sa.text(sql)))
    robot = Person("service:app")
    assert await reason(service, robot.enrolment()) == "approver-is-service"
    await service.command(Command("revoke", "main", "revoke_approver", {"credential": bob.credential}), APP)
    payload = refund_payload(service.core, provider_id, 1000)
    assert await reason(service, refund(payload, bob)) == "approver-revoked"
    assert await reason(service, bob.enrolment(command="back")) == "approver-exists"
    assert account.refunded() == 0


async def test_consumed_approvals_stay_and_hold_four_eyes(service: ChargeService, bob: Person) -> None:
    provider_id = await paid(service, bob)
    await service.command(refund(refund_payload(service.core, provider_id, 1000), bob), APP)
    for sql in (
        "DELETE FROM charge_consumed_approvals",
        "UPDATE charge_consumed_approvals SET nonce = 'x'",
        "INSERT INTO charge_consumed_approvals SELECT tenant, 'n2', 'h2', payload, approver, approver, credential, intent, at"
        " FROM charge_consumed_approvals",
        "UPDATE charge_intents SET state = 'refused' WHERE kind = 'refund'",
        "UPDATE charge_intents SET amount = 1",
        "UPDATE charge_intents SET reserved = 4001 WHERE kind = 'payment'",
        "UPDATE charge_intents SET refunded = 0 WHERE kind = 'payment'",
        "DELETE FROM charge_intents",
    ):
        with pytest.raises(DatabaseError):
            service.core.db.write_sync(lambda tx, sql=sql: tx.execute(sa.text(sql)))


@pytest.mark.parametrize("honours", [True, False])
async def test_sixteen_refunds_race_for_one_capture(
    charge_core: Core, account: Account, bob: Person, honours: bool
) -> None:
    account.set(refund_ceiling=False)  # a provider that would pay out anything
    async with Charge(charge_core, account, honours=honours) as service:
        provider_id = await paid(service, bob, 1000)
        commands = [refund(refund_payload(charge_core, provider_id, 300), bob, f"r{n}") for n in range(16)]
        answers = await asyncio.gather(*(service.command(command, APP) for command in commands))
    assert sum(answer["status"] == "accepted" for answer in answers) == 3
    assert account.refunded() == 900
    assert intent(charge_core, "pay-1").refunded == 900
    assert charge_core.db.read_sync(verify).sound


@pytest.mark.parametrize("by", ["user", "customer", "tenant"])
async def test_sixteen_refunds_race_for_one_cap(
    charge_core: Core, account: Account, bob: Person, by: Any
) -> None:
    cap = Cap("refund", by, timedelta(hours=1), currency="EUR", amount=1000, count=None)
    async with Charge(charge_core, account, caps=(cap,)) as service:
        await service.command(bob.enrolment(), APP)
        service.core.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
        ids = [
            (await service.command(pay(f"p{n}", 1000), APP))["intent"]["provider_payment"] for n in range(16)
        ]
        commands = [
            refund(refund_payload(charge_core, found, 300, payment=f"p{n}"), bob, f"r{n}")
            for n, found in enumerate(ids)
        ]
        answers = await asyncio.gather(*(service.command(command, APP) for command in commands))
        assert sum(answer["status"] == "accepted" for answer in answers) == 3
        assert {answer["reason"] for answer in answers} == {None, "velocity-amount"}
        assert account.refunded() == 900
        service.core.clock.advance(timedelta(hours=1))  # type: ignore[attr-defined]
        again = refund(refund_payload(charge_core, ids[15], 300, payment="p15"), bob, "later")
        assert await reason(service, again) is None


async def test_a_count_cap_and_its_scope(charge_core: Core, account: Account) -> None:
    caps = (Cap("payment", "customer", timedelta(hours=1), count=2),)
    async with Charge(charge_core, account, caps=caps) as service:
        assert await reason(service, pay("a")) is None
        assert await reason(service, pay("b")) is None
        assert await reason(service, pay("c")) == "velocity-count"
        assert await reason(service, pay("d", customer="cust-2")) is None
    assert account.charged() == 15_000


async def test_a_failed_refund_gives_its_reserve_back(
    service: ChargeService, account: Account, bob: Person
) -> None:
    provider_id = await paid(service, bob)
    account.fault("POST /v1/refunds", "after", "drop")
    await service.command(refund(refund_payload(service.core, provider_id, 5000), bob), APP)
    assert intent(service.core, "ref-1").state == "unknown"
    assert intent(service.core, "pay-1").reserved == 5000
    assert (
        await reason(service, refund(refund_payload(service.core, provider_id, 1), bob, "r2"))
        == "above-captured"
    )
    account.control("/_refund_fails", refund=account.objects("refund")[0]["id"])
    await settle_all(service)
    payment = intent(service.core, "pay-1")
    assert intent(service.core, "ref-1").state == "refused"
    assert (payment.reserved, payment.refunded) == (0, 0)
    assert await reason(service, refund(refund_payload(service.core, provider_id, 1), bob, "r3")) is None
    assert service.core.db.read_sync(verify).sound


async def test_a_killed_switch_holds_refunds(service: ChargeService, account: Account, bob: Person) -> None:
    provider_id = await paid(service, bob)
    body = {"capability": "refunds", "killed": True, "revision": 1}
    await service.command(Command("kill", "main", "set_switch", body), APP)
    command = refund(refund_payload(service.core, provider_id, 1), bob)
    with pytest.raises(Held):
        await service.command(command, APP)
    assert account.refunded() == 0
    await service.command(Command("on", "main", "set_switch", {**body, "killed": False, "revision": 2}), APP)
    assert await reason(service, command) is None


def test_an_approvers_passkey_is_delivered_without_waiting(core: Core) -> None:
    """A refund may be asked for right after its approver joined; the worker must not sit on the passkey."""
    from redoubt.core.jobs import jobs
    from redoubt.payments.outbox import Outbox

    async def never(*_arguments: object) -> None:
        raise AssertionError("nothing is sent here")

    outbox = Outbox(core, never, lambda *_arguments: None)  # type: ignore[arg-type]
    core.db.write_sync(lambda tx: outbox.put(tx, "enrol:1", "enrol_approver", {"person": "p"}, tenant="main"))
    core.db.write_sync(lambda tx: outbox.put(tx, "pay:1", "pay", {"payment": "p"}, tenant="main"))
    due = core.db.read_sync(
        lambda tx: list(tx.execute(sa.select(jobs.c.key).where(jobs.c.run_at <= core.clock.now())).scalars())
    )
    assert due == ["payments.deliver:enrol:1"]
