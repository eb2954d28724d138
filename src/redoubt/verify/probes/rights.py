"""Rights of each process in the database, measured one by one and held against the file that grants them.

Nothing is believed of the file: every table is read, added to, changed and emptied, column by column, with the rights of
each process, by statements that leave nothing. What is obeyed is what is granted. The owner is obeyed in all of them, so it
is for want of a right that a process is not.
"""

# ruff: noqa: S608 - every name in these statements is one that the database itself, or the file of grants, gave

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from ..errors import Unshown
from ..lab import Lab
from ..probe import Attack
from ..target import Rights

_GRANT = re.compile(r'GRANT (?P<verbs>.+) ON (?:\w+\.)?"?(?P<table>\w+)"? TO :?"?(?P<process>\w+)"?;?\s*')
_VERB = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)(?: \(([^)]*)\))?")
_ALL = "*"
_FEWEST = 5

Right = tuple[str, str, str]
"""A verb, a table and a column; `*` for what takes whole rows."""


def can_try(lab: Lab) -> bool:
    """Say whether the target tells how statements are tried as each process, and what each is granted."""
    return "db_try" in lab.target.commands and lab.target.rights is not None


def attack_each(lab: Lab) -> None:
    """Measure what each process may do and hold it against its grants; then try what no process needs."""
    rights = lab.target.rights
    assert rights is not None
    folder = lab.world.repo or Path(lab.world.variables.get("dir", "."))
    files = {process: folder / path for process, path in rights.grants.items() if (folder / path).is_file()}
    if not files:
        raise Unshown(
            "no file says what each process is granted", add="rights: {grants: {app: deploy/grants.sql}}"
        )
    for process, file in files.items():
        _one(lab, rights, process, file)


def _one(lab: Lab, rights: Rights, process: str, file: Path) -> None:
    store, owner = _store(lab, process), rights.owners.get(process, rights.owner)
    # A file has no roles: whoever may write it can open it by other means than the process's own connections.
    limit = (
        " (by its connections: on SQLite nothing holds code that opens the file by itself)" if store else ""
    )
    declared = _declared(file, process)
    name = f"compare what {process} may do{limit} with what it is granted, right by right"
    with lab.attack(name, "it may do what its grants do not list") as attack:
        attack.positive("its grants list something", declared, str(file.name))
        tables = _tables(store) if store else _listed(lab, process)
        attack.positive("the tables are known", tables)
        tries = list(_tries(tables))
        answers = _asked(lab, process, [sql for _, sql in tries])
        by_owner = _asked(lab, owner, [sql for _, sql in tries])
        attack.positive(
            "the owner has all these rights",
            all(map(_has, tries, by_owner)),
            f"{len(tries)} statements",
        )
        measured = {one[0] for one, answer in zip(tries, answers, strict=True) if _has(one, answer)}
        missing = _named(declared, tables) - measured
        attack.positive("it may do what is listed", not missing, _words(missing))
        for right in sorted(measured - _named(declared, tables)):
            attack.broke(f"{_words([right])} is obeyed, and is not granted")
        _unused(lab, attack, process)
    never = f"try as {process} what no process needs: DDL, other files, and what only grows{limit}"
    with lab.attack(never, "one is obeyed") as attack:
        answers = _asked(lab, process, ["SELECT 1", *rights.never])
        by_owner = _asked(lab, owner, list(rights.never))
        attack.positive("statements of its own are obeyed", answers[0] == "obeyed")
        tests = by_owner.count("obeyed")
        attack.positive("the owner is obeyed in several", tests >= _FEWEST, f"{tests} of {len(rights.never)}")
        for sql, answer in zip(rights.never, answers[1:], strict=True):
            attack.check(answer != "obeyed", f"{sql} is obeyed")


def _has(tried: tuple[Right, str], answer: str) -> bool:
    return answer == "obeyed" or (tried[0][0] == "insert" and answer == "failed")


