"""The sandbox's state in one SQLite file, so that it survives a restart and a kill."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, created INTEGER NOT NULL,
  body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_by_type ON objects (type, seq);
CREATE TABLE IF NOT EXISTS keys (
  key TEXT PRIMARY KEY, digest TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS faults (
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, operation TEXT NOT NULL, "left" INTEGER NOT NULL,
  options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
  due REAL NOT NULL, answer TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due);
CREATE TABLE IF NOT EXISTS calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, key TEXT, fault TEXT, status INTEGER NOT NULL);
"""
_TABLES = ("objects", "keys", "faults", "deliveries", "calls")


class Store:
    """Objects as JSON bodies by id, and beside them what the provider remembers; one writer, one lock."""

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.RLock()
        self._sql = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode=WAL")
        self._sql.execute("PRAGMA synchronous=FULL")
        self._sql.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run one all-or-nothing change; nested ones join the outer."""
        with self._lock:
            if self._sql.in_transaction:
                yield
                return
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._sql.execute("ROLLBACK")
                raise
            self._sql.execute("COMMIT")

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement with bound values and return its rows."""
        with self._lock:
            return self._sql.execute(sql, values).fetchall()

    def put(self, item: dict[str, Any]) -> dict[str, Any]:
        """Insert an object, or replace its body."""
        self.run(
            "INSERT INTO objects (id, type, created, body) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            item["id"],
            item["object"],
            item["created"],
            json.dumps(item),
        )
        return item

    def get(self, kind: str, object_id: str) -> dict[str, Any] | None:
        """Return the object of that type and id."""
        rows = self.run("SELECT body FROM objects WHERE id = ? AND type = ?", object_id, kind)
        return _body(rows[0][0]) if rows else None

    def find(self, kind: str, fields: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return all objects of a type whose members equal `fields` (dotted paths), oldest first."""
        sql, values = _where(kind, fields or {})
        return [_body(row[0]) for row in self.run(f"SELECT body FROM objects {sql} ORDER BY seq", *values)]  # noqa: S608

    def page(
        self,
        kind: str,
        fields: Mapping[str, Any],
        created: Mapping[str, int],
        limit: int,
        after: str | None,
        before: str | None,
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return one page, newest first, and whether there is more (docs.stripe.com/api/pagination)."""
        sql, values = _where(kind, fields)
        for operator, at in created.items():
            sql += f" AND created {operator} ?"
            values.append(at)
        if after is not None:
            sql += " AND seq < (SELECT seq FROM objects WHERE id = ?)"
            values.append(after)
        if before is not None:
            sql += " AND seq > (SELECT seq FROM objects WHERE id = ?)"
            values.append(before)
        order = "ASC" if before is not None else "DESC"
        rows = self.run(f"SELECT body FROM objects {sql} ORDER BY seq {order} LIMIT ?", *values, limit + 1)  # noqa: S608
        found = [_body(row[0]) for row in rows[:limit]]
        return (found[::-1] if before is not None else found), len(rows) > limit

    def reset(self) -> None:
        """Forget everything."""
        with self.transaction():
            for table in _TABLES:
                self.run(f"DELETE FROM {table}")  # noqa: S608 - names of our own

    def close(self) -> None:
        """Close the file."""
        self._sql.close()


def _where(kind: str, fields: Mapping[str, Any]) -> tuple[str, list[Any]]:
    sql, values = "WHERE type = ?", [kind]
    for path, value in fields.items():
        steps = "".join(f'."{step}"' for step in path.split(".", 1))
        sql += " AND json_extract(body, ?) = ?"
        values += ["$" + steps, value]
    return sql, values


def _body(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
