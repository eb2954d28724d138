"""What an app's own migration adds to a table with prices: the database refuses a price that is not its head version."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from sqlalchemy.engine import Connection

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
PRICES = "payments_0002"
"""The revision that makes the tables of prices: an app's revision that calls `defend_price` depends on it."""


class Operations(Protocol):
    """Alembic's operations, as a migration has them."""

    def get_bind(self) -> Connection:
        """Return the connection."""
        ...

    def execute(self, sqltext: str) -> None:
        """Run a statement."""
        ...


def trigger_names(table: str, field: str) -> frozenset[str]:
    """Return the triggers that `defend_price` makes, by the names that a start looks for."""
    return frozenset(_name(table, field, event) for event in ("insert", "update"))


def defend_price(op: Operations, table: str, entity: str, field: str) -> None:
    """Let the column `field` of `table` hold nothing but the version of that price that counts, whoever writes it.

    A row is stored after version 1 of its prices, and a price changes after its next version: both in one transaction.
    Raises ValueError for what is no name.
    """
    if not all(_NAME.fullmatch(name) for name in (table, entity, field)):
        raise ValueError("tables, entities and fields are words")
    dialect = op.get_bind().dialect.name
    same = "IS" if dialect == "sqlite" else "IS NOT DISTINCT FROM"
    key = f"v.tenant = NEW.tenant AND v.entity = '{entity}' AND v.field = '{field}' AND v.row_id = NEW.id"
    head = f"(SELECT v.amount FROM price_versions v WHERE {key} ORDER BY v.version DESC LIMIT 1)"  # noqa: S608
    known = f"EXISTS (SELECT 1 FROM price_versions v WHERE {key})"  # noqa: S608
    refused = f'NOT ({known} AND NEW."{field}" {same} {head})'
    message = "a price changes by an approved proposal"
    for event in ("insert", "update"):
        name = _name(table, field, event)
        fires = event.upper() if event == "insert" else f'UPDATE OF "{field}", id, tenant'
        if dialect == "sqlite":
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {fires} ON {table} WHEN {refused}"
                f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
            continue
        raised = f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation';"
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF {refused} THEN {raised} END IF; RETURN NEW; END $$"
        )
        op.execute(f"CREATE TRIGGER {name} BEFORE {fires} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")


def _name(table: str, field: str, event: str) -> str:
    """PostgreSQL cuts names after 63 bytes: a longer one ends in its digest instead."""
    name = f"{table}_{field}_{event}"
    return name if len(name) <= 63 else f"{name[:50]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