def _asked(lab: Lab, process: str, wanted: Sequence[str]) -> list[str]:
    """Try statements as a process, each by itself and rolled back; return obeyed, refused or failed for each."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(list(wanted), file)
        file.flush()
        done = lab.command("db_try", process=process, file=file.name)
    try:
        found = [str(one["answer"]) for one in json.loads(done.stdout)]
    except (ValueError, KeyError, TypeError):
        found = []
    return found if len(found) == len(wanted) else ["unknown"] * len(wanted)


def _store(lab: Lab, process: str) -> Path | None:
    """Return the SQLite file that a process works on, if its store is one."""
    given = lab.target.stores.get("charge" if process == "charge" else "app")
    if given is None or not Path(given).is_file():
        return None
    with Path(given).open("rb") as file:
        return Path(given) if file.read(15) == b"SQLite format 3" else None


def _tables(store: Path) -> dict[str, tuple[str, ...]]:
    """Return every table of a SQLite file with its columns."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        names = [
            str(row[0])
            for row in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        ]
        return {
            name: tuple(str(row[1]) for row in db.execute(f'PRAGMA table_info("{name}")'))
            for name in sorted(names)
        }


def _listed(lab: Lab, process: str) -> dict[str, tuple[str, ...]]:
    """Return every table of the database that a process works on with its columns, as a command of the target lists them."""
    done = lab.command("db_tables", process=process)
    try:
        return {str(name): tuple(map(str, columns)) for name, columns in json.loads(done.stdout).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def _tries(tables: dict[str, tuple[str, ...]]) -> Iterator[tuple[Right, str]]:
    """Yield every right there could be, with the statement that needs exactly it; all are rolled back.

    A row of nothing but defaults is mostly refused by a constraint, which is asked after the right.
    """
    for table, columns in tables.items():
        yield ("insert", table, _ALL), f'INSERT INTO "{table}" DEFAULT VALUES'
        yield ("delete", table, _ALL), f'DELETE FROM "{table}" WHERE 1 = 0'
        for column in columns:
            yield ("select", table, column), f'SELECT "{column}" FROM "{table}" WHERE 1 = 0'
            yield ("update", table, column), f'UPDATE "{table}" SET "{column}" = NULL WHERE 1 = 0'


def _declared(file: Path, process: str) -> frozenset[Right]:
    """Return what the GRANT statements of a file give a process."""
    found: set[Right] = set()
    for line in file.read_text(encoding="utf-8").splitlines():
        match = _GRANT.fullmatch(line)
        if match is None or match["process"] != process:
            continue
        for verb, columns in _VERB.findall(match["verbs"]):
            names = [one.strip().strip('"') for one in columns.split(",")] if columns else [_ALL]
            found |= {(verb.lower(), match["table"], name) for name in names}
    return frozenset(found)


def _named(declared: frozenset[Right], tables: dict[str, tuple[str, ...]]) -> set[Right]:
    """Return the same rights with every column named that verbs over columns reach."""
    found: set[Right] = set()
    for verb, table, column in declared:
        if column != _ALL or verb in ("insert", "delete"):
            found.add((verb, table, column))
        else:
            found |= {(verb, table, name) for name in tables.get(table, ())}
    return found


def _unused(lab: Lab, attack: Attack, process: str) -> None:
    """Tell which rights nothing has used in this run so far: only a run of everything uses them all."""
    if "db_unused" not in lab.target.commands:
        return
    try:
        unused = json.loads(lab.command("db_unused").stdout).get(process, [])
    except (ValueError, AttributeError):
        return
    if unused:
        attack.details.append(f"granted and not used in this run so far: {len(unused)} rights of {process}")


def _words(rights: Sequence[Right] | set[Right]) -> str:
    shown = [
        f"{verb} of {table}{'' if column == _ALL else f'.{column}'}" for verb, table, column in sorted(rights)
    ]
    return "; ".join(shown[:6]) + (f"; and {len(shown) - 6} more" if len(shown) > 6 else "")
