"""The inbox: dedupe row, sealed raw payload, work item and audit event of a delivery commit together, or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..audit import RECORD, Actor, Event
from ..core.base import Core
from ..core.canonical import canonical_json
from ..core.db import Command, StorageUnavailable, Tx
from ..core.jobs import enqueue
from .models import Arrival, Received
from .schemes import RawHeaders, Scheme
from .store import dedupe, inbox, insert_new

HANDLE = "webhooks.handle"
_SEAL = "webhook-inbox"
_LENGTH = 4
_MAX_KEPT = 2048


def kept_headers(scheme: Scheme, headers: RawHeaders) -> list[tuple[str, str]]:
    """Return what is kept of the headers: those that the scheme reads, and a few that tell where it came from."""
    wanted = {*scheme.headers, *scheme.keep}
    kept: list[tuple[str, str]] = []
    for name, value in headers:
        text = name.decode("latin-1").lower()
        if text in scheme.headers or (text in wanted and len(value) <= _MAX_KEPT):
            kept.append((text, value.decode("latin-1")))
    return kept


def seal(
    core: Core,
    endpoint: str,
    inbox_id: str,
    received_at: datetime,
    headers: Sequence[tuple[str, str]],
    body: bytes,
) -> bytes:
    """Encrypt a delivery's exact bytes, bound to where and when they came (AAD = endpoint|id|received_at)."""
    head = canonical_json([list(pair) for pair in headers])
    plain = len(head).to_bytes(_LENGTH, "big") + head + body
    return core.keys.seal(_SEAL, plain, _aad(endpoint, inbox_id, received_at))


def unseal(core: Core, row: sa.RowMapping) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of a stored delivery, byte for byte; raises SealBroken when anything was changed."""
    plain = core.keys.open_sealed(_SEAL, row["sealed"], _aad(row["endpoint"], row["id"], row["received_at"]))
    size = int.from_bytes(plain[:_LENGTH], "big")
    head, body = plain[_LENGTH : _LENGTH + size], plain[_LENGTH + size :]
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(head)], body


def _aad(endpoint: str, inbox_id: str, received_at: datetime) -> bytes:
    return f"{endpoint}|{inbox_id}|{received_at.isoformat()}".encode()


class Accept(Command[Arrival, Received]):
    """Group commit's command for proven deliveries."""

    name = "webhooks.accept"

    def __init__(self, core: Core) -> None:
        self._core = core

    def key(self, item: Arrival) -> str:
        """Return the dedupe key: deliveries of one identity are applied in the order they came."""
        return f"{item.endpoint}|{item.tenant}|{item.verified.identity}"

    def apply(self, tx: Tx, items: Sequence[Arrival]) -> Sequence[Received]:
        """Claim each identity once; first claimants get inbox row, work item and audit event in this transaction."""
        claimed = tx.execute(
            insert_new(tx, dedupe).returning(dedupe.c.inbox_id), [_dedupe_row(item) for item in items]
        )
        won = set(claimed.scalars())
        winners = [item for item in items if item.id in won]
        events: list[Event] = []
        if winners:
            tx.execute(sa.insert(inbox), [_inbox_row(item) for item in winners])
        for item in winners:
            enqueue(
                tx, self._core, HANDLE, {"id": item.id},
                tenant=item.tenant, max_attempts=item.max_attempts,
            )  # fmt: skip
            events.append(_event("webhook.accepted", "success", item, {"size": item.size}))
        answers = [
            Received("accepted", item.id) if item.id in won else self._repeated(tx, item, events)
            for item in items
        ]
        if events:
            RECORD(self._core).apply(tx, events)
        return answers

    def _repeated(self, tx: Tx, item: Arrival, events: list[Event]) -> Received:
        same = dedupe.c.digest == item.verified.digest
        row = tx.execute(
            sa.update(dedupe)
            .where(dedupe.c.endpoint == item.endpoint, dedupe.c.tenant == item.tenant)
            .where(dedupe.c.identity == item.verified.identity)
            .values(duplicates=dedupe.c.duplicates + sa.case((same, 1), else_=0), last_at=item.received_at)
            .returning(dedupe.c.digest, dedupe.c.inbox_id, dedupe.c.duplicates)
        ).one_or_none()
        if row is None:  # pruned between the two statements
            raise StorageUnavailable("the dedupe window just ended for this delivery; nothing was written.")
        if row.digest != item.verified.digest:
            events.append(_event("webhook.reused", "denied", item, {"first": row.inbox_id}))
            return Received("reused", row.inbox_id)
        # Counted each time, but told only at 1, 2, 4, 8 ...: a replayer cannot fill the log.
        if row.duplicates & (row.duplicates - 1) == 0:
            events.append(
                _event("webhook.duplicate", "denied", item, {"first": row.inbox_id, "count": row.duplicates})
            )
        return Received("duplicate", row.inbox_id)


def _dedupe_row(item: Arrival) -> dict[str, Any]:
    return {
        "endpoint": item.endpoint, "tenant": item.tenant, "identity": item.verified.identity,
        "digest": item.verified.digest, "inbox_id": item.id, "first_at": item.received_at,
        "expires_at": item.expires_at, "duplicates": 0,
    }  # fmt: skip


def _inbox_row(item: Arrival) -> dict[str, Any]:
    return {
        "id": item.id, "tenant": item.tenant, "endpoint": item.endpoint, "scheme": item.scheme,
        "identity": item.verified.identity, "digest": item.verified.digest, "key_id": item.verified.key_id,
        "tolerance_s": int(item.tolerance.total_seconds()), "received_at": item.received_at,
        "signed_at": item.verified.signed_at, "size": item.size, "sealed": item.sealed, "state": "accepted",
        "runs": 0, "retain_until": item.retain_until, "legal_hold": False,
    }  # fmt: skip


def _event(action: str, outcome: Any, item: Arrival, data: Mapping[str, Any]) -> Event:
    return Event(
        action=action,
        outcome=outcome,
        actor=Actor(kind="service", id=f"webhook:{item.endpoint}"),
        tenant=item.tenant,
        target=("webhook_delivery", item.id),
        data={"endpoint": item.endpoint, "key_id": item.verified.key_id, **data},
        request_id=item.request_id,
    )
