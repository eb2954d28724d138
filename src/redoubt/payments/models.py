"""Typed values of the app's side: payments, refunds, and the commands that carry them to the charge service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Protocol

from attrs import frozen

from redoubt.core.db import Tx

PaymentState = Literal["created", "unknown", "pending", "succeeded", "refused", "expired"]
RefundState = Literal["requested", "created", "unknown", "pending", "succeeded", "refused"]

RANK: dict[str, int] = {
    "requested": -1, "created": 0, "unknown": 1, "pending": 2, "succeeded": 3, "refused": 3, "expired": 3,
}  # fmt: skip
LIVE = ("created", "unknown", "pending", "succeeded")


@frozen
class Payment:
    """A payment as the app knows it: a mirror of what the charge service reported last."""

    id: str
    tenant: str
    order_id: str
    customer_id: str
    amount: int
    currency: str
    state: PaymentState
    redirect_url: str | None
    provider_payment: str | None
    refunded: int
    failure: str | None
    human: bool
    created_at: datetime
    updated_at: datetime

    def public(self) -> dict[str, Any]:
        """What the payment's owner may see, for JSON."""
        return {
            "id": self.id,
            "order_id": self.order_id,
            "amount": self.amount,
            "currency": self.currency,
            "state": self.state,
            "refunded": self.refunded,
            "redirect_url": self.redirect_url if self.state == "pending" else None,
        }


@frozen
class Refund:
    """A refund: asked for, then approved by a second person, then a mirror of the charge service's state."""

    id: str
    tenant: str
    payment_id: str
    amount: int
    currency: str
    reason: str
    requester: str
    approval_id: str
    state: RefundState
    failure: str | None
    created_at: datetime
    updated_at: datetime

    def public(self) -> dict[str, Any]:
        """What staff may see, for JSON."""
        return {
            "id": self.id,
            "payment_id": self.payment_id,
            "amount": self.amount,
            "currency": self.currency,
            "state": self.state,
            "approval_id": self.approval_id,
        }


@frozen
class OutboxCommand:
    """One instruction for the charge service, written with the effect that wants it; `id` is its idempotency key."""

    id: str
    tenant: str
    kind: str
    body: Mapping[str, Any]
    body_hash: str
    state: Literal["pending", "delivered", "refused"]
    reason: str | None
    created_at: datetime
    delivered_at: datetime | None

    def wire(self) -> dict[str, Any]:
        """Return what is sent."""
        return {"id": self.id, "tenant": self.tenant, "kind": self.kind, "body": dict(self.body)}


class PaymentHook(Protocol):
    """What the app does when a payment's state changes, in the transaction that writes it."""

    def on_payment_state(self, tx: Tx, payment: Payment, state: PaymentState) -> None:
        """Set the order's own status; raising rolls the change back, and it is tried again."""
        ...


class SwitchCheck(Protocol):
    """The kill switches, as `guard.SwitchBoard` offers them."""

    def check(self, capability: str, tenant: str = ..., *, money: bool = ...) -> None:
        """Return when `capability` is live; raise otherwise."""
        ...


class ChargePort(Protocol):
    """The charge service as the app calls it."""

    async def command(self, command: OutboxCommand) -> Mapping[str, Any]:
        """Deliver a command; raises ChargeUnavailable (try again) or CommandConflict."""
        ...

    async def provider_event(self, raw: bytes, headers: Mapping[str, str]) -> str:
        """Hand a provider's event on, raw; raises ChargeUnavailable or ChargeRefused."""
        ...

    async def changes(self, after: int, wait: int = 0) -> list[dict[str, Any]]:
        """Return state changes after number `after`, waiting up to `wait` seconds for one; raises ChargeUnavailable."""
        ...
