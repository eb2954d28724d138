"""Velocity caps: sliding windows over the intents themselves, held under concurrency by one lock row a key."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .errors import Refused
from .models import Cap, Kind


def hold(
    tx: Tx,
    core: Core,
    caps: Iterable[Cap],
    *,
    kind: Kind,
    tenant: str,
    user: str,
    customer: str,
    amount: int,
    currency: str,
) -> None:
    """Refuse an operation that would pass a cap; call it in the transaction that inserts the intent.

    Every key's row is locked, in the order of names, until the transaction ends; what is summed behind the lock
    are the intents of the window that were not refused, so nothing can drift from what really happened.
    """
    subjects = {"user": user, "customer": customer, "tenant": tenant}
    wanted = [cap for cap in caps if cap.kind == kind and (cap.currency is None or cap.currency == currency)]
    for cap in sorted(wanted, key=lambda cap: (cap.name, subjects[cap.by])):
        _lock(tx, tenant, cap.name, subjects[cap.by])
        count, total = _window(tx, core, cap, tenant, subjects[cap.by], currency)
        if cap.count is not None and count + 1 > cap.count:
            raise Refused("velocity-count", f"the cap {cap.name} allows no further operation in its window.")
        if cap.amount is not None and total + amount > cap.amount:
            raise Refused("velocity-amount", f"the cap {cap.name} allows no such amount in its window.")


def _lock(tx: Tx, tenant: str, cap: str, subject: str) -> None:
    table = store.velocity
    store.insert_once(tx, table, {"tenant": tenant, "cap": cap, "subject": subject, "touched": 0})
    tx.execute(
        sa.update(table)
        .where(table.c.tenant == tenant, table.c.cap == cap, table.c.subject == subject)
        .values(touched=table.c.touched + 1)
    )


def _window(tx: Tx, core: Core, cap: Cap, tenant: str, subject: str, currency: str) -> tuple[int, int]:
    table = store.intents
    where = [
        table.c.tenant == tenant,
        table.c.kind == cap.kind,
        table.c.currency == currency,
        table.c.created_at > core.clock.now() - cap.window,
        table.c.state.not_in(["refused", "expired"]),
    ]
    if cap.by == "user":
        where.append(table.c.actor == subject)
    elif cap.by == "customer":
        where.append(table.c.customer == subject)
    row = tx.execute(
        sa.select(
            sa.func.count().label("operations"),
            sa.func.coalesce(sa.func.sum(table.c.amount), 0).label("total"),
        ).where(*where)
    ).one()
    return int(row.operations), int(row.total)
