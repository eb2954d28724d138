"""Random tampering with a copy of the store: every single change is found."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redoubt.audit import DOMAIN, RECORD, Actor, Event
from redoubt.audit.note import VerifierKey
from redoubt.audit.sequencer import SIGNING, Sequencer
from redoubt.audit.verify import verify
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, migrate
from tests.support.core import make_core

SIZE = 24
COLUMNS = (
    "id",
    "tenant",
    "action",
    "actor_kind",
    "actor_id",
    "request_id",
    "target_type",
    "target_id",
    "session",
    "body",
)
Change = Callable[[sqlite3.Connection, random.Random], object]


@pytest.fixture
def signed(tmp_path: Path, clock: ManualClock) -> Iterator[Core]:
    db = Database(f"sqlite:///{tmp_path / 'app.db'}")
    migrate(db, [DOMAIN])
    core = make_core(db, clock, tmp_path / "home")
    events = [
        Event(
            "api.write",
            "success",
            Actor("user", f"u{n}", f"s{n}"),
            "main",
            ("Order", f"o{n}"),
            {"n": n},
            f"r{n}",
        )
        for n in range(SIZE)
    ]
    db.write_sync(lambda tx: RECORD(core).apply(tx, events))
    Sequencer(core).run_once()
    yield core
    db.close()


def flip(c: sqlite3.Connection, rng: random.Random) -> object:
    column, at = rng.choice(COLUMNS), rng.randrange(SIZE)
    (text,) = c.execute(f"SELECT {column} FROM audit_entries WHERE leaf_index = ?", (at,)).fetchone()
    place = rng.randrange(len(text))
    changed = text[:place] + chr(ord(text[place]) ^ (1 << rng.randrange(5))) + text[place + 1 :]
    return c.execute(f"UPDATE audit_entries SET {column} = ? WHERE leaf_index = ?", (changed, at))


def number(c: sqlite3.Connection, rng: random.Random) -> object:
    column = rng.choice(["at", "class_uid", "severity_id"])
    return c.execute(
        f"UPDATE audit_entries SET {column} = {column} + 1000 WHERE leaf_index = ?", (rng.randrange(SIZE),)
    )


def hash_flip(c: sqlite3.Connection, rng: random.Random) -> object:
    return c.execute(
        "UPDATE audit_entries SET leaf_hash = ? WHERE leaf_index = ?",
        (rng.randbytes(32), rng.randrange(SIZE)),
    )


def drop(c: sqlite3.Connection, rng: random.Random) -> object:
    return c.execute("DELETE FROM audit_entries WHERE leaf_index = ?", (rng.randrange(SIZE),))


def swap(c: sqlite3.Connection, rng: random.Random) -> object:
    a, b = rng.sample(range(SIZE), 2)
    c.execute("UPDATE audit_entries SET leaf_index = 999 WHERE leaf_index = ?", (a,))
    c.execute("UPDATE audit_entries SET leaf_index = ? WHERE leaf_index = ?", (a, b))
    return c.execute("UPDATE audit_entries SET leaf_index = ? WHERE leaf_index = 999", (b,))


def unplace(c: sqlite3.Connection, rng: random.Random) -> object:
    return c.execute(
        "UPDATE audit_entries SET leaf_index = NULL WHERE leaf_index = ?", (rng.randrange(SIZE),)
    )


def cut(c: sqlite3.Connection, rng: random.Random) -> object:
    return c.execute("DELETE FROM audit_entries WHERE leaf_index >= ?", (rng.randrange(SIZE),))


CHANGES: list[Change] = [flip, flip, flip, number, hash_flip, drop, swap, unplace, cut]


def test_every_change_is_found_and_the_untouched_copy_is_not_accused(signed: Core, tmp_path: Path) -> None:
    key = VerifierKey("test", signed.keys.signer(SIGNING).public_key)
    with sqlite3.connect(tmp_path / "app.db") as c:
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rng = random.Random(7)
    for attempt in range(60):
        copy = tmp_path / f"copy{attempt}.db"
        shutil.copy(tmp_path / "app.db", copy)
        change = None if attempt % 15 == 0 else rng.choice(CHANGES)
        c = sqlite3.connect(copy)
        for (name,) in c.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            c.execute(f"DROP TRIGGER {name}")
        if change is not None:
            change(c, rng)
        c.commit()
        c.close()
        db = Database(f"sqlite:///{copy}")
        report = verify(db, [key], directory=signed.settings.checkpoint_dir)
        db.close()
        assert report.ok == (change is None), f"attempt {attempt}: {change} {report.findings}"
        copy.unlink()
