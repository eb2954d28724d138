"""What a command may start: a payment or a refund, as an intent that is committed before the provider is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import IntegrityError

from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json, sha256_hex
from redoubt.core.db import Tx

from .. import money
from ..errors import MoneyInvalid
from . import anomaly, approvers, ledger, store, switches, velocity
from .errors import CommandInvalid, Refused
from .events import note
from .models import ChargeConfig, Intent, Kind
from .settle import book

PAYLOAD_FIELDS = frozenset(
    {
        "tenant",
        "payment",
        "provider_id",
        "amount",
        "currency",
        "order",
        "reason",
        "requester",
        "requested_at",
        "nonce",
    }
)


def idempotency_key(tenant: str, op: str, kind: Kind) -> str:
    """Return the key that the provider knows an operation by: derived from what it is, never from an attempt."""
    return "rdt_" + hashlib.sha256(canonical_json(["redoubt-intent-v1", tenant, op, kind])).hexdigest()


def text(body: Mapping[str, Any], name: str, limit: int = 200) -> str:
    """Return a bounded, non-empty text field of a command; raises CommandInvalid."""
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise CommandInvalid(f"{name} must be text of 1 to {limit} characters.")
    return value


def start_payment(
    tx: Tx, core: Core, config: ChargeConfig, tenant: str, command: str, body: Mapping[str, Any]
) -> Intent:
    """Take a payment: check switch, amount and caps, and insert its intent."""
    switches.check(tx, "payments", tenant)
    amount, currency = _money(body)
    if config.currencies and currency not in config.currencies:
        raise Refused("currency-not-taken", "this currency is not among those that are charged.")
    if config.per_payment is not None and amount > config.per_payment:
        raise Refused("above-payment-cap", "the amount is above the largest single payment.")
    mode = body.get("mode")
    if mode == "checkout":
        request = {
            "title": text(body, "title"),
            "success_url": _url(body, "success_url"),
            "cancel_url": _url(body, "cancel_url"),
        }
    elif mode == "intent":
        request = {"payment_method": text(body, "payment_method")}
    else:
        raise CommandInvalid("mode must be checkout or intent.")
    customer = text(body, "customer")
    velocity.hold(
        tx, core, config.caps, kind="payment", tenant=tenant, user=customer, customer=customer,
        amount=amount, currency=currency,
    )  # fmt: skip
    intent = _insert(
        tx, core, tenant=tenant, kind="payment", op=text(body, "payment"), command=command, mode=mode, amount=amount,
        currency=currency, customer=customer, actor=customer, order_ref=text(body, "order"), parent=None, request=request,
        provider_payment=None,
    )  # fmt: skip
    anomaly.watch(tx, core, intent)
    return intent


@frozen
class RefundRequest:
    """The payload that requester and approver agreed on, parsed from its exact bytes."""

    raw: bytes
    tenant: str
    payment: str
    provider_id: str
    amount: int
    currency: str
    order: str
    reason: str
    requester: str
    requested_at: datetime
    nonce: str

    @classmethod
    def parse(cls, raw: bytes) -> RefundRequest:
        """Parse canonical payload bytes; raises CommandInvalid for any other form, field or type."""
        try:
            data = json.loads(raw)
            if not isinstance(data, dict) or canonical_json(data) != raw:
                raise CommandInvalid("the refund payload is not canonical JSON.")
            if set(data) != PAYLOAD_FIELDS:
                raise CommandInvalid("the refund payload has other fields than it must.")
            requested_at = datetime.fromisoformat(text(data, "requested_at", 40))
        except (ValueError, TypeError, RecursionError) as error:
            raise CommandInvalid("the refund payload cannot be parsed.") from error
        if requested_at.tzinfo is None:
            raise CommandInvalid("requested_at must carry its time zone.")
        amount, currency = _money(data)
        names = ("tenant", "payment", "provider_id", "order", "requester", "nonce")
        fields = {name: text(data, name) for name in names}
        return cls(
            raw=raw,
            amount=amount,
            currency=currency,
            requested_at=requested_at,
            reason=text(data, "reason", 500),
            **fields,
        )


def start_refund(
    tx: Tx, core: Core, config: ChargeConfig, tenant: str, command: str, body: Mapping[str, Any]
) -> Intent:
    """Take a refund that a second person approved: check everything again here, reserve it, insert its intent."""
    switches.check(tx, "refunds", tenant)
    wanted = RefundRequest.parse(approvers.unbase64url(body.get("payload"), "the payload"))
    assertion = body.get("assertion")
    if not isinstance(assertion, dict):
        raise CommandInvalid("assertion must be a WebAuthn assertion in JSON.")
    approver = text(body, "approver")
    if wanted.tenant != tenant:
        raise Refused("tenant-differs", "the payload is another tenant's.")
    if approver == wanted.requester:
        raise Refused("self-approval", "who asks for a refund cannot approve it.")
    _fresh(core, config, wanted)
    payment = store.intent_by(
        tx,
        store.intents.c.tenant == tenant,
        store.intents.c.kind == "payment",
        store.intents.c.op == wanted.payment,
        lock=True,
    )
    if payment is None or payment.provider_payment is None or payment.provider_payment != wanted.provider_id:
        raise Refused("payment-unknown", "the payload names no payment that we took.")
    if wanted.currency != payment.currency or wanted.order != payment.order_ref:
        raise Refused("payment-differs", "currency or order are not the payment's.")
    enrolled = approvers.check(
        tx, core, config, tenant=tenant, person=approver, payload=wanted.raw, requested_at=wanted.requested_at,
        assertion=assertion,
    )  # fmt: skip
    velocity.hold(
        tx, core, config.caps, kind="refund", tenant=tenant, user=wanted.requester, customer=payment.customer,
        amount=wanted.amount, currency=wanted.currency,
    )  # fmt: skip
    intent = _insert(
        tx, core, tenant=tenant, kind="refund", op=text(body, "refund"), command=command, mode="refund",
        amount=wanted.amount, currency=wanted.currency, customer=payment.customer, actor=wanted.requester,
        order_ref=wanted.order, parent=payment.id, request={"reason": wanted.reason},
        provider_payment=payment.provider_payment,
    )  # fmt: skip
    _consume(tx, core, wanted, enrolled, intent)
    _reserve(tx, core, payment, intent)
    anomaly.watch(tx, core, intent)
    return intent


def _fresh(core: Core, config: ChargeConfig, wanted: RefundRequest) -> None:
    now = core.clock.now()
    if wanted.requested_at > now + config.clock_skew:
        raise Refused("approval-from-future", "the refund was asked for in the future.")
    if now - wanted.requested_at > config.approval_max_age:
        raise Refused("approval-expired", "the approval is too old; ask for the refund again.")


def _consume(tx: Tx, core: Core, wanted: RefundRequest, approver: approvers.Approver, intent: Intent) -> None:
    taken = not _insert_or_refused(
        tx,
        store.consumed,
        {
            "tenant": wanted.tenant,
            "nonce": wanted.nonce,
            "payload_hash": sha256_hex(wanted.raw),
            "payload": wanted.raw.decode(),
            "requester": wanted.requester,
            "approver": approver.person,
            "credential": approver.credential,
            "intent": intent.id,
            "at": core.clock.now(),
        },
    )
    if taken:
        raise Refused("approval-consumed", "this approval has already been used.")


def _reserve(tx: Tx, core: Core, payment: Intent, refund: Intent) -> None:
    """Reserve the refund on its payment in one update; the CHECK of the table says the same again."""
    table = store.intents
    reserved = tx.execute(
        sa.update(table)
        .where(
            table.c.id == payment.id,
            table.c.captured - table.c.reserved - table.c.refunded >= refund.amount,
        )
        .values(reserved=table.c.reserved + refund.amount, updated_at=core.clock.now())
    )
    if reserved.rowcount != 1:
        raise Refused("above-captured", "the refund is more than what is left of the payment.")
    book(tx, core, refund, "reserved", [(ledger.SALES, refund.amount), (ledger.RESERVED, -refund.amount)])


def _insert(tx: Tx, core: Core, *, tenant: str, kind: Kind, op: str, command: str, **given: Any) -> Intent:
    now = core.clock.now()
    intent = Intent(
        id=core.ids.uuid7(), tenant=tenant, kind=kind, op=op, command=command, key=idempotency_key(tenant, op, kind),
        state="created", provider_object=None, redirect_url=None, captured=0, reserved=0, refunded=0, calls=0,
        maybe_sent=False, first_call_at=None, lease_until=None, next_at=now, paged_at=None, failure=None,
        created_at=now, updated_at=now, **given,
    )  # fmt: skip
    values = {column.name: getattr(intent, column.name) for column in store.intents.columns}
    values["request"] = dict(intent.request)
    if not _insert_or_refused(tx, store.intents, values):
        raise Refused("operation-exists", "this payment or refund was already asked for by another command.")
    note(
        tx, core, f"charge.{kind}.created", "success", tenant=tenant, actor=intent.actor, target=(kind, op),
        data={"intent": intent.id, "amount": intent.amount, "currency": intent.currency, "customer": intent.customer},
    )  # fmt: skip
    return intent


def _insert_or_refused(tx: Tx, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert in a savepoint; return False when a unique key or a trigger refuses the row."""
    try:
        with tx.conn.begin_nested():
            tx.execute(sa.insert(table), dict(values))
    except IntegrityError:
        return False
    return True


def _money(body: Mapping[str, Any]) -> tuple[int, str]:
    amount, currency = body.get("amount"), body.get("currency")
    try:
        money.check(amount, currency)
    except MoneyInvalid as error:
        raise CommandInvalid(str(error)) from error
    assert isinstance(amount, int)
    assert isinstance(currency, str)
    return amount, currency


def _url(body: Mapping[str, Any], name: str) -> str:
    value = text(body, name, 2000)
    if not value.startswith("https://"):
        raise CommandInvalid(f"{name} must be an https address.")
    return value
