"""The feed of state changes that the app polls: numbered in the order in which they committed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .models import Intent

_PAGE = 200


def publish(tx: Tx, core: Core, intent: Intent) -> None:
    """Add the present state of `intent` to the feed.

    A number is given out under a lock that is held until the commit: with a plain sequence a slow transaction
    would commit a number that the reader has already passed, and its change would be lost.
    """
    store.serialise(tx, "charge-feed")
    last = tx.execute(sa.select(sa.func.max(store.feed.c.seq))).scalar_one() or 0
    tx.execute(
        sa.insert(store.feed),
        {
            "seq": last + 1,
            "tenant": intent.tenant,
            "intent": intent.id,
            "body": intent.public(),
            "at": core.clock.now(),
        },
    )


def after(tx: Tx, seq: int, limit: int = _PAGE) -> list[dict[str, Any]]:
    """Return up to `limit` changes after number `seq`, oldest first."""
    rows = tx.execute(
        sa.select(store.feed.c.seq, store.feed.c.body)
        .where(store.feed.c.seq > seq)
        .order_by(store.feed.c.seq)
        .limit(max(1, min(limit, _PAGE)))
    )
    return [{"seq": row.seq, **row.body} for row in rows]
