"""The app's side: one live payment an order, commands that arrive at least once, mirrors that only rise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from redoubt.audit import DOMAIN as AUDIT
from redoubt.audit import Actor
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, Tx, migrate
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.core.jobs import Jobs
from redoubt.guard import DOMAIN as GUARD
from redoubt.guard import Approvals, Killed, Kinds, SwitchBoard, VerifiedAssertion
from redoubt.guard import switches as guard_switches
from redoubt.payments import DOMAIN as PAYMENTS
from redoubt.payments import Payment, Payments, store
from redoubt.payments.charge import DOMAIN as CHARGE
from redoubt.payments.charge import errors as charge_errors
from redoubt.payments.charge import switches as charge_switches
from redoubt.payments.charge.commands import Command
from redoubt.payments.charge.service import ChargeService
from redoubt.payments.errors import (
    ChargeRefused,
    ChargeUnavailable,
    CommandConflict,
    MoneyInvalid,
    PaymentConflict,
    PaymentNotFound,
)
from redoubt.payments.models import OutboxCommand, PaymentState
from tests.payments.support import ORIGIN, Account, Charge, Person, sign
from tests.support.core import make_core


class Direct:
    """The charge service without its TLS, and with lost requests and lost answers on demand."""

    def __init__(self, service: ChargeService) -> None:
        self.service, self.lose = service, ""

    async def command(self, command: OutboxCommand) -> Mapping[str, Any]:
        if self.lose == "request":
            raise ChargeUnavailable("lost")
        try:
            answer = await self.service.command(Command.parse(command.wire()), "spiffe://redoubt/app")
        except charge_errors.CommandConflict as error:
            raise CommandConflict("conflict") from error
        except charge_errors.Held as error:
            raise ChargeUnavailable("held") from error
        if self.lose == "answer":
            raise ChargeUnavailable("lost")
        return answer

    async def provider_event(self, raw: bytes, headers: Mapping[str, str]) -> str:
        try:
            return await self.service.event(raw, headers)
        except charge_errors.EventRefused as error:
            raise ChargeRefused("no", reason="event-refused") from error

    async def changes(self, after: int, wait: int = 0) -> list[dict[str, Any]]:
        if self.lose:
            raise ChargeUnavailable("lost")
        return await self.service.changes(after, 200, wait)


class Hook:
    """The emitted app's part: it notes what it was told, and can fail."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.fail = False

    def on_payment_state(self, tx: Tx, payment: Payment, state: PaymentState) -> None:
        if self.fail:
            raise RuntimeError("the app's hook failed")
        self.told.append((payment.order_id, state))


class Verifier:
    """Stands for identity, which has its own tests; here the charge service's check is what counts."""

    def verify(
        self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]
    ) -> VerifiedAssertion:
        return VerifiedAssertion(user_id, str(assertion["id"]), True)


class Shop:
    def __init__(self, core: Core, charge: Charge, service: ChargeService) -> None:
        self.core, self.charge, self.service = core, charge, service
        self.link, self.hook = Direct(service), Hook()
        self.board = SwitchBoard(core)
        self.board.refresh_sync()
        self.payments = Payments(core, self.link, switches=self.board, hook=self.hook)
        kinds = Kinds(self.payments.refunds.kind(lambda tx, approval, person: True))
        self.approvals = Approvals(core, kinds, Verifier())
        self.jobs = Jobs(core)
        self.payments.register(self.jobs)

    async def pay(self, order: str = "o1", amount: int = 5000, **more: Any) -> Payment:
        return await self.payments.pay(
            order_id=order, customer_id="cust", amount=amount, currency="EUR", title="Order",
            success_url=f"{ORIGIN}/ok", cancel_url=f"{ORIGIN}/no", **{"payment_method": "pm_card_visa", **more},
        )  # fmt: skip

    def get(self, payment: Payment) -> Payment:
        return self.core.db.read_sync(lambda tx: self.payments.get(tx, payment.id))

    async def later(self, by: timedelta = timedelta(minutes=10)) -> None:
        self.core.clock.advance(by)  # type: ignore[attr-defined]
        self.board.refresh_sync()
        await self.jobs.run_once()
        await self.service.resolver.run_due()
        await self.payments.feed.send_switches()
        while await self.payments.feed.take_changes(0, asyncio.Event()):
            pass

    async def ask(self, payment: Payment, amount: int, requester: str = "alice", **more: Any) -> Any:
        return await self.core.db.write(
            lambda tx: self.payments.refunds.request(
                tx, self.approvals, payment.id, requester=requester,
                **{"amount": amount, "currency": "EUR", "reason": "wrong size", **more},
            )
        )  # fmt: skip

    async def approve(self, approval: Any, person: Person) -> None:
        await self.approvals.decide(approval.id, person.name, person.assertion(approval.payload_bytes))
        await self.payments.refunds.send(approval)

    async def enrol(self, person: Person) -> None:
        await self.core.db.write(
            lambda tx: self.payments.enrol_approver(tx, person.name, person.credential, person.public_key)
        )
        await self.later(timedelta(minutes=1))


