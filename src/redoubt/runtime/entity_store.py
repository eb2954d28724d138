"""The SQL of an app's own entities: rows in, rows out, each write bound to the version that was judged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from redoubt.audit import Actor
from redoubt.authz.filter import ListFilter
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.payments.prices import PriceKey, genuine, set_first
from redoubt.payments.prices import store as price_store

from .entities import Entities, Row, invalid
from .fields import Lines, Money, Ref

log = logging.getLogger("redoubt.prices")

_MOST_PARTS = 8  # beyond these one pass with all of them is cheaper


def find(tx: Tx, table: sa.Table, row_id: str, tenant: str) -> Row | None:
    """Return a row of the tenant, or None."""
    found = (
        tx.execute(sa.select(table).where(table.c.id == row_id, table.c.tenant == tenant)).mappings().first()
    )
    return dict(found) if found is not None else None


def page(
    tx: Tx,
    table: sa.Table,
    tenant: str,
    after: str | None,
    limit: int,
    shown: ListFilter,
    *only: sa.ColumnElement[bool],
) -> list[Row]:
    """Return up to `limit` rows of the tenant on which `shown` and all of `only` hold, newest first, older than the row `after`."""
    query = page_query(table, tenant, after, limit, shown, *only)
    return [dict(row) for row in tx.execute(query).mappings()]


def page_query(
    table: sa.Table,
    tenant: str,
    after: str | None,
    limit: int,
    shown: ListFilter,
    *only: sa.ColumnElement[bool],
) -> sa.Select[Any]:
    """Return the query of `page`.

    Where several permits may show a row, each is looked through on its own, so that each can use its own index and
    stops at `limit` rows.
    """

    def newest(condition: sa.ColumnElement[bool], *columns: Any) -> sa.Select[Any]:
        query = sa.select(*columns).where(table.c.tenant == tenant, condition, *only)
        if after is not None:
            query = query.where(table.c.id < after)
        return query.order_by(table.c.id.desc()).limit(limit)

    if 1 < len(shown.parts) <= _MOST_PARTS:
        ids = [sa.select(newest(part, table.c.id).subquery().c.id) for part in shown.parts]
        return newest(table.c.id.in_(sa.union(*ids)), table)
    return newest(shown.condition, table)


def insert(
    tx: Tx,
    core: Core,
    entities: Entities,
    name: str,
    values: Mapping[str, Any],
    tenant: str,
    owner: str | None,
    *,
    by: Actor,
    request_id: str | None = None,
) -> Row:
    """Store a new row with version 1 of its prices and return it.

    Raises Problem 409 when a value that may stand once stands already.
    """
    now, table = core.clock.now(), entities.table(name)
    row: dict[str, Any] = {
        "id": core.ids.uuid7(),
        "tenant": tenant,
        "version": 1,
        "created_at": now,
        "updated_at": now,
        **values,
    }
    if "owner_id" in table.c:
        row["owner_id"] = owner
    for price, kind in entities[name].prices.items():
        key = PriceKey(tenant, name, price, row["id"])
        set_first(tx, core, key, row.get(price), kind.currency, by, request_id)
    try:
        tx.execute(sa.insert(table), row)
    except IntegrityError as error:
        raise _conflict() from error
    return row


def update(tx: Tx, core: Core, table: sa.Table, row: Row, values: Mapping[str, Any]) -> Row:
    """Change a row if it still is the one that was judged; raises Problem 409 when it moved in between."""
    changes = {**values, "version": row["version"] + 1, "updated_at": core.clock.now()}
    where = (table.c.id == row["id"], table.c.tenant == row["tenant"], table.c.version == row["version"])
    try:
        changed = tx.execute(sa.update(table).where(*where).values(**changes))
    except IntegrityError as error:
        raise _conflict() from error
    if changed.rowcount != 1:
        raise moved()
    return {**row, **changes}


def delete(tx: Tx, table: sa.Table, row: Row) -> None:
    """Remove a row if it still is the one that was judged; raises Problem 409 when it moved or is referred to."""
    where = (table.c.id == row["id"], table.c.tenant == row["tenant"], table.c.version == row["version"])
    try:
        removed = tx.execute(sa.delete(table).where(*where))
    except IntegrityError as error:
        raise Problem(409, "in-use", "Other rows refer to this one.") from error
    if removed.rowcount != 1:
        raise moved()


def complete(
    tx: Tx, core: Core, entities: Entities, name: str, values: Mapping[str, Any], tenant: str, may: Any
) -> dict[str, Any]:
    """Return `values` with what the server adds: copied prices and labels, and the totals over them.

    `may(entity, row)` says whether the caller may read a row that is referred to; a row that is not there and one
    that may not be read are refused alike. Raises Problem 422.
    """
    result = dict(values)
    errors: dict[str, str] = {}
    for key, kind in entities[name].fields.items():
        if isinstance(kind, Ref) and result.get(key) is not None:
            row = find(tx, entities.table(kind.to), result[key], tenant)
            if row is None or not may(kind.to, row):
                errors[key] = "is no row that you can refer to"
        elif isinstance(kind, Lines) and result.get(key) is not None:
            problem, lines = _priced(tx, core, entities, kind, result[key], tenant, may)
            if problem:
                errors[key] = problem
            else:
                result[key] = lines
    if not errors:
        for key, kind in entities[name].fields.items():
            if isinstance(kind, Money) and kind.total_of is not None and kind.total_of in result:
                lines = result[kind.total_of]
                total = sum(line["quantity"] * line["price"] for line in lines or ())
                if not kind.min <= total <= kind.max:
                    errors[key] = f"comes to more than {kind.show(kind.max)}"
                result[key] = total
    if errors:
        raise invalid(errors)
    return result


def _priced(
    tx: Tx, core: Core, entities: Entities, kind: Lines, lines: list[dict[str, Any]], tenant: str, may: Any
) -> tuple[str, list[dict[str, Any]]]:
    source, table = entities[kind.of], entities.table(kind.of)
    ids = [line[kind.key] for line in lines]
    heads = price_store.heads(tx, tenant, kind.of, kind.price, ids)
    priced = []
    for line in lines:
        row = find(tx, table, line[kind.key], tenant)
        if row is None or not may(kind.of, row):
            return f"names a {kind.key} that you cannot take", []
        if kind.available_in and row[source.state_field or ""] not in kind.available_in:
            return f"names a {kind.key} that you cannot take", []
        head = heads.get(row["id"])
        if head is None or head.amount is None:  # nothing without a price is for sale
            return f"names a {kind.key} that you cannot take", []
        if not genuine(head, core.keys):
            log.critical("a price of %s %s was not set by this app: nobody is charged it", kind.of, row["id"])
            return f"names a {kind.key} that you cannot take", []
        copied = {"label": row[kind.label], "price": head.amount, "price_version": head.version}
        priced.append({**line, **copied})
    return "", priced


def moved() -> Problem:
    """Return the problem of a row that changed between the decision about it and the write."""
    return Problem(409, "changed", "The row was changed in the meantime.", detail="Read it again and repeat.")


def _conflict() -> Problem:
    return Problem(409, "exists", "A value that may stand only once stands already.")
