"""Payments as the app calls them: pay an order, ask for a refund, follow what the charge service reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.canonical import sha256_hex
from redoubt.core.db import Tx
from redoubt.core.jobs import Jobs

from . import money, store
from .errors import ChargeUnavailable, PaymentConflict, PaymentNotFound
from .feed import Feed
from .mirror import Mirror
from .models import ChargePort, OutboxCommand, Payment, PaymentHook, SwitchCheck
from .outbox import Outbox
from .refunds import Refunds

log = logging.getLogger("redoubt.payments")
_WAIT = 5


class Payments:
    """The app's side of payments. It holds no provider key and cannot move money by itself."""

    def __init__(
        self, core: Core, charge: ChargePort, *, switches: SwitchCheck, hook: PaymentHook | None = None
    ) -> None:
        self._core, self._charge, self._switches = core, charge, switches
        self.mirror = Mirror(core, hook)
        self.outbox = Outbox(core, charge, self._settled)
        self.refunds = Refunds(core, self.outbox, switches)
        self.feed = Feed(core, charge, self.mirror, self.outbox)

    def start(
        self,
        tx: Tx,
        *,
        order_id: str,
        customer_id: str,
        amount: int,
        currency: str,
        title: str,
        success_url: str,
        cancel_url: str,
        tenant: str = "main",
        payment_method: str | None = None,
        request_id: str | None = None,
    ) -> Payment:
        """Start the payment of an order in the caller's transaction, and return it; deliver it afterwards with `send`.

        An order has at most one live payment: asking again returns that one. Raises MoneyInvalid, what the
        switches raise, and PaymentConflict when the order is paid or its live payment has another amount.
        With `payment_method` (a provider's token, never a card) there is no hosted page.
        """
        money.check(amount, currency)
        self._switches.check("payments", tenant, money=True)
        now = self._core.clock.now()
        payment = Payment(
            id=self._core.ids.uuid7(), tenant=tenant, order_id=order_id, customer_id=customer_id, amount=amount,
            currency=currency, state="created", redirect_url=None, provider_payment=None, refunded=0, failure=None,
            human=False, created_at=now, updated_at=now,
        )  # fmt: skip
        values = {column.name: getattr(payment, column.name) for column in store.payments.columns}
        if not store.insert_once(tx, store.payments, values):
            return self._live(tx, tenant, order_id, amount, currency)
        body: dict[str, Any] = {
            "payment": payment.id,
            "order": order_id,
            "customer": customer_id,
            "amount": amount,
            "currency": currency,
        }
        if payment_method is not None:
            body |= {"mode": "intent", "payment_method": payment_method}
        else:
            body |= {"mode": "checkout", "title": title, "success_url": success_url, "cancel_url": cancel_url}
        self.outbox.put(tx, f"pay:{payment.id}", "pay", body, tenant=tenant)
        record(
            tx,
            self._core,
            Event(
                action="payments.payment.created",
                outcome="success",
                actor=Actor(kind="user", id=customer_id),
                tenant=tenant,
                target=("Payment", payment.id),
                data={"amount": amount, "currency": currency, "order": order_id},
                request_id=request_id,
            ),
        )
        return payment

    async def send(self, payment: Payment) -> Payment:
        """Deliver a started payment now and return how it stands; if nobody answers, the worker goes on with it."""
        await self.outbox.deliver_now(f"pay:{payment.id}")
        after = await self._core.db.read(lambda tx: store.payment(tx, payment.tenant, payment.id))
        return after or payment

    async def pay(self, **order: Any) -> Payment:
        """Do `start` in a transaction of its own, then `send`."""
        return await self.send(await self._core.db.write(lambda tx: self.start(tx, **order)))

    def get(self, tx: Tx, payment_id: str, tenant: str = "main") -> Payment:
        """Return a payment of this tenant; raises PaymentNotFound."""
        found = store.payment(tx, tenant, payment_id)
        if found is None:
            raise PaymentNotFound("there is no such payment.")
        return found

    def enrol_approver(
        self, tx: Tx, person: str, credential: str, public_key: str, *, tenant: str = "main"
    ) -> None:
        """Register a person's passkey (base64url, COSE key) with the charge service, before they approve anything."""
        body = {"person": person, "credential": credential, "public_key": public_key}
        self.outbox.put(tx, f"enrol:{tenant}:{_short(credential)}", "enrol_approver", body, tenant=tenant)

    def revoke_approver(self, tx: Tx, credential: str, *, tenant: str = "main") -> None:
        """Take a passkey's power to approve refunds away, for good."""
        self.outbox.put(
            tx,
            f"revoke:{tenant}:{_short(credential)}",
            "revoke_approver",
            {"credential": credential},
            tenant=tenant,
        )

    async def provider_event(self, raw: bytes, headers: Mapping[str, str]) -> str:
        """Forward a provider's delivery, byte for byte; raises ChargeUnavailable (try again) or ChargeRefused."""
        return await self._charge.provider_event(raw, headers)

    def register(self, jobs: Jobs) -> None:
        """Give a worker the delivery of commands."""
        self.outbox.register(jobs)

    async def follow(self, stop: asyncio.Event, *, idle: float = 0.25) -> None:
        """Mirror the charge service's feed, and hand it the kill switches, until `stop` is set; for the worker.

        The service answers when there is something, so that a payment is known here as soon as it is there; a switch
        waits for no answer.
        """
        await asyncio.gather(
            _again_and_again(
                stop, lambda: self.feed.take_changes(_WAIT, stop), idle, "the charge service's feed"
            ),
            _again_and_again(stop, self.feed.send_switches, idle, "the kill switches of payments"),
        )

    def _live(self, tx: Tx, tenant: str, order_id: str, amount: int, currency: str) -> Payment:
        live = store.live_payment(tx, tenant, order_id)
        if live is None or live.state == "succeeded":
            raise PaymentConflict("this order is paid already.")
        if (live.amount, live.currency) != (amount, currency):
            raise PaymentConflict("this order has a payment of another amount under way.")
        return live

    def _settled(self, tx: Tx, command: OutboxCommand, answer: Mapping[str, Any]) -> None:
        intent = answer.get("intent")
        if isinstance(intent, dict):
            self.mirror.apply(tx, intent)
        elif answer.get("status") == "refused":
            op = str(command.body.get("payment" if command.kind == "pay" else "refund", ""))
            self.mirror.refuse(tx, command.kind, command.tenant, op, answer.get("reason"))


async def _again_and_again(
    stop: asyncio.Event, step: Callable[[], Awaitable[int | None]], idle: float, what: str
) -> None:
    """Repeat `step`, at once where it did something, else after `idle` seconds, and later where the service is away."""
    wait = idle
    while not stop.is_set():
        try:
            wait = 0.0 if await step() else idle
        except ChargeUnavailable:
            wait = min(max(wait, idle) * 2, 5.0)
        except Exception:
            log.exception("%s could not be followed; trying again", what)
            wait = 1.0
        if wait:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)


def _short(credential: str) -> str:
    return sha256_hex(credential.encode())[:32]