@pytest.fixture
async def shop(
    empty_db: Database, clock: ManualClock, tmp_path: Path, account: Account
) -> AsyncIterator[Shop]:
    migrate(empty_db, [CORE, AUDIT, GUARD, PAYMENTS])
    charge_db = Database(f"sqlite:///{tmp_path / 'charge.db'}")
    migrate(charge_db, [CORE, AUDIT, CHARGE])
    charge = Charge(make_core(charge_db, clock, tmp_path / "charge"), account)
    async with charge as service:
        yield Shop(make_core(empty_db, clock, tmp_path / "app"), charge, service)
    charge_db.close()


async def test_paying_an_order_twice_charges_once(shop: Shop, account: Account) -> None:
    payments = await asyncio.gather(*(shop.pay() for _ in range(8)), return_exceptions=True)
    ids = {payment.id for payment in payments if isinstance(payment, Payment)}
    assert len(ids) == 1
    assert all(isinstance(one, Payment | PaymentConflict) for one in payments)
    await shop.later()
    assert account.charged() == 5000
    assert shop.hook.told == [("o1", "succeeded")]
    with pytest.raises(PaymentConflict):
        await shop.pay()


async def test_a_hosted_page_and_then_the_event_settles_the_order(shop: Shop, account: Account) -> None:
    payment = await shop.pay(payment_method=None)
    assert payment.state == "pending"
    assert payment.redirect_url
    with pytest.raises(PaymentConflict):
        await shop.pay(amount=1, payment_method=None)
    account.control("/_pay", session=account.objects("checkout.session")[0]["id"])
    for event in account.events():
        raw, headers = sign(event, shop.core.clock.now().timestamp())
        assert await shop.payments.provider_event(raw, headers) == "applied"
        assert await shop.payments.provider_event(raw, headers) == "duplicate"
        with pytest.raises(ChargeRefused):
            await shop.payments.provider_event(raw + b" ", headers)
    await shop.later()
    assert shop.get(payment).state == "succeeded"
    assert shop.hook.told == [("o1", "pending"), ("o1", "succeeded")]


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_lost_command_is_delivered_by_the_job_and_takes_effect_once(
    shop: Shop, account: Account, lost: str
) -> None:
    shop.link.lose = lost
    payment = await shop.pay()
    assert payment.state == "created"
    shop.link.lose = ""
    await shop.later()
    assert shop.get(payment).state == "succeeded"
    assert account.charged() == 5000
    await shop.later()
    assert account.charged() == 5000


async def test_a_decline_frees_the_order_for_another_payment(shop: Shop, account: Account) -> None:
    first = await shop.pay(payment_method="pm_card_declined")
    assert first.state == "refused"
    second = await shop.pay()
    assert second.state == "succeeded"
    assert account.charged() == 5000


async def test_a_failing_hook_delays_the_mirror_and_loses_nothing(shop: Shop, account: Account) -> None:
    shop.hook.fail = True
    assert (await shop.pay()).state == "created"
    shop.hook.fail = False
    await shop.later()
    assert shop.hook.told == [("o1", "succeeded")]
    assert account.charged() == 5000


async def test_a_refund_waits_for_another_person_and_moves_the_exact_amount(
    shop: Shop, account: Account
) -> None:
    bob = Person("bob")
    await shop.enrol(bob)
    payment = await shop.pay()
    approval = await shop.ask(payment, 1200)
    await shop.later()
    assert account.refunded() == 0
    await shop.approve(approval, bob)
    await shop.later()
    assert account.refunded() == 1200
    assert shop.get(payment).refunded == 1200
    states = shop.core.db.read_sync(
        lambda tx: [one.state for one in store.refunds_of(tx, "main", payment.id)]
    )
    assert states == ["succeeded"]


async def test_what_the_charge_service_refuses_ends_refused_here(shop: Shop, account: Account) -> None:
    payment = await shop.pay()
    stranger = Person("stranger")  # the app believes the assertion; the charge service never met this passkey
    approval = await shop.ask(payment, 1200)
    await shop.approve(approval, stranger)
    refund = shop.core.db.read_sync(lambda tx: store.refunds_of(tx, "main", payment.id))[0]
    assert (refund.state, refund.failure) == ("refused", "approver-unknown")
    assert account.refunded() == 0
    assert (await shop.ask(payment, 5000)).state == "pending"


