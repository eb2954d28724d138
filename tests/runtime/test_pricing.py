"""Prices of rows that an app declares by hand: what charges them, and what its own tables refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from redoubt.audit import Actor
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.payments import store as payment_store
from redoubt.payments.errors import PriceStale
from redoubt.payments.prices import PriceKey, PriceVersion
from redoubt.payments.prices import store as price_store
from redoubt.payments.prices.defence import defend_price, trigger_names
from redoubt.runtime import entity_store
from redoubt.runtime.entities import Entities, EntityType
from redoubt.runtime.fields import Lines, Money, Text
from redoubt.runtime.pricing import PricedTables

FEE = "the_fee_that_somebody_pays_for_a_whole_weekend"
BOOKING = EntityType(
    "Booking",
    "bookings",
    {"name": Text(), FEE: Money(currency="EUR", price=True, max=5000)},
)
PLANS = EntityType("Plan", "plans", {"name": Text(), "price": Money(currency="EUR", price=True)}, owned=False)
BASKET = EntityType(
    "Basket", "baskets", {"items": Lines(of="Plan", price="price", label="name", key="plan")}, owned=False
)


@frozen
class Op:
    """What a migration calls, over one connection."""

    conn: Connection

    def get_bind(self) -> Connection:
        return self.conn

    def execute(self, sqltext: str) -> None:
        self.conn.exec_driver_sql(sqltext)


def tables(core: Core, *kinds: EntityType, **more: Any) -> PricedTables:
    """Make the tables of `kinds`, defended."""
    entities = Entities(kinds, Path("migrations"))

    def make(tx: Tx) -> None:
        entities.metadata.create_all(tx.conn)
        for kind in kinds:
            for price in kind.prices:
                defend_price(Op(tx.conn), entities.table(kind.name).name, kind.name, price)

    core.db.write_sync(make)
    return PricedTables(core, entities, **more)


def make(core: Core, priced: PricedTables, entity: str, **values: Any) -> str:
    row = core.db.write_sync(
        lambda tx: entity_store.insert(
            tx, core, priced.entities, entity, values, "main", "ann", by=Actor("user", "ann")
        )
    )
    return str(row["id"])


def test_lines_charge_by_prices_only() -> None:
    loose = EntityType("Plan", "plans", {"name": Text(), "price": Money(currency="EUR")})
    for kinds in ((loose, BASKET), (BASKET,)):
        with pytest.raises(ValueError, match="price=True"):
            Entities(kinds, Path("migrations"))
    assert Entities((PLANS, BASKET), Path("migrations")).domain.triggers == trigger_names(
        "app_plans", "price"
    )


def test_a_row_that_no_lines_charge_is_its_own_order(core: Core) -> None:
    priced = tables(core, BOOKING, paid="Booking")
    row, _other = make(core, priced, "Booking", **{FEE: 700}), make(core, priced, "Booking", **{FEE: 900})
    key = PriceKey("main", "Booking", FEE, row)
    (found,) = core.db.read_sync(lambda tx: priced.orders(tx, key, core.clock.now(), 10))
    assert (found.id, found.quantity, found.rest, found.recorded, found.most) == (row, 1, 0, 700, 5000)
    now = core.clock.now()
    payment = {
        "id": core.ids.uuid7(), "tenant": "main", "order_id": row, "customer_id": "ann", "amount": 700, "currency": "EUR",
        "state": "pending", "redirect_url": None, "provider_payment": None, "refunded": 0, "failure": None,
        "human": False, "created_at": now, "updated_at": now,
    }  # fmt: skip
    core.db.write_sync(lambda tx: tx.execute(sa.insert(payment_store.payments), payment))
    with pytest.raises(PriceStale, match="paid"):
        core.db.write_sync(lambda tx: priced.put(tx, key, 800))


def test_a_defended_table_takes_the_price_that_counts_and_no_other(core: Core) -> None:
    priced = tables(core, BOOKING)
    row = make(core, priced, "Booking", **{FEE: 700})
    table = priced.entities.table("Booking")
    assert all(len(name) <= 63 for name in trigger_names("app_" + "x" * 40, FEE))
    for values in ({FEE: 1}, {FEE: None}, {"tenant": "other"}, {"id": "other"}):
        with pytest.raises(DatabaseError, match="approved proposal"):
            core.db.write_sync(lambda tx, values=values: tx.execute(sa.update(table).values(values)))
    core.db.write_sync(lambda tx: tx.execute(sa.update(table).values({FEE: 700, "name": "x"})))
    now = core.clock.now()
    with pytest.raises(DatabaseError):  # a version of nobody's proposal
        core.db.write_sync(
            lambda tx: price_store.insert_version(
                tx,
                PriceVersion(
                    PriceKey("main", "Booking", FEE, row),
                    2,
                    1,
                    "EUR",
                    "ann",
                    "why",
                    1,
                    "p",
                    "a",
                    "bob",
                    now,
                    now,
                ),
            )
        )


def test_what_has_no_price_cannot_be_ordered(core: Core) -> None:
    priced = tables(core, PLANS, BASKET)
    free, plan = make(core, priced, "Plan", name="A"), make(core, priced, "Plan", name="B", price=300)

    def order(row: str) -> dict[str, Any]:
        lines = {"items": [{"plan": row, "quantity": 2}]}
        return core.db.read_sync(
            lambda tx: entity_store.complete(
                tx, core, priced.entities, "Basket", lines, "main", lambda *_: True
            )
        )

    assert order(plan)["items"] == [
        {"plan": plan, "quantity": 2, "label": "B", "price": 300, "price_version": 1}
    ]
    with pytest.raises(Problem):
        order(free)
