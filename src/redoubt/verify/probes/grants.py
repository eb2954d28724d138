"""Least privilege: statements that no feature of the app needs, tried with what the app itself reaches its database by."""

# ruff: noqa: S608 - every name in these statements is one that the database itself gave

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ..errors import Unshown
from ..lab import Lab
from ..probe import SEARCHING, Attack, probe
from . import rights
from .stores import copied, tables_like

_KEPT = re.compile(r"(?i)^(audit_entries|audit|events)$")
_NEVER = (
    "CREATE TABLE verify_grants (n INTEGER)",
    "DROP TABLE {table}",
    "ALTER TABLE {table} ADD COLUMN verify_grants INTEGER",
)
"""What only a migration needs."""


@probe("AUZ-5", phase=SEARCHING, beside="traces")
def unlisted_statements_are_refused(lab: Lab) -> None:
    """Try what only a migration needs, as the app: with its database role, else with its user and its file."""
    if rights.can_try(lab):
        rights.attack_each(lab)
        return
    with lab.attack("try unlisted statements with the app's own database role", "one is obeyed") as attack:
        if "db_statement" in lab.target.commands:
            _by_role(lab, attack)
        elif "app" in lab.target.stores:
            _by_file(lab, attack)
        else:
            raise Unshown(
                "what the app reaches its database by is not said",
                add="commands: {db_statement: [psql, --command, 'BEGIN; {sql}; ROLLBACK']}",
            )


def _by_role(lab: Lab, attack: Attack) -> None:
    """Ask the database by the command that uses the app's role; it ends with 0 where the statement was obeyed."""
    table = lab.command("db_table").stdout.split()
    attack.positive("a table of the app's is named", table, "commands: {db_table: […]}")

    def obeyed(sql: str) -> bool:
        return lab.command("db_statement", sql=sql).returncode == 0

    attack.positive("the role reads its own table", obeyed(f'SELECT * FROM "{table[0]}"'))
    _tried(attack, obeyed, table[0])


def _by_file(lab: Lab, attack: Attack) -> None:
    """Open a copy of the file that the app's process holds open: there whoever may write a row may drop the table."""
    app, store = lab.process("app"), lab.store("app")
    attack.positive("the app's process holds the store open", _opens(app, store))
    with copied(lab, "app") as (copy, _):
        tables = tables_like(copy, _KEPT)
        attack.positive("there is a table that nobody should drop", tables)

        def obeyed(sql: str) -> bool:
            with closing(sqlite3.connect(copy)) as db:
                try:
                    db.execute("BEGIN")
                    db.execute(sql)
                    db.rollback()
                except sqlite3.Error:
                    return False
            return True

        attack.positive("rows can be read there", obeyed(f'SELECT * FROM "{tables[0]}"'))
        _tried(attack, obeyed, tables[0])
        if attack.outcome is not None:
            attack.details.append(
                "the store is a SQLite file, which knows no roles: who may write a row there may do this"
            )


def _tried(attack: Attack, obeyed: Callable[[str], bool], table: str) -> None:
    for statement in _NEVER:
        sql = statement.format(table=f'"{table}"')
        attack.check(not obeyed(sql), f"{sql.split(' (')[0]} is obeyed")


def _opens(process: int, store: Path) -> bool:
    wanted = store.resolve()
    try:
        return any(one.resolve() == wanted for one in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False