async def test_refunds_that_cannot_be_are_not_asked_for(shop: Shop, account: Account) -> None:
    pending = await shop.pay("o2", payment_method=None)
    payment = await shop.pay()
    for given, error in (
        ({"amount": 5001}, PaymentConflict),
        ({"amount": 0}, MoneyInvalid),
        ({"amount": True}, MoneyInvalid),
        ({"currency": "USD"}, PaymentConflict),
        ({"reason": " "}, PaymentConflict),
        ({"reason": "card 4242 4242 4242 4242"}, PaymentConflict),
        ({"tenant": "two"}, PaymentNotFound),
    ):
        with pytest.raises(error):
            await shop.ask(payment, **{"amount": 1, **given})
    with pytest.raises(PaymentConflict):
        await shop.ask(pending, 1)


async def test_a_kill_stops_money_here_and_in_the_charge_service(shop: Shop, account: Account) -> None:
    bob = Person("bob")
    await shop.enrol(bob)
    payment = await shop.pay("paid")
    approval = await shop.ask(payment, 1)
    operator = Actor(kind="operator", id="op")
    await shop.core.db.write(lambda tx: guard_switches.kill(tx, shop.core, "all", reason="test", by=operator))
    await shop.payments.feed.send_switches()
    shop.board.refresh_sync()
    with pytest.raises(Killed):
        await shop.pay("o2")
    with pytest.raises(Killed):
        await shop.approve(approval, bob)
    direct = Command("bypass", "main", "pay", {
        "payment": "x", "order": "x", "customer": "c", "amount": 5, "currency": "EUR", "mode": "intent", "payment_method": "pm_card_visa",
    })  # fmt: skip
    with pytest.raises(charge_errors.Held):
        await shop.service.command(direct, "spiffe://redoubt/app")
    assert account.charged() == 5000
    assert account.refunded() == 0


async def test_a_kill_waits_for_no_answer_of_the_feed_and_a_stop_neither(
    shop: Shop, account: Account
) -> None:
    stop, asked = asyncio.Event(), asyncio.Event()

    async def never(after: int, wait: int = 0) -> list[dict[str, Any]]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("not reached")

    shop.link.changes = never  # type: ignore[method-assign]
    following = asyncio.ensure_future(shop.payments.follow(stop, idle=0.01))
    await asked.wait()
    operator = Actor(kind="operator", id="op")
    await shop.core.db.write(lambda tx: guard_switches.kill(tx, shop.core, "all", reason="test", by=operator))
    direct = Command("bypass", "main", "pay", {
        "payment": "x", "order": "x", "customer": "c", "amount": 5, "currency": "EUR", "mode": "intent", "payment_method": "pm_card_visa",
    })  # fmt: skip
    for _ in range(500):
        if not await shop.service.core.db.read(lambda tx: charge_switches.live(tx, "payments", "main")):
            break
        await asyncio.sleep(0.02)
    with pytest.raises(charge_errors.Held):
        await shop.service.command(direct, "spiffe://redoubt/app")
    stop.set()
    await following
    assert account.charged() == 0


async def test_stale_switches_refuse_money(shop: Shop, account: Account) -> None:
    shop.core.clock.advance(timedelta(seconds=5))  # type: ignore[attr-defined]
    with pytest.raises(Killed):
        await shop.pay()
    assert account.charged() == 0


async def test_mirror_rows_and_commands_are_held_by_the_database(shop: Shop) -> None:
    await shop.pay()
    for sql in (
        "UPDATE payments SET state = 'refused'",
        "UPDATE payments SET amount = 1",
        "DELETE FROM payments",
        "UPDATE payment_commands SET body = '{}'",
        "UPDATE payment_commands SET state = 'pending'",
        "DELETE FROM payment_commands",
        "INSERT INTO payments SELECT 'other', tenant, order_id, customer_id, amount, currency, 'created', NULL, NULL, 0, NULL,"
        " human, created_at, updated_at FROM payments",
    ):
        with pytest.raises(DatabaseError):
            shop.core.db.write_sync(lambda tx, sql=sql: tx.execute(sa.text(sql)))


async def test_an_older_report_changes_nothing(shop: Shop) -> None:
    payment = await shop.pay()
    old = {
        "kind": "payment",
        "tenant": "main",
        "op": payment.id,
        "state": "pending",
        "refunded": 0,
        "human": True,
    }
    await shop.core.db.write(lambda tx: shop.payments.mirror.apply(tx, old))
    after = shop.get(payment)
    assert (after.state, after.human) == ("succeeded", False)
    assert shop.hook.told == [("o1", "succeeded")]
