"""The inbox of provider events: verified here again, each taken once, applied in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import sqlalchemy as sa
from attrs import evolve

from redoubt.core.base import Core
from redoubt.core.canonical import sha256_hex
from redoubt.core.db import Tx

from . import store
from .errors import EventRefused
from .events import alert
from .models import Intent, Observed
from .provider.port import Provider, ProviderEvent
from .settle import settle

Result = Literal["applied", "ignored", "unmatched", "duplicate"]
MAX_EVENT = 512 * 1024


async def take(core: Core, provider: Provider, raw: bytes, headers: Mapping[str, str]) -> Result:
    """Verify and apply one event; a known id changes nothing. Raises EventRefused; then nothing was written."""
    if len(raw) > MAX_EVENT:
        raise EventRefused("the event is too long.")
    event = provider.read_event(raw, headers)
    return await core.db.write(lambda tx: _apply(tx, core, event, sha256_hex(raw)))


def _apply(tx: Tx, core: Core, event: ProviderEvent, digest: str) -> Result:
    store.serialise(tx, f"event:{event.id}")
    table = store.events
    if tx.execute(sa.select(table.c.id).where(table.c.id == event.id)).first() is not None:
        return "duplicate"
    intent = _intent_of(tx, event)
    result: Result = "ignored"
    if event.observed is not None:
        result = "unmatched" if intent is None else "applied"
    tx.execute(
        sa.insert(table),
        {
            "id": event.id,
            "body_hash": digest,
            "type": event.type,
            "object_id": event.object_id,
            "intent": None if intent is None else intent.id,
            "result": result,
            "received_at": core.clock.now(),
        },
    )
    if event.observed is not None and intent is not None:
        settle(tx, core, intent.id, _as_seen_by(intent, event.observed))
    elif event.observed is not None:
        _foreign(tx, core, event.observed)
    return result


def _intent_of(tx: Tx, event: ProviderEvent) -> Intent | None:
    """Find the intent by the object's id, else by its metadata: the event may overtake the API's answer."""
    table = store.intents
    intent = None
    if event.object_id:
        intent = store.intent_by(tx, table.c.provider_object == event.object_id)
    if intent is None and event.object_id:
        intent = store.intent_by(tx, table.c.provider_payment == event.object_id, table.c.kind == "payment")
    if intent is None and isinstance(event.intent, str):
        intent = store.intent_by(tx, table.c.id == event.intent, table.c.tenant == event.tenant)
    return intent


def _as_seen_by(intent: Intent, observed: Observed) -> Observed:
    """Read the payment behind a hosted page: its success ends the intent, a decline does not, the customer may try again."""
    if intent.mode == "checkout" and observed.object_id == observed.payment_object:
        paid = observed.state == "succeeded"
        return evolve(observed, object_id=None, state="succeeded" if paid else None, failure=None)
    return observed


def _foreign(tx: Tx, core: Core, observed: Observed) -> None:
    """Alert when something happened to a payment of ours that we did not do, such as a refund by hand."""
    if observed.payment_object is None:
        return
    table = store.intents
    payment = store.intent_by(
        tx, table.c.provider_payment == observed.payment_object, table.c.kind == "payment"
    )
    if payment is not None and observed.object_id != observed.payment_object:
        alert(tx, core, payment, "not-ours", object=observed.object_id, foreign_amount=observed.amount)
