"""Attacks on copies of an app's stores: what the database refuses, and what a change behind its back leaves to see."""

# ruff: noqa: S608 - every name in these statements is one that the database itself gave

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from ..lab import Lab
from ..probe import Attack

_LEDGER = re.compile(r"(?i)ledger|posting|journal|transactions?$")
_AMOUNT = re.compile(r"(?i)^(amount|value|debit|credit|minor|lines)$")

_DATABASES = (".db", ".sqlite", ".sqlite3")

_Change = Callable[[sqlite3.Connection, str], int]


@contextmanager
def copied(lab: Lab, name: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Copy the folder of a store, databases consistently, and yield the copy of the store and the variables for commands."""
    store = lab.store(name)
    folder = Path(tempfile.mkdtemp(prefix="redoubt-copy-"))
    try:
        for there, _, names in os.walk(store.parent):  # which goes on where a folder vanishes meanwhile
            place = folder / Path(there).relative_to(store.parent)
            place.mkdir(parents=True, exist_ok=True)
            for filename in names:
                if not filename.endswith((*_DATABASES, "-wal", "-shm")):
                    with suppress(OSError):
                        shutil.copy2(Path(there, filename), place / filename)
        for path in store.parent.glob("*"):
            if path.suffix in _DATABASES:
                backup(path, folder / path.name)
        yield folder / store.name, {"ready:state_dir": str(folder), "store": str(folder / store.name)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def backup(source: Path, copy: Path) -> None:
    """Copy a SQLite database as it stands, its write-ahead log included."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(copy)) as new,
    ):
        old.backup(new)


