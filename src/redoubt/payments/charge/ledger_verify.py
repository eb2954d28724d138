"""The ledger's offline verifier: it trusts neither the triggers nor the service that wrote the rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from redoubt.audit import store as audit_store
from redoubt.core.db import Tx

from . import store
from .ledger import GENESIS, Head, entry_hash


@frozen
class LedgerReport:
    """What a verification found: the head of each chain, and every fault in words; no fault means that it holds."""

    entries: int
    heads: Mapping[str, Head]
    faults: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def verify(tx: Tx, *, known_heads: Iterable[Head] = ()) -> LedgerReport:
    """Recompute every chain and balance, and compare with heads recorded elsewhere (the audit log, a note).

    A recorded head must be on its chain: a ledger that was cut short, forked or rolled back behind it is faulty.
    """
    faults: list[str] = []
    heads: dict[str, Head] = {}
    hashes: dict[tuple[str, int], str] = {}
    expected: dict[tuple[str, int], tuple[str, str, str, int]] = {}
    count = 0
    table = store.ledger_entries
    for row in tx.execute(sa.select(table).order_by(table.c.tenant, table.c.seq)).mappings():
        count += 1
        entry = dict(row)
        where = f"entry {entry['tenant']}/{entry['seq']}"
        last = heads.get(entry["tenant"], Head(entry["tenant"], 0, GENESIS))
        if entry["seq"] != last.seq + 1:
            faults.append(f"{where}: entries before it are missing")
        if entry["prev"] != last.hash:
            faults.append(f"{where}: does not continue the chain")
        faults.extend(f"{where}: {fault}" for fault in _entry_faults(entry))
        heads[entry["tenant"]] = Head(entry["tenant"], entry["seq"], entry["hash"])
        hashes[entry["tenant"], entry["seq"]] = entry["hash"]
        for number, line in enumerate(_lines(entry)):
            expected[entry["id"], number] = (entry["tenant"], line[0], entry["currency"], line[1])
    faults.extend(_posting_faults(tx, expected))
    for known in known_heads:
        if hashes.get((known.tenant, known.seq)) != known.hash:
            faults.append(f"entry {known.tenant}/{known.seq}: is not the one that was recorded")
    return LedgerReport(count, heads, tuple(faults))


def recorded_heads(tx: Tx) -> list[Head]:
    """Return the heads that the audit log of this database recorded, each in its posting's own transaction.

    The audit log's checkpoints leave the host, so whoever rewrites both is caught by `audit verify`.
    """
    entries = audit_store.entries
    rows = tx.execute(sa.select(entries.c.tenant, entries.c.body).where(entries.c.action == "ledger.posted"))
    found = []
    for row in rows:
        data = json.loads(row.body).get("unmapped", {})
        found.append(Head(row.tenant, int(data["seq"]), str(data["head"])))
    return found


def _lines(entry: Mapping[str, Any]) -> list[tuple[str, int]]:
    lines = entry["lines"]
    if not isinstance(lines, list):
        return []
    return [(str(line[0]), line[1]) for line in lines if isinstance(line, list) and len(line) == 2]


def _entry_faults(entry: dict[str, Any]) -> Iterable[str]:
    try:
        if entry_hash(entry) != entry["hash"]:
            yield "its hash does not match its content"
    except (TypeError, ValueError, KeyError):
        yield "its content cannot be hashed"
    amounts = [line[1] for line in _lines(entry)]
    if len(amounts) < 2 or any(type(amount) is not int for amount in amounts) or sum(amounts) != 0:
        yield "it is not balanced"


def _posting_faults(tx: Tx, expected: dict[tuple[str, int], tuple[str, str, str, int]]) -> Iterable[str]:
    table = store.ledger_postings
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for row in tx.execute(sa.select(table)).mappings():
        wanted = expected.pop((row["entry"], row["line"]), None)
        if wanted != (row["tenant"], row["account"], row["currency"], row["amount"]):
            yield f"posting {row['entry']}/{row['line']}: differs from its entry"
        totals[row["tenant"], row["currency"]] += row["amount"]
    for entry, number in expected:
        yield f"posting {entry}/{number}: is missing"
    for (tenant, currency), total in totals.items():
        if total != 0:
            yield f"tenant {tenant}: {currency} does not sum to zero"
