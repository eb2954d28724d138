"""The charge service: one effect a command, unknown outcomes resolved by look-up, answer and event in one upsert."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.payments.charge import ledger, store
from redoubt.payments.charge.commands import Command
from redoubt.payments.charge.errors import CommandConflict, CommandInvalid, EventRefused, Held
from redoubt.payments.charge.ledger_verify import verify
from redoubt.payments.charge.models import Intent
from redoubt.payments.charge.provider.port import NotSent
from redoubt.payments.charge.service import MOST_WAIT, ChargeService
from tests.payments.support import Account, Charge, deliver_events, pay, settle_all, sign

APP = "spiffe://redoubt/app"


def intent(core: Core, op: str = "pay-1") -> Intent:
    found = core.db.read_sync(lambda tx: store.intent_by(tx, store.intents.c.op == op))
    assert found is not None
    return found


def sound(core: Core) -> None:
    report = core.db.read_sync(verify)
    assert report.sound, report.faults


async def test_a_reader_that_waits_hears_of_a_change_as_soon_as_it_is_there(service: ChargeService) -> None:
    waiting = asyncio.ensure_future(service.changes(0, 100, 5.0))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await service.command(pay(), APP)
    assert [change["state"] for change in await waiting] == ["succeeded"]
    assert await service.changes(9, 100) == []


@pytest.mark.parametrize("end", ["closing", "time"])
async def test_a_reader_waits_no_longer_than_it_may(
    service: ChargeService, clock: ManualClock, end: str
) -> None:
    waiting = asyncio.ensure_future(service.changes(0, 100, 10_000.0))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    if end == "closing":
        service.closing.set()
    else:
        clock.advance(timedelta(seconds=MOST_WAIT))
    assert await waiting == []


async def test_a_payment_is_charged_once_and_booked(service: ChargeService, account: Account) -> None:
    answer = await service.command(pay(), APP)
    assert answer["status"] == "accepted"
    assert answer["intent"]["state"] == "succeeded"
    assert (await service.command(pay(), APP))["intent"]["state"] == "succeeded"
    assert account.charged() == 5000
    balances = service.core.db.read_sync(lambda tx: ledger.balances(tx, "main"))
    assert balances == {(ledger.CLEARING, "EUR"): 5000, (ledger.SALES, "EUR"): -5000}
    assert [change["state"] for change in await service.changes(0, 100)] == ["succeeded"]
    sound(service.core)


async def test_the_same_id_with_another_body_is_a_conflict(service: ChargeService, account: Account) -> None:
    await service.command(pay(), APP)
    with pytest.raises(CommandConflict):
        await service.command(pay(amount=5001), APP)
    other = pay(command="another-id")
    assert (await service.command(other, APP))["reason"] == "operation-exists"
    assert account.charged() == 5000


async def test_a_tenant_has_its_own_command_ids_and_keys(service: ChargeService, account: Account) -> None:
    await service.command(pay(), APP)
    assert (await service.command(pay(tenant="two"), APP))["intent"]["state"] == "succeeded"
    assert account.charged() == 10_000


async def test_a_declined_card_is_refused_for_good(service: ChargeService, account: Account) -> None:
    answer = await service.command(pay(method="pm_card_declined"), APP)
    assert answer["intent"]["state"] == "refused"
    assert answer["intent"]["failure"] == "card_declined"
    await deliver_events(service, account)
    await settle_all(service)
    assert account.charged() == 0
    assert intent(service.core).state == "refused"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", ["drop", "hang", 500, 409, 429])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_outage_leaves_one_charge(
    service: ChargeService, account: Account, when: str, what: object
) -> None:
    account.fault("POST /v1/payment_intents", when, what)
    answer = await service.command(pay(), APP)
    if what != 429:
        assert answer["intent"]["state"] == "unknown"
    await settle_all(service)
    assert intent(service.core).state == "succeeded"
    assert account.charged() == 5000
    sound(service.core)


@pytest.mark.parametrize("what", ["drop", 500])
async def test_where_keys_mean_nothing_a_lost_answer_is_looked_up_and_never_sent_again(
    charge_core: Core, account: Account, what: object
) -> None:
    async with Charge(charge_core, account, honours=False) as service:
        account.fault("POST /v1/payment_intents", "after", what)
        await service.command(pay(), APP)
        await settle_all(service)
        assert intent(charge_core).state == "succeeded"
        account.fault("POST /v1/payment_intents", "before", what)
        await service.command(pay("pay-2"), APP)
        await settle_all(service)
    lost = intent(charge_core, "pay-2")
    assert lost.state == "unknown"
    assert lost.paged_at is not None
    assert account.charged() == 5000
    assert sum(call.startswith("POST") for call in account.control("/_look")["calls"]) == 2


async def test_a_look_up_that_lags_behind_leads_to_the_same_key_and_one_charge(
    service: ChargeService, account: Account
) -> None:
    account.fault("POST /v1/payment_intents", "after", "drop")
    account.fault("GET /v1/payment_intents", "before", "hide")
    await service.command(pay(), APP)
    await settle_all(service)
    assert sum(call.startswith("POST") for call in account.control("/_look")["calls"]) == 2
    assert account.charged() == 5000
    assert intent(service.core).state == "succeeded"


async def test_a_young_intent_is_never_left_waiting_longer_than_a_quarter_of_its_age(
    service: ChargeService, account: Account
) -> None:
    for method in ("POST", "GET"):
        account.set(faults=[{"match": f"{method} /v1/payment_intents", "when": "before", "what": 500}] * 40)
    await service.command(pay(), APP)
    began, clock = service.core.clock.now(), service.core.clock
    waits = []
    for _ in range(20):
        due = next_at(service.core)
        waits.append((due - clock.now(), clock.now() - began))
        clock.advance(due - clock.now())  # type: ignore[attr-defined]
        await service.resolver.run_due()
    assert all(wait <= max(timedelta(seconds=15), age / 4) for wait, age in waits)
    assert waits[-1][0] > timedelta(minutes=1)  # a long outage is not hammered
    assert intent(service.core).state == "unknown"


def next_at(core: Core) -> datetime:
    when = core.db.read_sync(lambda tx: tx.execute(sa.select(store.intents.c.next_at)).scalar_one())
    assert isinstance(when, datetime)
    return when


async def test_after_the_key_window_nothing_is_sent_again(service: ChargeService, account: Account) -> None:
    account.set(faults=[{"match": "POST /v1/payment_intents", "when": "before", "what": "drop"}])
    account.set(faults=[{"match": "GET /v1/payment_intents", "when": "before", "what": 500}] * 3)
    await service.command(pay(), APP)
    account.control("/_forget_keys")
    await settle_all(service, rounds=4, step=service.provider.key_window)
    assert account.charged() == 0
    assert intent(service.core).state == "unknown"
    assert intent(service.core).paged_at is not None


async def test_an_unreachable_provider_is_called_when_it_is_back(charge: Charge, account: Account) -> None:
    async with charge as service:
        right = service.provider._client._requestor._options  # type: ignore[attr-defined]
        good = right.base_addresses["api"]
        right.base_addresses["api"] = "http://127.0.0.1:9"
        answer = await service.command(pay(), APP)
        assert answer["intent"]["state"] == "created"
        right.base_addresses["api"] = good
        await settle_all(service)
    assert account.charged() == 5000
    assert intent(charge.core).state == "succeeded"


async def test_answer_and_events_meet_in_one_posting_in_any_order(
    service: ChargeService, account: Account
) -> None:
    account.fault("POST /v1/payment_intents", "after", "drop")
    await service.command(pay(), APP)
    assert await deliver_events(service, account) == ["applied"]  # the event overtakes the answer
    assert intent(service.core).state == "succeeded"
    assert await deliver_events(service, account) == ["duplicate"]
    await settle_all(service)
    await service.command(pay(), APP)
    assert account.charged() == 5000
    assert service.core.db.read_sync(lambda tx: ledger.head(tx, "main")).seq == 1


async def test_what_an_event_ended_is_not_due_any_more(service: ChargeService, account: Account) -> None:
    await service.command(pay(mode="checkout"), APP)
    account.control("/_pay", session=intent(service.core).provider_object)
    await deliver_events(service, account)
    assert intent(service.core).state == "succeeded"
    service.core.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]
    assert await service.resolver.run_due() == 0  # nothing spins on it, and nothing queues behind it


async def test_a_hosted_page_is_paid_by_event_or_by_look_up(service: ChargeService, account: Account) -> None:
    for number, by_event in ((1, True), (2, False)):
        answer = await service.command(pay(f"pay-{number}", mode="checkout"), APP)
        assert answer["intent"]["state"] == "pending"
        assert answer["intent"]["redirect_url"].startswith("https://")
        account.control("/_pay", session=intent(service.core, f"pay-{number}").provider_object)
        if by_event:
            assert set(await deliver_events(service, account)) == {"applied"}
        else:
            await settle_all(service)
        after = intent(service.core, f"pay-{number}")
        assert after.state == "succeeded"
        assert after.provider_payment is not None
    assert account.charged() == 10_000
    await deliver_events(service, account)
    sound(service.core)


async def test_an_expired_page_ends_the_payment(service: ChargeService, account: Account) -> None:
    await service.command(pay(mode="checkout"), APP)
    account.control("/_expire", session=intent(service.core).provider_object)
    await deliver_events(service, account)
    assert intent(service.core).state == "expired"


async def test_what_contradicts_an_intent_changes_nothing_and_alerts(
    service: ChargeService, account: Account
) -> None:
    await service.command(pay(mode="checkout"), APP)
    session = account.control("/_pay", session=intent(service.core).provider_object)["events"][-1]
    item = session["data"]["object"]
    for change in ({"amount_total": 1}, {"currency": "usd"}, {"id": "cs_other"}):
        event = {**session, "id": f"evt_{change}", "data": {"object": {**item, **change}}}
        await service.event(*sign(event, service.core.clock.now().timestamp()))
        assert intent(service.core).state == "pending"
    alerts = service.core.db.read_sync(
        lambda tx: tx.conn.exec_driver_sql(
            "SELECT COUNT(*) FROM audit_entries WHERE action = 'charge.alert'"
        ).scalar()
    )
    assert alerts == 3


async def test_an_end_is_never_left(service: ChargeService, account: Account) -> None:
    await service.command(pay(), APP)
    event = account.events()[0]
    event["id"], event["data"]["object"]["status"] = "evt_late", "canceled"
    await service.event(*sign(event, service.core.clock.now().timestamp()))
    assert intent(service.core).state == "succeeded"


async def test_events_are_verified_here_again(service: ChargeService, account: Account) -> None:
    await service.command(pay(mode="checkout"), APP)
    account.control("/_pay", session=intent(service.core).provider_object)
    event = account.events()[-1]
    now = service.core.clock.now().timestamp()
    raw, headers = sign(event, now)
    bad = [
        (raw, {}),
        (raw, {"Stripe-Signature": "v1=abc"}),
        (raw, {"Stripe-Signature": f"t={int(now)},v1="}),
        (raw + b" ", headers),
        sign(event, now, b"whsec_wrong"),
        sign(event, now + 400),
        sign(event, now - 8 * 86_400),
        (raw, {"Stripe-Signature": headers["Stripe-Signature"].replace("v1=", "v0=")}),
        sign({"id": "evt", "type": "x"}, now),
        sign({"id": 7, "type": "x", "data": {"object": {}}}, now),
    ]
    for body, given in bad:
        with pytest.raises(EventRefused):
            await service.event(body, given)
    assert intent(service.core).state == "pending"
    assert await service.event(raw, headers) == "applied"


async def test_a_refund_made_by_hand_is_noticed(service: ChargeService, account: Account) -> None:
    await service.command(pay(), APP)
    item = {"id": "re_x", "object": "refund", "status": "succeeded", "amount": 1, "currency": "eur",
            "payment_intent": intent(service.core).provider_payment}  # fmt: skip
    event = {"id": "evt_hand", "type": "refund.created", "data": {"object": item}}
    assert await service.event(*sign(event, service.core.clock.now().timestamp())) == "unmatched"


async def test_a_switch_holds_money_until_it_is_set_back_by_a_newer_revision(
    service: ChargeService, account: Account
) -> None:
    def switch(killed: bool, revision: int, tenant: str = "*") -> Command:
        body = {"capability": "payments", "killed": killed, "revision": revision}
        return Command(f"switch-{tenant}-{revision}-{killed}", tenant, "set_switch", body)

    await service.command(switch(True, 5), APP)
    with pytest.raises(Held):
        await service.command(pay(), APP)
    assert (await service.command(switch(False, 4), APP))["reason"] == "stale-revision"
    with pytest.raises(Held):
        await service.command(pay(), APP)
    assert account.charged() == 0
    await service.command(switch(False, 6), APP)
    assert (await service.command(pay(), APP))["intent"]["state"] == "succeeded"


async def test_a_kill_stops_what_was_taken_and_not_yet_sent(service: ChargeService, account: Account) -> None:
    account.fault("POST /v1/payment_intents", "before", 429)  # turned away: the resolver would call again
    await service.command(pay(), APP)
    account.fault(
        "POST /v1/payment_intents", "before", "drop"
    )  # unknown: the resolver would look and call again
    await service.command(pay("pay-2"), APP)
    body = {"capability": "all", "killed": True, "revision": 1}
    await service.command(Command("kill", "*", "set_switch", body), APP)
    calls = len(account.control("/_look")["calls"])
    await settle_all(service)
    after = account.control("/_look")["calls"][calls:]
    assert after
    assert not [call for call in after if call.startswith("POST")]
    assert account.charged() == 0
    await service.command(Command("on", "*", "set_switch", {**body, "killed": False, "revision": 2}), APP)
    await settle_all(service)
    assert account.charged() == 10_000


async def test_a_stalled_caller_does_not_free_another_one_s_lease(
    service: ChargeService, account: Account
) -> None:
    await service.command(pay(mode="checkout"), APP)
    made = intent(service.core)
    service.core.clock.advance(timedelta(hours=1))  # type: ignore[attr-defined]
    first = service.core.db.write_sync(lambda tx: service.resolver._claim(tx, made.id))
    assert service.core.db.write_sync(lambda tx: service.resolver._claim(tx, made.id)) is None
    service.core.clock.advance(timedelta(hours=1))  # type: ignore[attr-defined]
    second = service.core.db.write_sync(lambda tx: service.resolver._claim(tx, made.id))
    assert first is not None
    assert second is not None
    service.core.db.write_sync(lambda tx: service.resolver._called(tx, first[0], NotSent("late")))
    assert intent(service.core).lease_until == second[0].lease_until
    assert intent(service.core).maybe_sent


@pytest.mark.parametrize(
    "change",
    [{"amount": 0}, {"amount": -5}, {"amount": 10**13}, {"amount": True}, {"amount": "5"}, {"currency": "eur"}, {"currency": "XXX"},
     {"mode": "other"}, {"payment": ""}, {"payment": "x" * 201}, {"payment_method": None}],
)  # fmt: skip
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_malformed_commands_leave_nothing(
    service: ChargeService, account: Account, change: dict[str, object]
) -> None:
    good = pay()
    with pytest.raises(CommandInvalid):
        await service.command(Command(good.id, "main", "pay", {**good.body, **change}), APP)
    assert (await service.command(good, APP))["intent"]["state"] == "succeeded"
