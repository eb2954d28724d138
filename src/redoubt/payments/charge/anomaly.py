"""A robust score of how unusual an amount is: it alerts, it never blocks money by itself."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .events import alert
from .models import Intent

THRESHOLD = 6.0
_SAMPLE = 200
_LEAST = 20
_NORMAL = 1.4826  # turns a median absolute deviation into a standard deviation of normal data


def score(amount: int, history: Sequence[int]) -> float:
    """Return how many robust deviations `amount` lies above the median of `history`; 0 below 20 values."""
    if len(history) < _LEAST:
        return 0.0
    middle = median(history)
    spread = median([abs(value - middle) for value in history]) * _NORMAL
    floor = max(spread, middle * 0.05, 1.0)  # a history of equal amounts has no spread of its own
    return max(0.0, (amount - middle) / floor)


def watch(tx: Tx, core: Core, intent: Intent) -> None:
    """Alert when a new intent's amount is far outside this tenant's recent ones of its kind and currency."""
    table = store.intents
    rows = tx.execute(
        sa.select(table.c.amount)
        .where(
            table.c.tenant == intent.tenant,
            table.c.kind == intent.kind,
            table.c.currency == intent.currency,
            table.c.id != intent.id,
        )
        .order_by(table.c.created_at.desc())
        .limit(_SAMPLE)
    )
    found = score(intent.amount, [row.amount for row in rows])
    if found >= THRESHOLD:
        alert(tx, core, intent, "amount-anomaly", score=int(found * 10))
