"""Prices as values: which one, its versions, what is asked for, and the orders that a change is replayed over."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from attrs import field, frozen

from redoubt.core.db import Tx


@frozen
class PriceKey:
    """Which price: one money field of one row. It has one head, its newest version."""

    tenant: str
    entity: str
    field: str
    row: str


@frozen
class PriceVersion:
    """What a price was from `effective_at` on, in minor units of `currency`; None where the row had none yet.

    Version 1 came with the row. Every later one names the version that it replaced (`base`), the proposal with its dry
    run, and who approved it, who is not its author. `seal` is the app's own, in hexadecimal.
    """

    key: PriceKey
    version: int
    amount: int | None
    currency: str
    author: str
    reason: str
    base: int | None
    proposal_id: str | None
    approval_id: str | None
    approver: str | None
    proposed_at: datetime
    effective_at: datetime
    seal: str = field(default="", repr=False)

    def public(self) -> dict[str, Any]:
        """Return it as those who may change the price see it, for JSON."""
        return {
            "field": self.key.field,
            "version": self.version,
            "amount": self.amount,
            "currency": self.currency,
            "author": self.author,
            "reason": self.reason,
            "approver": self.approver,
            "proposed_at": self.proposed_at.isoformat(),
            "effective_at": self.effective_at.isoformat(),
        }


@frozen
class PriceProposal:
    """A change that is asked for: from the version `base` to `amount`, with the dry run (`evidence`) as it was shown."""

    id: str
    key: PriceKey
    base: int
    amount: int
    currency: str
    author: str
    reason: str
    evidence: dict[str, Any]
    proposed_at: datetime
    approval_id: str | None

    def public(self) -> dict[str, Any]:
        """Return it as those who may change the price see it, for JSON."""
        return {
            "field": self.key.field,
            "from": self.evidence["old"],
            "to": self.amount,
            "currency": self.currency,
            "base": self.base,
            "author": self.author,
            "reason": self.reason,
            "proposed_at": self.proposed_at.isoformat(),
            "orders": self.evidence["orders"],
            "affected": self.evidence["affected"],
            "difference": self.evidence["sum"]["difference"],
            "approval_id": self.approval_id,
            "url": f"/console/approvals/{self.approval_id}",
        }


@frozen
class RecordedOrder:
    """A recorded order as one price sees it; amounts in minor units.

    `quantity` is how many of the priced row stand in it (0: it is not in it), `rest` what its other lines come to as
    they were charged, `recorded` its total as it was placed, `most` the largest total that its field takes.
    """

    entity: str
    id: str
    at: datetime
    state: str | None
    quantity: int
    rest: int
    recorded: int
    most: int | None = None


@frozen
class Window:
    """How far back a dry run looks: the newest `most` orders of the last `days` days."""

    days: int = 90
    most: int = 500


class PricedRows(Protocol):
    """The app's own rows as prices need them; bound by the runtime, which knows their tables."""

    def orders(self, tx: Tx, key: PriceKey, since: datetime, most: int) -> list[RecordedOrder]:
        """Return up to `most` orders that are charged by prices like `key`, placed since then, newest first."""
        ...

    def put(self, tx: Tx, key: PriceKey, amount: int) -> None:
        """Set the price in its row; raises PriceStale where the row is gone or must stay as it is for now."""
        ...
