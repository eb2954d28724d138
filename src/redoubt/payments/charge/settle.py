"""Where the provider's answer, a look-up and a webhook meet: one upsert under the payment's row lock."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import feed, ledger, store
from .events import alert, note
from .models import RANK, TERMINAL, Intent, Observed


def settle(tx: Tx, core: Core, intent_id: str, seen: Observed) -> Intent:
    """Apply what was seen of an intent and return it as it stands after that.

    States only rise (created, unknown, pending, then one end that is never left), so answers, look-ups and
    events may come in any order and any number. What contradicts the intent (another object, amount or
    currency, another end) changes nothing and alerts a person.
    """
    intent, parent = store.lock_with_parent(tx, intent_id)
    contradiction = _contradiction(tx, intent, seen)
    if contradiction is not None:
        alert(
            tx, core, intent, contradiction, source=seen.source, object=seen.object_id or seen.payment_object
        )
        return intent
    values = _new_values(intent, seen)
    if not values:
        return intent
    rises = "state" in values
    if rises and values["state"] == "succeeded" and intent.kind == "payment":
        values["captured"] = intent.amount
    if rises and values["state"] in TERMINAL:
        values["next_at"] = (
            None  # nothing is left to ask: a pending payment's next look would stay due for ever
        )
    _write(tx, core, intent, values)
    if rises and parent is not None and values["state"] in ("succeeded", "refused", "expired"):
        _settle_reserve(tx, core, intent, parent, succeeded=values["state"] == "succeeded")
    elif rises and intent.kind == "payment" and values["state"] == "succeeded":
        lines = [(ledger.CLEARING, intent.amount), (ledger.SALES, -intent.amount)]
        book(tx, core, intent, "captured", lines)
    after = store.intent_by(tx, store.intents.c.id == intent.id)
    assert after is not None
    if rises:
        note(
            tx,
            core,
            f"charge.{intent.kind}.{after.state}",
            "failure" if after.state in ("refused", "expired", "unknown") else "success",
            tenant=intent.tenant,
            actor="charge",
            target=(intent.kind, intent.op),
            data={
                "intent": intent.id,
                "source": seen.source,
                "amount": intent.amount,
                "currency": intent.currency,
                "customer": intent.customer,
                "failure": after.failure,
            },
        )
    feed.publish(tx, core, after)
    return after


def book(tx: Tx, core: Core, intent: Intent, kind: str, lines: list[ledger.Line]) -> None:
    """Append a ledger entry for `intent` and leave the new head in the audit log, which outlives a cut ledger."""
    head = ledger.append(
        tx, core, tenant=intent.tenant, kind=kind, intent=intent.id, currency=intent.currency, lines=lines
    )
    note(
        tx,
        core,
        "ledger.posted",
        "success",
        tenant=intent.tenant,
        actor="charge",
        target=("ledger", intent.tenant),
        data={"seq": head.seq, "head": head.hash, "kind": kind, "intent": intent.id},
    )


def _contradiction(tx: Tx, intent: Intent, seen: Observed) -> str | None:
    if seen.object_id and intent.provider_object and seen.object_id != intent.provider_object:
        return "second-object"
    if seen.payment_object and intent.provider_payment and seen.payment_object != intent.provider_payment:
        return "second-payment"
    if seen.amount is not None and seen.amount != intent.amount:
        return "amount-differs"
    if seen.currency is not None and seen.currency != intent.currency:
        return "currency-differs"
    if seen.state is not None and intent.terminal and RANK[seen.state] == 3 and seen.state != intent.state:
        return "end-differs"
    table = store.intents
    if seen.object_id and not intent.provider_object:
        taken = store.intent_by(tx, table.c.provider_object == seen.object_id)
        if taken is not None:
            return "object-of-another-intent"
    if seen.payment_object and not intent.provider_payment and intent.kind == "payment":
        taken = store.intent_by(
            tx, table.c.provider_payment == seen.payment_object, table.c.kind == "payment"
        )
        if taken is not None:
            return "payment-of-another-intent"
    return None


def _new_values(intent: Intent, seen: Observed) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if seen.object_id and not intent.provider_object:
        values["provider_object"] = seen.object_id
    if seen.payment_object and not intent.provider_payment:
        values["provider_payment"] = seen.payment_object
    if seen.redirect_url and not intent.redirect_url:
        values["redirect_url"] = seen.redirect_url
    if seen.state is not None and RANK[seen.state] > RANK[intent.state]:
        values["state"] = seen.state
        values["failure"] = seen.failure
    return values


def _write(tx: Tx, core: Core, intent: Intent, values: dict[str, Any]) -> None:
    tx.execute(
        sa.update(store.intents)
        .where(store.intents.c.id == intent.id)
        .values(**values, updated_at=core.clock.now())
    )


def _settle_reserve(tx: Tx, core: Core, refund: Intent, payment: Intent, *, succeeded: bool) -> None:
    table = store.intents
    tx.execute(
        sa.update(table)
        .where(table.c.id == payment.id)
        .values(
            reserved=table.c.reserved - refund.amount,
            refunded=table.c.refunded + (refund.amount if succeeded else 0),
            updated_at=core.clock.now(),
        )
    )
    if succeeded:
        book(
            tx,
            core,
            refund,
            "refunded",
            [(ledger.RESERVED, refund.amount), (ledger.CLEARING, -refund.amount)],
        )
    else:
        book(tx, core, refund, "released", [(ledger.RESERVED, refund.amount), (ledger.SALES, -refund.amount)])
    after = store.intent_by(tx, table.c.id == payment.id)
    assert after is not None
    feed.publish(tx, core, after)
