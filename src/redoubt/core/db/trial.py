"""Tries statements with the rights of a process, and takes back whatever they did; and says what there is to try them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import sqlalchemy as sa
from attrs import frozen

from .database import Database, Tx
from .errors import NotGranted

Answer = Literal["obeyed", "refused", "failed"]


@frozen
class Tried:
    """What became of a statement: obeyed, refused for want of a right, or failed for another reason, which is said."""

    sql: str
    answer: Answer
    reason: str = ""


class _RolledBack(Exception):
    """Ends the transaction of a statement that was obeyed."""


def columns_by_table(tx: Tx) -> dict[str, list[str]]:
    """Return the columns of every table of the database that `tx` is open in, both in order of their names."""
    looked = sa.inspect(tx.conn)
    return {
        table: sorted(str(column["name"]) for column in looked.get_columns(table))
        for table in sorted(looked.get_table_names())
    }


def attempt(db: Database, sql: str) -> Tried:
    """Run one statement through `db` in a transaction of its own that is always rolled back, and say how it was answered."""

    def run(tx: Tx) -> None:
        driver = tx.conn.connection.driver_connection
        assert driver is not None
        if tx.dialect == "postgresql":
            driver.execute(sql, prepare=True)  # which refuses several statements in one text
        else:
            driver.execute(sql).fetchone()
        raise _RolledBack

    try:
        db.write_sync(lambda tx: _through(tx, run))
    except _RolledBack:
        return Tried(sql, "obeyed")
    except NotGranted:
        return Tried(sql, "refused")
    except Exception as error:  # whatever else the database answers is its answer
        cause = getattr(error, "orig", None) or error.__cause__ or error
        return Tried(sql, "failed", type(cause).__name__)
    raise AssertionError("a trial ends by its roll-back")


def _through(tx: Tx, run: Callable[[Tx], None]) -> None:
    """Let SQLAlchemy name errors of the driver as it does for every other statement."""
    from sqlalchemy.exc import DBAPIError

    try:
        run(tx)
    except _RolledBack:
        raise
    except Exception as error:
        module = tx.conn.dialect.dbapi
        if module is not None and isinstance(error, module.Error):
            raise DBAPIError.instance("", None, error, module.Error, dialect=tx.conn.dialect) from error
        raise
