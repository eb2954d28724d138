"""Binds prices to the app's own rows: which orders they charge, and where an approved price is put."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from attrs import define, field, frozen

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.guard import Approvals, Kinds
from redoubt.guard.errors import ApprovalError
from redoubt.guard.kinds import MayDecide
from redoubt.payments import store as payment_store
from redoubt.payments.errors import PaymentError, PriceStale
from redoubt.payments.prices import PriceKey, PriceProposal, Prices, PriceVersion, RecordedOrder
from redoubt.payments.prices import store as price_store
from redoubt.webhooks.outbox import emit

from . import entity_store as store
from .entities import Entities, EntityType, Row, invalid
from .fields import FieldError, Lines, Money, Text

REASON = "{}.reason"
"""The member of a change that says why: `price.reason`. No field has a dot in its name."""
_SHOWN = 100
_WHY = Text(max=500)


@frozen
class PricedTables:
    """The app's rows as prices need them (payments' PricedRows)."""

    core: Core
    entities: Entities
    paid: str | None = None
    """The entity that is paid for."""

    def orders(self, tx: Tx, key: PriceKey, since: datetime, most: int) -> list[RecordedOrder]:
        """Return the newest orders whose lines charge by `key`'s field, or the row itself where no lines do."""
        found: list[RecordedOrder] = []
        charged_by_lines = False
        for kind in self.entities.types:
            for name, lines in kind.fields.items():
                if isinstance(lines, Lines) and (lines.of, lines.price) == (key.entity, key.field):
                    charged_by_lines = True
                    found += self._placed(tx, kind, name, lines, key, since, most)
        if not charged_by_lines:
            found = self._itself(tx, key)
        return sorted(found, key=lambda one: (one.at, one.id), reverse=True)[:most]

    def put(self, tx: Tx, key: PriceKey, amount: int) -> None:
        """Set the price in its row, as one more change of it; partners who want its changes hear of it.

        Raises PriceStale where the row is gone or is being paid for, or was.
        """
        kind, table = self.entities[key.entity], self.entities.table(key.entity)
        if key.entity == self.paid and payment_store.live_payment(tx, key.tenant, key.row) is not None:
            raise PriceStale("it is paid for, or being paid for.", hint="A charge keeps its amount.")
        changed = tx.execute(
            sa.update(table)
            .where(table.c.id == key.row, table.c.tenant == key.tenant)
            .values({key.field: amount, "version": table.c.version + 1, "updated_at": self.core.clock.now()})
        )
        row = store.find(tx, table, key.row, key.tenant)
        if changed.rowcount != 1 or row is None:
            raise PriceStale("what had this price is gone.")
        if f"{kind.word}.updated" in kind.events:
            emit(tx, self.core, f"{kind.word}.updated", kind.to_event(row), tenant=key.tenant)

    def _placed(
        self, tx: Tx, kind: EntityType, name: str, lines: Lines, key: PriceKey, since: datetime, most: int
    ) -> list[RecordedOrder]:
        table = self.entities.table(kind.name)
        rows = tx.execute(
            sa.select(table)
            .where(table.c.tenant == key.tenant, table.c.created_at >= since)
            .order_by(table.c.id.desc())
            .limit(most)
        ).mappings()
        total = next(
            (
                (field, declared)
                for field, declared in kind.fields.items()
                if isinstance(declared, Money) and declared.total_of == name
            ),
            None,
        )
        return [_order(kind, dict(row), row[name] or [], lines, total, key) for row in rows]

    def _itself(self, tx: Tx, key: PriceKey) -> list[RecordedOrder]:
        """A row that is charged by its own amount is its own only order."""
        kind, table = self.entities[key.entity], self.entities.table(key.entity)
        row = store.find(tx, table, key.row, key.tenant)
        if row is None:
            return []
        state = row[kind.state_field] if kind.state_field else None
        amount, most = row[key.field] or 0, kind.prices[key.field].max
        return [RecordedOrder(kind.name, row["id"], row["created_at"], state, 1, 0, amount, most)]


