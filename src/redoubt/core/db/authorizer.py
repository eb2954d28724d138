"""SQLite has no roles: the statements of a process's connections are held to what is granted to it instead.

SQLite asks an authorizer about each action of a statement while it prepares it (sqlite.org/c3ref/set_authorizer.html),
so a statement that is prepared once costs nothing more however often it runs. This holds whatever text reaches these
connections; it does not hold code that opens the file by itself.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any

from .grants import ALL, Access, Grant, Use, Verb

_log = logging.getLogger("redoubt.db")

_REFUSED = "this process may not delete from"
REFUSALS = (_REFUSED, "not authorized to use function")
"""What is said of a refused replacement and of a refused function; SQLite's other refusals have an error code."""

_QUIET = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_RECURSIVE}
)
_VERBS: dict[int, Verb] = {
    sqlite3.SQLITE_READ: "select",
    sqlite3.SQLITE_INSERT: "insert",
    sqlite3.SQLITE_UPDATE: "update",
    sqlite3.SQLITE_DELETE: "delete",
}
_PURE_TABLES = frozenset({"json_each", "json_tree"})  # table-valued functions over their arguments
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})

_NAMES = {
    getattr(sqlite3, name): name.removeprefix("SQLITE_")
    for name in ("SQLITE_PRAGMA", "SQLITE_ATTACH", "SQLITE_DETACH", "SQLITE_FUNCTION", "SQLITE_DROP_TABLE")
} | {action: verb.upper() for action, verb in _VERBS.items()}

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


def restrict(connection: Any, access: Access, used: set[Grant], *, reading: bool) -> None:
    """Hold a raw connection to `access` for good, to the reading part of it where `reading`.

    What was allowed is added to `used`. Call it when all that the connection needs to be set up is done: PRAGMA, DDL,
    ATTACH and extensions are refused afterwards. Raises sqlite3.Error where a granted table is not there.
    """
    if reading:
        access = access.reading()
    for statement in _kept(access):
        connection.execute(statement)
    for table in _PURE_TABLES:  # SQLite declares it on its first use, and asks about that as if it were DDL
        connection.execute(f"SELECT count(*) FROM {table}('[]')").fetchall()  # noqa: S608 - a name from above
    connection.set_authorizer(_authorizer(access, used))


def _authorizer(access: Access, used: set[Grant]) -> Authorizer:
    uses, definers = access.uses, access.definers

    def allowed(
        action: int, first: str | None, second: str | None, database: str | None, inside: str | None
    ) -> bool:
        if action in _QUIET:
            return True
        if action == sqlite3.SQLITE_FUNCTION:
            return (second or "").lower() not in _FORBIDDEN_FUNCTIONS
        verb = _VERBS.get(action)
        if verb is None or first is None:
            return False
        if verb == "select" and first in _PURE_TABLES:
            return True
        if database != "main" and not (verb == "select" and not second and database is None):
            return False  # where rows are only counted, SQLite names no database
        # A trigger is the owner's: nobody else here can make one. A name that a statement gives to a part of itself
        # could be a trigger's, too, but such parts only read.
        if verb != "select" and inside is not None and first in definers.get(inside, ()):
            return True
        found = uses.get(first)
        if found is None or not _granted(found, verb, second):
            return False
        used.add((verb, first, second if verb in ("select", "update") and second else ALL))
        return True

    def decide(
        action: int, first: str | None, second: str | None, database: str | None, inside: str | None
    ) -> int:
        if allowed(action, first, second, database, inside):
            return sqlite3.SQLITE_OK
        _log.warning(
            "refused to %s: %s of %s, column %s", access.process, _NAMES.get(action, action), first, second
        )
        return sqlite3.SQLITE_DENY

    return decide


def _granted(found: Use, verb: Verb, column: str | None) -> bool:
    if verb == "insert":
        return found.insert
    if verb == "delete":
        return found.delete
    columns = found.select if verb == "select" else found.update
    if ALL in columns or column in columns:
        return True
    return verb == "select" and not column and bool(columns)  # rows are counted, no value is read


def _kept(access: Access) -> list[str]:
    """REPLACE deletes without asking: where rows may be added or changed but not deleted, a trigger refuses it."""
    return [
        f'CREATE TEMP TRIGGER "kept_{one.table}" BEFORE DELETE ON main."{one.table}"'
        f" BEGIN SELECT RAISE(ABORT, '{_REFUSED} {one.table}'); END"
        for one in access.uses.values()
        if (one.insert or one.update) and not one.delete
    ]
