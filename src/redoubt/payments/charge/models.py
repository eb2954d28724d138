"""Typed values of the charge service: intents, what the provider was seen to hold, caps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from attrs import field, frozen

Kind = Literal["payment", "refund"]
State = Literal["created", "unknown", "pending", "succeeded", "refused", "expired"]

RANK: dict[str, int] = {"created": 0, "unknown": 1, "pending": 2, "succeeded": 3, "refused": 3, "expired": 3}
TERMINAL = frozenset({"succeeded", "refused", "expired"})


@frozen
class Intent:
    """One money operation, committed before the provider hears of it.

    `op` is the app's id of the payment or refund; `key` the idempotency key derived from tenant, op and kind;
    `maybe_sent` says that a call may have reached the provider; `captured`, `reserved` and `refunded` are kept on
    payments only, and the database holds `reserved + refunded <= captured`.
    """

    id: str
    tenant: str
    kind: Kind
    op: str
    command: str
    key: str
    mode: str
    amount: int
    currency: str
    customer: str
    actor: str
    order_ref: str
    state: State
    parent: str | None
    request: Mapping[str, Any]
    provider_object: str | None
    provider_payment: str | None
    redirect_url: str | None
    captured: int
    reserved: int
    refunded: int
    calls: int
    maybe_sent: bool
    first_call_at: datetime | None
    lease_until: datetime | None
    next_at: datetime | None
    paged_at: datetime | None
    failure: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def terminal(self) -> bool:
        """Whether nothing can change this intent's state any more."""
        return self.state in TERMINAL

    def public(self) -> dict[str, Any]:
        """What the app may know of this intent."""
        return {
            "intent": self.id,
            "tenant": self.tenant,
            "kind": self.kind,
            "op": self.op,
            "state": self.state,
            "amount": self.amount,
            "currency": self.currency,
            "order": self.order_ref,
            "provider_payment": self.provider_payment,
            "redirect_url": self.redirect_url if self.state == "pending" else None,
            "captured": self.captured,
            "reserved": self.reserved,
            "refunded": self.refunded,
            "failure": self.failure,
            "human": self.paged_at is not None and not self.terminal,
        }


@frozen
class Observed:
    """What the provider holds for an intent, from its answer, a look-up or an event: all three meet in `settle`.

    `object_id` is the intent's main object (checkout session, payment intent or refund), `payment_object` the
    provider's payment behind it. `state` None means that it says nothing new about the state.
    """

    source: Literal["answer", "lookup", "event"]
    state: State | None
    object_id: str | None = None
    payment_object: str | None = None
    amount: int | None = None
    currency: str | None = None
    redirect_url: str | None = field(default=None, repr=False)
    failure: str | None = None


@frozen
class Cap:
    """At most `amount` minor units and `count` operations of `kind` in a sliding `window`, for each `by`."""

    kind: Kind
    by: Literal["user", "customer", "tenant"]
    window: timedelta
    currency: str | None = None
    amount: int | None = None
    count: int | None = None

    @property
    def name(self) -> str:
        """A stable name for audit events and lock rows."""
        return f"{self.kind}/{self.by}/{self.currency or '*'}/{int(self.window.total_seconds())}"


@frozen
class ChargeConfig:
    """What the charge service is told at start, beside its core."""

    rp_id: str
    origins: tuple[str, ...]
    allowed_identities: tuple[str, ...] = ()
    caps: tuple[Cap, ...] = ()
    currencies: frozenset[str] = frozenset()
    """What may be charged; empty means every currency that we know."""
    per_payment: int | None = None
    lease: timedelta = timedelta(seconds=45)
    page_after: timedelta = timedelta(minutes=15)
    event_max_age: timedelta = timedelta(days=7)
    approval_max_age: timedelta = timedelta(days=7)
    approver_matures: timedelta = timedelta(0)
    """How long a passkey has been enrolled before it approves anything: time to see one that should not be there."""
    clock_skew: timedelta = timedelta(minutes=5)
    retry_base: timedelta = timedelta(seconds=2)
    retry_cap: timedelta = timedelta(minutes=15)
    patience: timedelta = timedelta(seconds=15)
    """While an intent is young its waits stay below this, or a quarter of its age: somebody may be waiting for it."""
    poll_pending: timedelta = timedelta(minutes=1)
