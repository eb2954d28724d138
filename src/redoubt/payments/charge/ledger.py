"""The double-entry ledger: balanced entries in minor units, one hash chain a tenant.

An entry carries its lines `[account, amount]` (debit positive, credit negative); the database checks that they
balance, continues the chain only from its end, and derives the postings itself. Nothing is ever updated.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json, sha256_hex
from redoubt.core.db import Tx

from . import store
from .errors import LedgerError

GENESIS = "0" * 64
CLEARING = "provider:clearing"  # what the provider owes us
SALES = "orders:sales"
RESERVED = "refunds:reserved"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Line = tuple[str, int]


@frozen
class Head:
    """The end of a tenant's chain: how many entries it has and the last one's hash."""

    tenant: str
    seq: int
    hash: str


def entry_hash(entry: dict[str, Any]) -> str:
    """Return the chained hash of an entry: SHA-256 over its canonical JSON, which holds the previous hash."""
    body = {name: entry[name] for name in ("id", "tenant", "seq", "kind", "intent", "currency", "prev")}
    body["lines"] = [list(line) for line in entry["lines"]]
    body["at"] = (entry["at"] - _EPOCH) // timedelta(microseconds=1)
    return sha256_hex(b"redoubt-ledger-v1\0" + canonical_json(body))


def head(tx: Tx, tenant: str) -> Head:
    """Return the end of `tenant`'s chain; an empty one ends at seq 0 with the genesis hash."""
    table = store.ledger_entries
    row = tx.execute(
        sa.select(table.c.seq, table.c.hash)
        .where(table.c.tenant == tenant)
        .order_by(table.c.seq.desc())
        .limit(1)
    ).one_or_none()
    return Head(tenant, 0, GENESIS) if row is None else Head(tenant, row.seq, row.hash)


def append(
    tx: Tx, core: Core, *, tenant: str, kind: str, intent: str, currency: str, lines: Sequence[Line]
) -> Head:
    """Book one entry at the end of `tenant`'s chain and return the new head.

    `kind` happens at most once an intent (unique in the database). Raises LedgerError when the lines do not
    balance; the database refuses them again.
    """
    if len(lines) < 2 or any(amount == 0 for _, amount in lines) or sum(amount for _, amount in lines) != 0:
        raise LedgerError("the lines of an entry must sum to zero, none of them zero.")
    store.serialise(tx, f"ledger:{tenant}")
    last = head(tx, tenant)
    entry: dict[str, Any] = {
        "id": core.ids.uuid7(),
        "tenant": tenant,
        "seq": last.seq + 1,
        "kind": kind,
        "intent": intent,
        "currency": currency,
        "lines": [list(line) for line in lines],
        "at": core.clock.now(),
        "prev": last.hash,
    }
    entry["hash"] = entry_hash(entry)
    tx.execute(sa.insert(store.ledger_entries), entry)
    return Head(tenant, entry["seq"], entry["hash"])


def balances(tx: Tx, tenant: str) -> dict[tuple[str, str], int]:
    """Return the balance of each (account, currency) of `tenant`, debit positive."""
    table = store.ledger_postings
    rows = tx.execute(
        sa.select(table.c.account, table.c.currency, sa.func.sum(table.c.amount).label("total"))
        .where(table.c.tenant == tenant)
        .group_by(table.c.account, table.c.currency)
    )
    return {(row.account, row.currency): int(row.total) for row in rows}
