"""Who does what with the app's side of payments: app and worker both deliver commands and mirror their answers."""

from __future__ import annotations

from redoubt.core.db import use

from .prices.store import proposals, versions
from .store import commands, feed, payments, refunds

PAYMENTS, PRICES, PRICED_BY_WORKER = "payments", "prices", "prices-by-worker"
"""The features of apps that charge money, of those with prices, and of those whose worker makes rows that have one."""

_PAYMENT = ("state", "redirect_url", "provider_payment", "refunded", "failure", "human", "updated_at")
_REFUND = ("state", "failure", "updated_at")
_COMMAND = ("state", "reason", "delivered_at")

# SQLite looks for rows that wait for a change request when one is added, as triggers defend it.
_LOOKED_FOR = tuple(use(table, select=("approval_id",)) for table in (versions, proposals))

GRANTS = {
    "app": (
        *_LOOKED_FOR,
        use(payments, insert=True, update=_PAYMENT, when=PAYMENTS),
        use(refunds, insert=True, update=_REFUND, when=PAYMENTS),
        use(commands, insert=True, update=_COMMAND, when=PAYMENTS),
        use(versions, insert=True, when=PRICES),
        use(proposals, insert=True, update=("approval_id",), when=PRICES),
    ),
    "worker": (
        use(payments, update=_PAYMENT, when=PAYMENTS),
        use(refunds, update=_REFUND, when=PAYMENTS),
        use(commands, insert=True, update=_COMMAND, when=PAYMENTS),
        use(feed, insert=True, update=("after",), when=PAYMENTS),
        use(versions, insert=True, when=PRICED_BY_WORKER),
        use(proposals, when=PRICED_BY_WORKER),
    ),
}
