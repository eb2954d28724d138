"""Faults on demand: what a network and a provider do to a caller, by operation and so many times."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from .store import Store

REQUEST_KINDS = (
    "refuse",  # the connection breaks before anything is done
    "timeout_before",  # silence, nothing done
    "timeout_after",  # done, then silence
    "drop_after",  # done, then the connection breaks
    "error_before",  # 500, nothing done
    "error_after",  # 500, though it was done
    "slow",  # done and answered, late
    "rate_limit",  # 429, nothing done
)
WEBHOOK_KINDS = (
    "webhook_duplicate",  # delivered twice
    "webhook_drop",  # never delivered
    "webhook_reorder",  # held back, so that later events overtake it
)


@frozen
class Fault:
    """One armed fault; `operation` is an operation's or an event type's name, or `*`."""

    kind: str
    operation: str = "*"
    times: int = 1
    seconds: float = 30.0
    saved: bool = True


def arm(store: Store, fault: Fault) -> None:
    """Let the next `times` matching calls or events meet the fault."""
    options = json.dumps({"seconds": fault.seconds, "saved": fault.saved})
    store.run(
        'INSERT INTO faults (kind, operation, "left", options) VALUES (?, ?, ?, ?)',
        fault.kind,
        fault.operation,
        fault.times,
        options,
    )


def take(store: Store, kinds: tuple[str, ...], operation: str) -> Fault | None:
    """Use up one turn of the oldest armed fault of these kinds that matches, and return it."""
    marks = ", ".join("?" for _ in kinds)
    with store.transaction():
        rows = store.run(
            f"SELECT id, kind, operation, options FROM faults WHERE kind IN ({marks}) AND operation IN (?, '*') "  # noqa: S608
            'AND "left" > 0 ORDER BY id LIMIT 1',
            *kinds,
            operation,
        )
        if not rows:
            return None
        store.run('UPDATE faults SET "left" = "left" - 1 WHERE id = ?', rows[0][0])
    options = json.loads(rows[0][3])
    return Fault(rows[0][1], rows[0][2], 1, options["seconds"], options["saved"])


def armed(store: Store) -> list[dict[str, Any]]:
    """Return the faults that still wait."""
    rows = store.run('SELECT kind, operation, "left", options FROM faults WHERE "left" > 0 ORDER BY id')
    return [{"kind": row[0], "operation": row[1], "times": row[2], **json.loads(row[3])} for row in rows]
