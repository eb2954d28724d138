"""A page of 50 visible rows out of a million, by key, on both databases: policy to SQL, query, rows.

Peer: deciding row by row over fetched pages until 50 are found; a part of the table is decided and the rest
reckoned from it. Limit: the same SELECT with a plain `owner_id =`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from _support import parse, postgres, result

from redoubt.authz.decide import Decider
from redoubt.authz.filter import Known
from redoubt.authz.models import AuthzRequest, Caller
from redoubt.authz.policyset import PolicySource
from redoubt.authz.policyset import parse as parse_policies
from redoubt.authz.rules import AccessModel, Action, Allow, ResourceType, compile_policies, compile_schema
from redoubt.core.db import Database
from redoubt.runtime.entities import Entities, EntityType
from redoubt.runtime.entity_store import page
from redoubt.runtime.fields import Money, State

ROWS, PAGE = 1_000_000, 50
OWNERS = ROWS // 100  # each owns a hundred rows, spread over the whole table
STATES = ("placed", "paid", "shipped", "cancelled")
ORDER = EntityType(
    "Order",
    "orders",
    {"status": State(states=STATES), "total": Money(currency="EUR", required=True)},
    indexes=(("tenant", "id"),),
)
MODEL = AccessModel(
    ("customer", "support"),
    (ResourceType("Order", owner=True, states=STATES),),
    tuple(
        Action(
            f"Order.{verb}",
            "Order",
            allow=(Allow("customer", owner=True), Allow("support", amount_max=1_000_000), Allow("support", step_up=True)),
        )
        for verb in ("read", "update", "delete", *(f"do_{number}" for number in range(14)))
    ),
)  # fmt: skip


def main() -> None:
    """Measure both databases."""
    options = parse(__doc__ or "")
    rounds = 200 if options.quick else 2_000
    with tempfile.TemporaryDirectory() as folder:
        measure("sqlite", f"sqlite:///{folder}/app.db", rounds)
        with postgres(Path(folder)) as url:
            measure("postgresql", url, rounds)


def measure(name: str, url: str, rounds: int) -> None:
    """Measure one database."""
    db = Database(url)
    entities = Entities((ORDER,), Path("migrations"))
    table = entities.table("Order")
    fill(db, entities)
    policies = parse_policies(PolicySource(compile_schema(MODEL), compile_policies(MODEL)))
    filters, decider = entities.filters(policies), Decider(policies)
    keys = [f"{number:09d}" for number in range(ROWS // 2, ROWS, ROWS // 40)]

    def caller(number: int) -> Caller:
        return Caller(f"u{number * 7919 % OWNERS}", roles=frozenset({"customer"}))

    def ours(number: int) -> int:
        who = caller(number)
        known = Known.of(who.principal(), "Order.read", {"risk": 0, "step_up": False})
        shown = filters.of("Order", known, row_context=ORDER.row_context(table))
        return len(db.read_sync(lambda tx: page(tx, table, "main", keys[number % len(keys)], PAGE, shown)))

    def plain(number: int) -> int:
        who = caller(number)
        query = (
            sa.select(table)
            .where(table.c.tenant == "main", table.c.owner_id == who.user_id, table.c.id < keys[number % len(keys)])
            .order_by(table.c.id.desc())
            .limit(PAGE)
        )  # fmt: skip
        return len(db.read_sync(lambda tx: [dict(row) for row in tx.execute(query).mappings()]))

    def by_row(count: int) -> float:
        """Return the seconds that deciding about one row takes, `count` rows fetched in pages of 100."""
        who, after, decided, began = caller(1), "9" * 9, 0, time.perf_counter()
        while decided < count:
            query = sa.select(table).where(table.c.tenant == "main", table.c.id < after)
            rows = db.read_sync(
                lambda tx, query=query: list(
                    tx.execute(query.order_by(table.c.id.desc()).limit(100)).mappings()
                )
            )
            for row in rows:
                context = {"risk": 0, "step_up": False, "amount": row["total"]}
                decider.decide(AuthzRequest.of(who.principal(), "Order.read", ORDER.resource(row), context))
            decided, after = decided + len(rows), rows[-1]["id"]
        return (time.perf_counter() - began) / decided

    mine, limit = timed(ours, rounds), timed(plain, rounds)
    each = by_row(2_000)
    looked_at = OWNERS * PAGE  # one row in OWNERS is the caller's
    p95 = statistics.quantiles(mine, n=20)[-1] * 1000
    print(
        f"{name}: {ROWS:,} rows, page of {PAGE}: p50 {statistics.median(mine) * 1000:.2f} ms, p95 {p95:.2f} ms "
        f"(target 20 ms); plain SELECT p50 {statistics.median(limit) * 1000:.2f} ms; row by row {each * 1e6:.0f} us a "
        f"row, {looked_at:,} rows a page (reckoned from 2,000)",
        flush=True,
    )
    rates = (60 / statistics.median(mine), 60 / (each * looked_at), 60 / statistics.median(limit))
    result(f"filter_page_{name}", *rates, unit="/min")
    db.close()


def timed(ask: Callable[[int], int], rounds: int) -> list[float]:
    """Return the seconds of each call; every page must be full."""
    for number in range(20):
        ask(number)
    times = []
    for number in range(rounds):
        began = time.perf_counter()
        found = ask(number)
        times.append(time.perf_counter() - began)
        if found != PAGE:
            raise SystemExit(f"a page of {found} rows")
    return times


def fill(db: Database, entities: Entities) -> None:
    """Make the table with its indexes and fill it."""
    entities.metadata.create_all(db.write_engine)
    numbers = (
        f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS - 1}) "
        if db.dialect == "sqlite"
        else ""
    )
    source = "n" if numbers else f"generate_series(0, {ROWS - 1}) AS n(i)"
    identity = "printf('%09d', i)" if numbers else "lpad(i::text, 9, '0')"
    columns = "id, tenant, version, created_at, updated_at, owner_id, status, total"
    values = f"{identity}, 'main', 1, 0, 0, 'u' || (i % {OWNERS}), 'placed', i"
    statement = f"INSERT INTO app_orders ({columns}) {numbers}SELECT {values} FROM {source}"
    with db.write_engine.begin() as conn:
        conn.exec_driver_sql(statement if numbers else statement.replace("%", "%%"))
        conn.exec_driver_sql("ANALYZE app_orders")


if __name__ == "__main__":
    main()
