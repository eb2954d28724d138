"""What happened to a delivery, from the stored bytes themselves; each look at raw bytes is audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from attrs import field, frozen

from ..audit import Actor, Event, record
from ..core.base import Core
from ..core.db import Tx
from ..core.jobs import enqueue
from .errors import DeliveryRefused, NotReplayable, PayloadGone, UnknownDelivery
from .inbox import HANDLE, unseal
from .keystore import load
from .schemes import SCHEMES, verify
from .store import dedupe, inbox


@frozen
class RawDelivery:
    """The exact bytes of a stored delivery."""

    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    body: bytes = field(repr=False)


@frozen
class Finding:
    """Whether a stored delivery verifies as of a moment, and why not."""

    proven: bool
    at: datetime
    key_id: str | None
    reason: str | None


def listed(
    tx: Tx, *, endpoint: str | None = None, state: str | None = None, limit: int = 50
) -> list[Mapping[str, Any]]:
    """Return stored deliveries without their bytes, newest first."""
    columns = [column for column in inbox.c if column.name != "sealed"]
    statement = sa.select(*columns).order_by(inbox.c.id.desc()).limit(min(limit, 1000))
    if endpoint is not None:
        statement = statement.where(inbox.c.endpoint == endpoint)
    if state is not None:
        statement = statement.where(inbox.c.state == state)
    return [dict(row) for row in tx.execute(statement).mappings()]


def described(tx: Tx, delivery: str) -> Mapping[str, Any]:
    """Return what is known of one delivery and of its repetitions, without its bytes; raises UnknownDelivery."""
    columns = [column for column in inbox.c if column.name != "sealed"]
    statement = (
        sa.select(*columns, dedupe.c.duplicates, dedupe.c.last_at.label("last_duplicate_at"))
        .select_from(inbox.outerjoin(dedupe, dedupe.c.inbox_id == inbox.c.id))
        .where(inbox.c.id == delivery)
    )
    row = tx.execute(statement).mappings().one_or_none()
    if row is None:
        raise UnknownDelivery("there is no delivery of that id.", hint="redoubt webhooks list shows them.")
    return dict(row)


def raw(tx: Tx, core: Core, delivery: str, actor: Actor) -> RawDelivery:
    """Return the bytes as they came; raises UnknownDelivery, PayloadGone, or SealBroken when they were changed."""
    row = _row(tx, delivery)
    headers, body = unseal(core, row)
    _audit(tx, core, "webhook.raw.read", actor, row, {})
    return RawDelivery(headers, body)


def reverify(tx: Tx, core: Core, delivery: str, actor: Actor, *, at_received: bool) -> Finding:
    """Verify a stored delivery again, now or with the keys and the clock of the moment that it came."""
    row = _row(tx, delivery)
    headers, body = unseal(core, row)
    at = row["received_at"] if at_received else core.clock.now()
    owner = f"in:{row['endpoint']}"
    keys = load(tx, core, owner).get(owner, [])
    tolerance = timedelta(seconds=row["tolerance_s"])
    try:
        verified = verify(SCHEMES[row["scheme"]], keys, headers, body, now=at, tolerance=tolerance)
        same = (verified.identity, verified.digest) == (row["identity"], row["digest"])
        finding = Finding(same, at, verified.key_id, None if same else "other-identity")
    except DeliveryRefused as refused:
        finding = Finding(False, at, None, refused.reason)
    _audit(tx, core, "webhook.reverified", actor, row, {"proven": finding.proven, "at_received": at_received})
    return finding


def replay(tx: Tx, core: Core, delivery: str, actor: Actor, *, again: bool = False) -> str:
    """Hand a stored delivery to its handler once more and return the job's id.

    A dead one may always be replayed. One whose effect happened only with `again`, for its effect happens twice.
    """
    row = _row(tx, delivery)
    if row["state"] == "accepted":
        raise NotReplayable("the delivery still waits for its handler.", hint="Let the worker run.")
    if row["state"] == "done" and not again:
        raise NotReplayable("the delivery's effect happened already.", hint="Say --again to have it twice.")
    tx.execute(
        sa.update(inbox)
        .where(inbox.c.id == delivery)
        .values(state="accepted", finished_at=None, last_error=None)
    )
    _audit(tx, core, "webhook.replayed", actor, row, {"again": row["state"] == "done"})
    return enqueue(tx, core, HANDLE, {"id": delivery}, tenant=row["tenant"])


def hold(tx: Tx, core: Core, delivery: str, actor: Actor, *, on: bool) -> None:
    """Set or lift the legal hold of a delivery: while it is held its bytes outlive their retention."""
    row = _row(tx, delivery)
    tx.execute(sa.update(inbox).where(inbox.c.id == delivery).values(legal_hold=on))
    _audit(tx, core, "webhook.held" if on else "webhook.released", actor, row, {})


def _row(tx: Tx, delivery: str) -> sa.RowMapping:
    statement = sa.select(inbox).where(inbox.c.id == delivery)
    if tx.dialect == "postgresql":  # every caller writes: an audit event at least
        statement = statement.with_for_update()
    row = tx.execute(statement).mappings().one_or_none()
    if row is None:
        raise UnknownDelivery("there is no delivery of that id.", hint="redoubt webhooks list shows them.")
    if row["sealed"] is None:
        raise PayloadGone("the delivery's bytes were purged when their retention ended.")
    return row


def _audit(
    tx: Tx, core: Core, action: str, actor: Actor, row: sa.RowMapping, data: Mapping[str, Any]
) -> None:
    record(
        tx,
        core,
        Event(
            action=action,
            outcome="success",
            actor=actor,
            tenant=row["tenant"],
            target=("webhook_delivery", row["id"]),
            data={"endpoint": row["endpoint"], **data},
        ),
    )