def tables_like(store: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return the tables of a store whose name matches."""
    with closing(sqlite3.connect(store)) as db:
        names = [
            str(row[0])
            for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        ]
    return [name for name in names if pattern.search(name)]


@frozen
class _Try:
    words: str
    sql: str
    values: tuple[Any, ...] = ()


def _tries(db: sqlite3.Connection, table: str) -> list[_Try]:
    """Return the statements that an append-only table must refuse."""
    cursor = db.execute(f'SELECT * FROM "{table}" LIMIT 1')
    columns = [one[0] for one in cursor.description]
    row = cursor.fetchone()
    if row is None:
        return []
    marks = ", ".join("?" for _ in columns)
    made = [
        _Try(f"UPDATE of {table}.{column}", f'UPDATE "{table}" SET "{column}" = ?', (_other(value),))
        for column, value in zip(columns, row, strict=True)
    ]
    made.append(_Try(f"DELETE FROM {table}", f'DELETE FROM "{table}"'))
    changed = tuple(
        _other(value) if _AMOUNT.match(column) else value for column, value in zip(columns, row, strict=True)
    )
    for verb in ("INSERT OR REPLACE INTO", "REPLACE INTO"):
        made.append(_Try(f"{verb} {table} of the same row", f'{verb} "{table}" VALUES ({marks})', changed))
    newest = db.execute(f'SELECT * FROM "{table}" ORDER BY rowid DESC LIMIT 1').fetchone()
    last = dict(zip(columns, newest, strict=True))
    fresh = tuple(_fresh(column, value, last) for column, value in last.items())
    made.append(_Try(f"an unbalanced entry in {table}", f'INSERT INTO "{table}" VALUES ({marks})', fresh))
    made.append(
        _Try(
            f"UPDATE OR REPLACE of {table}",
            f'UPDATE OR REPLACE "{table}" SET "{columns[0]}" = "{columns[0]}"',
        )
    )
    return made


def _other(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            return json.dumps(
                [[one[0], one[1] + 1] if isinstance(one, list) else one for one in json.loads(value)]
            )
    return f"{value}x"


def _fresh(column: str, value: Any, last: dict[str, Any]) -> Any:
    """Return a value for a new row that goes on from the last one, so that its balance alone can be what refuses it."""
    if column in ("id", "intent"):
        return f"{value}-forged"
    if column == "seq" and isinstance(value, int):
        return value + 1
    if column == "prev":
        return last.get("hash", value)
    if column == "lines":
        return '[["cash", 100], ["sales", -99]]'
    return _other(value) if _AMOUNT.match(column) else value


def attack_ledger(lab: Lab, till: Any) -> None:
    """Attack a copy of the ledger with SQL, then with its defences taken away."""
    with lab.attack("update, delete, replace and unbalance the ledger", "a statement is obeyed") as attack:
        till.buy(attack)
        with copied(lab, "charge") as (store, variables):
            tables = tables_like(store, _LEDGER)
            attack.positive("there is a ledger", tables)
            attack.positive(
                "its check passes on the copy", _verified(lab, variables), "commands: {ledger_verify: …}"
            )
            tried = 0
            for table in tables:
                with closing(sqlite3.connect(store)) as db:
                    for one in _tries(db, table):
                        tried += 1
                        attack.check(not _obeyed(store, one), f"{one.words} is obeyed")
            attack.positive("there were entries to attack", tried, str(tried))
    with lab.attack(
        "tamper with the ledger behind the database's back", "the ledger's check does not notice"
    ) as attack:

        def tampered(change: _Change) -> tuple[bool, bool]:
            with copied(lab, "charge") as (store, variables):
                return _defenceless(store, change), _verified(lab, variables)

        with ThreadPoolExecutor(2) as pool:
            for words, (done, passed) in zip(
                _TAMPERINGS, pool.map(tampered, _TAMPERINGS.values()), strict=True
            ):
                attack.positive(f"the copy can be tampered with ({words})", done)
                attack.check(not passed, f"{words} goes unnoticed")


def _verified(lab: Lab, variables: dict[str, str]) -> bool:
    return lab.command("ledger_verify", **variables).returncode == 0


def _obeyed(store: Path, one: _Try) -> bool:
    with closing(sqlite3.connect(store)) as db:
        try:
            changed = db.execute(one.sql, one.values).rowcount
            db.rollback()
        except sqlite3.Error:
            return False
    return changed != 0


def _defenceless(store: Path, change: _Change) -> bool:
    """Take every trigger away and change the rows, as somebody who owns the file would."""
    with closing(sqlite3.connect(store)) as db:
        strip(db)
        changed = sum(change(db, table) for table in tables_like(store, _LEDGER))
        db.commit()
    return changed > 0


def strip(db: sqlite3.Connection) -> None:
    """Take every trigger of a database away."""
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f'DROP TRIGGER "{name}"')
    db.execute("PRAGMA foreign_keys = OFF")


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]


def _edit(db: sqlite3.Connection, table: str) -> int:
    changed = 0
    for column in _columns(db, table):
        if not _AMOUNT.match(column):
            continue
        for rowid, value in db.execute(f'SELECT rowid, "{column}" FROM "{table}" LIMIT 1').fetchall():
            changed += db.execute(
                f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (_other(value), rowid)
            ).rowcount
    return changed


def _cut(db: sqlite3.Connection, table: str) -> int:
    return db.execute(f'DELETE FROM "{table}" WHERE rowid = (SELECT MAX(rowid) FROM "{table}")').rowcount


def _drop_first(db: sqlite3.Connection, table: str) -> int:
    return db.execute(f'DELETE FROM "{table}" WHERE rowid = (SELECT MIN(rowid) FROM "{table}")').rowcount


def _empty(db: sqlite3.Connection, table: str) -> int:
    return db.execute(f'DELETE FROM "{table}"').rowcount


_TAMPERINGS: dict[str, _Change] = {
    "an edited amount": _edit,
    "a removed first entry": _drop_first,
    "a removed last entry": _cut,
    "an emptied ledger": _empty,
}

_AUDIT = re.compile(r"(?i)^audit_(entries|events|log)$|^audit$|^events$")


def attack_audit(lab: Lab, attack: Attack, key: str, checkpoint: Path) -> None:
    """Delete, edit, reorder and truncate a copy of the audit store; each must be seen against the checkpoint."""
    with copied(lab, "app") as (_, variables):
        variables = {**variables, "key": key, "checkpoint": str(checkpoint)}
        attack.positive(
            "the untouched copy verifies", lab.command("audit_verify_copy", **variables).returncode == 0
        )

    def tampered(change: _Change) -> tuple[int, int]:
        with copied(lab, "app") as (store, variables):
            tables = tables_like(store, _AUDIT)
            if not tables:
                return 0, 0
            with closing(sqlite3.connect(store)) as db:
                strip(db)
                changed = change(db, tables[0])
                db.commit()
            given = {**variables, "key": key, "checkpoint": str(checkpoint)}
            return changed, lab.command("audit_verify_copy", **given).returncode

    with ThreadPoolExecutor(2) as pool:
        for words, (changed, status) in zip(
            AUDIT_TAMPERINGS, pool.map(tampered, AUDIT_TAMPERINGS.values()), strict=True
        ):
            attack.positive(f"the copy can be tampered with ({words})", changed)
            attack.check(status == 1, f"{words} goes unnoticed (the check ended with {status})")


def _edit_entry(db: sqlite3.Connection, table: str) -> int:
    text = next((one for one in ("body", "data", "payload", "action") if one in _columns(db, table)), "")
    row = db.execute(f'SELECT rowid, "{text}" FROM "{table}" ORDER BY rowid LIMIT 1 OFFSET 2').fetchone()
    if row is None:
        return 0
    changed = str(row[1]).replace('"', "'", 1)
    return db.execute(f'UPDATE "{table}" SET "{text}" = ? WHERE rowid = ?', (changed, row[0])).rowcount


def _middle(db: sqlite3.Connection, table: str) -> int:
    return db.execute(
        f'DELETE FROM "{table}" WHERE rowid = (SELECT rowid FROM "{table}" ORDER BY rowid LIMIT 1 OFFSET 2)'
    ).rowcount


def _swap(db: sqlite3.Connection, table: str) -> int:
    place = next((one for one in ("leaf_index", "seq", "position") if one in _columns(db, table)), "")
    if not place:
        return 0
    rows = db.execute(
        f'SELECT rowid, "{place}" FROM "{table}" WHERE "{place}" IN (1, 2) ORDER BY 2'
    ).fetchall()
    if len(rows) != 2:
        return 0
    for rowid, value in ((rows[0][0], -1), (rows[1][0], rows[0][1]), (rows[0][0], rows[1][1])):
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(f'UPDATE "{table}" SET "{place}" = ? WHERE rowid = ?', (value, rowid))
    return 2


def _truncate(db: sqlite3.Connection, table: str) -> int:
    place = next((one for one in ("leaf_index", "seq", "position") if one in _columns(db, table)), "rowid")
    return db.execute(
        f'DELETE FROM "{table}" WHERE "{place}" >= (SELECT MAX("{place}") FROM "{table}") - 2'
    ).rowcount


AUDIT_TAMPERINGS: dict[str, _Change] = {
    "a deleted entry": _middle,
    "an edited entry": _edit_entry,
    "two entries in each other's place": _swap,
    "a truncated log": _truncate,
}