def _order(
    kind: EntityType, row: Row, placed: list[Mapping[str, Any]], lines: Lines, total: tuple[str, Money] | None, key: PriceKey
) -> RecordedOrder:  # fmt: skip
    quantity = sum(line["quantity"] for line in placed if line[lines.key] == key.row)
    rest = sum(line["quantity"] * line["price"] for line in placed if line[lines.key] != key.row)
    whole = sum(line["quantity"] * line["price"] for line in placed)
    state = row[kind.state_field] if kind.state_field else None
    recorded = row[total[0]] if total is not None else whole
    return RecordedOrder(
        kind.name, row["id"], row["created_at"], state, quantity, rest, recorded or 0,
        total[1].max if total is not None else None,
    )  # fmt: skip


@define(eq=False)
class Pricing:
    """What handlers and approvals use: prices, bound to the app's rows."""

    core: Core
    entities: Entities
    paid: str | None = None
    prices: Prices = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.prices = Prices(self.core, PricedTables(self.core, self.entities, self.paid))

    def register_kind(self, kinds: Kinds, may_decide: MayDecide) -> None:
        """Let those who decide approve prices."""
        kinds.register(self.prices.kind(may_decide))

    async def rehearse(self, wanted: Mapping[PriceKey, int]) -> dict[PriceKey, dict[str, Any]]:
        """Return the dry run of each wanted price; raises Problem 409 or 422."""
        try:
            return await self.core.db.read(
                lambda tx: {key: self.prices.rehearse(tx, key, amount) for key, amount in wanted.items()}
            )
        except PaymentError as error:
            raise _problem(error) from error

    def propose(
        self,
        tx: Tx,
        approvals: Approvals,
        evidence: Mapping[PriceKey, Mapping[str, Any]],
        reasons: Mapping[str, str],
        *,
        author: str,
        request_id: str | None = None,
    ) -> list[PriceProposal]:
        """Ask for what was rehearsed, each with the reason of its field; raises Problem 409 or 422."""
        try:
            return [
                self.prices.propose(
                    tx, approvals, key, shown, author=author, reason=reasons[key.field], request_id=request_id
                )
                for key, shown in evidence.items()
            ]
        except (PaymentError, ApprovalError) as error:
            raise _problem(error) from error

    def told(
        self, tx: Tx, tenant: str, entity: str, row: str
    ) -> tuple[list[PriceVersion], list[PriceProposal]]:
        """Return the newest versions of a row's prices, and the proposals that wait."""
        waiting = price_store.waiting(tx, tenant, self.core.clock.now(), entity=entity, row=row)
        return price_store.history(tx, tenant, entity, row, _SHOWN), waiting


def part_reasons(kind: EntityType, sent: Any) -> tuple[Any, dict[str, str]]:
    """Part why prices change (`price.reason`) from what is to be stored; raises Problem 422 for what is no text."""
    names = {REASON.format(name): name for name in kind.prices}
    if not isinstance(sent, dict) or not names.keys() & sent.keys():
        return sent, {}
    reasons, wrong = {}, {}
    for key, name in names.items():
        try:
            reasons[name] = _WHY.parse(sent.get(key) or "")
        except FieldError as error:
            wrong[key] = str(error)
    if wrong:
        raise invalid(wrong)
    return {key: value for key, value in sent.items() if key not in names}, reasons


def take_prices(
    kind: EntityType, row: Row, values: dict[str, Any], reasons: Mapping[str, str]
) -> dict[PriceKey, int]:
    """Take the prices out of `values` and return those that would change; raises Problem 422 for one without a reason."""
    given = {name: values.pop(name) for name in kind.prices if name in values}
    wanted = {name: amount for name, amount in given.items() if amount != row[name]}
    wrong = {name: "cannot be taken away, only changed" for name, amount in wanted.items() if amount is None}
    wrong |= {
        REASON.format(name): "is required: say why the price changes"
        for name in wanted
        if name not in wrong and not reasons.get(name)
    }
    if wrong:
        raise invalid(wrong)
    return {PriceKey(row["tenant"], kind.name, name, row["id"]): amount for name, amount in wanted.items()}


def _problem(error: PaymentError | ApprovalError) -> Problem:
    status = 409 if isinstance(error, PriceStale) else 422
    detail = f"{error.message} {error.hint}".strip()
    return Problem(status, error.code, "This price cannot be asked for.", detail=detail)


__all__ = ["REASON", "PricedTables", "Pricing", "part_reasons", "take_prices"]
