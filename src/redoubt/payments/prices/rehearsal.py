"""The dry run of a price: recorded orders charged once more, at the price that counts and at the proposed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .models import RecordedOrder, Window

TOTAL_MAX = "total"
"""How an order's own largest total is named among the caps."""


def rehearse(
    orders: Sequence[RecordedOrder],
    old: int | None,
    new: int,
    currency: str,
    *,
    caps: Mapping[str, int],
    window: Window,
) -> dict[str, Any]:
    """Return which of `orders` (newest first) would come to another total, old → new, their sums, and all others.

    Amounts are minor units. Both totals take what was ordered of this price's row at `old` and at `new`, and all other
    lines as they were charged: an order that stands keeps its own total (`recorded`), this is what the same order
    would come to. `caps` are limits by name; crossed is one that the total keeps at `old` and exceeds at `new`.
    """
    changes: list[dict[str, Any]] = []
    unchanged: list[str] = []
    for order in orders:
        now, proposed = _total(order, old or 0), _total(order, new)
        if now == proposed:
            unchanged.append(order.id)
        else:
            changes.append(_change(order, now, proposed, caps))
    return {
        "old": old,
        "new": new,
        "currency": currency,
        "orders": len(orders),
        "affected": len(changes),
        "unaffected": len(unchanged),
        "window": {
            "days": window.days,
            "most": window.most,
            "full": len(orders) >= window.most,
            "newest": orders[0].at.isoformat() if orders else None,
            "oldest": orders[-1].at.isoformat() if orders else None,
        },
        "sum": {
            "now": sum(one["now"] for one in changes),
            "proposed": sum(one["proposed"] for one in changes),
            "difference": sum(one["proposed"] - one["now"] for one in changes),
        },
        "caps": _crossed(changes, caps),
        "changes": changes,
        "unchanged": unchanged,
    }


def _total(order: RecordedOrder, price: int) -> int:
    return order.rest + order.quantity * price


def _change(order: RecordedOrder, now: int, proposed: int, caps: Mapping[str, int]) -> dict[str, Any]:
    limits = dict(caps) if order.most is None else {**caps, TOTAL_MAX: order.most}
    return {
        "entity": order.entity,
        "order": order.id,
        "at": order.at.isoformat(),
        "state": order.state,
        "quantity": order.quantity,
        "recorded": order.recorded,
        "now": now,
        "proposed": proposed,
        "crosses": sorted(name for name, limit in limits.items() if now <= limit < proposed),
    }


def _crossed(changes: Sequence[Mapping[str, Any]], caps: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return how many orders would cross each cap; those that none would cross stand there with a zero."""
    names = [*sorted(caps), TOTAL_MAX]
    return [
        {
            "cap": name,
            "limit": caps.get(name),
            "orders": sum(name in one["crosses"] for one in changes),
        }
        for name in names
    ]
