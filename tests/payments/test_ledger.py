"""The ledger: the database refuses what would falsify it, and the verifier sees what was done behind its back."""

from __future__ import annotations

import sqlite3
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, DBAPIError

from redoubt.core.base import Core
from redoubt.core.db import StorageUnavailable, Tx
from redoubt.payments.charge import ledger, store
from redoubt.payments.charge.errors import LedgerError
from redoubt.payments.charge.ledger_verify import LedgerReport, verify


def post(core: Core, number: int, amount: int = 100, tenant: str = "main") -> ledger.Head:
    return core.db.write_sync(
        lambda tx: ledger.append(
            tx, core, tenant=tenant, kind="captured", intent=f"i{number}", currency="EUR",
            lines=[("a", amount), ("b", -amount)],
        )
    )  # fmt: skip


def check(core: Core, *heads: ledger.Head) -> LedgerReport:
    return core.db.read_sync(lambda tx: verify(tx, known_heads=heads))


def run(core: Core, sql: str) -> None:
    core.db.write_sync(lambda tx: tx.execute(sa.text(sql)))


def test_entries_chain_and_balance(charge_core: Core) -> None:
    heads = [post(charge_core, n) for n in range(5)]
    post(charge_core, 9, tenant="other")
    report = check(charge_core, *heads)
    assert report.sound
    assert report.entries == 6
    assert report.heads["main"] == heads[-1]
    assert charge_core.db.read_sync(lambda tx: ledger.balances(tx, "main")) == {
        ("a", "EUR"): 500,
        ("b", "EUR"): -500,
    }


@pytest.mark.parametrize("lines", [[("a", 5), ("b", -4)], [("a", 0), ("b", 0)], [("a", 5)], []])
def test_an_unbalanced_entry_is_refused_before_the_database(
    charge_core: Core, lines: list[tuple[str, int]]
) -> None:
    with pytest.raises(LedgerError):
        charge_core.db.write_sync(
            lambda tx: ledger.append(
                tx, charge_core, tenant="main", kind="x", intent="i", currency="EUR", lines=lines
            )
        )


FORGED = (
    "INSERT {or_} INTO ledger_entries (id, tenant, seq, kind, intent, currency, lines, at, prev, hash)"
    " VALUES ('{id}', 'main', {seq}, 'captured', '{intent}', 'EUR', '{lines}', 1, '{prev}', '"
    + "f" * 64
    + "')"
)


UNBALANCED = (
    '[["a",5],["b",-4]]', '[["a",5]]', "[]", '[["a",0],["b",0]]', '[["a",1.5],["b",-1.5]]', '[["a","5"],["b","-5"]]',
    '{"a":1}', '[["a",5],["b",-5,1]]', '[[1,5],["b",-5]]', "not json",
)  # fmt: skip


def test_the_database_refuses_an_unbalanced_entry(charge_core: Core) -> None:
    head = post(charge_core, 1)
    for lines in UNBALANCED:
        sql = FORGED.format(
            or_="", id="f", seq=2, intent="f", lines=lines.replace(":", "\\:"), prev=head.hash
        )
        with pytest.raises((DatabaseError, StorageUnavailable)):
            run(charge_core, sql)
    assert check(charge_core, head).entries == 1


CHANGES = (
    "UPDATE ledger_entries SET currency = 'USD'",
    "UPDATE ledger_entries SET hash = hash",
    "UPDATE ledger_postings SET amount = amount + 1",
    "DELETE FROM ledger_entries",
    "DELETE FROM ledger_postings WHERE line = 0",
    "INSERT INTO ledger_postings VALUES ((SELECT id FROM ledger_entries WHERE seq = 1), 2, 'main', 'c', 'EUR', 7)",
    "INSERT INTO ledger_postings VALUES ('nothing', 0, 'main', 'c', 'EUR', 7)",
    "INSERT INTO ledger_postings VALUES ((SELECT id FROM ledger_entries WHERE seq = 1), 0, 'main', 'a', 'EUR', 100)",
)


def test_rows_are_neither_changed_nor_removed_nor_added_alone(charge_core: Core) -> None:
    heads = [post(charge_core, n) for n in range(3)]
    for sql in CHANGES:
        with pytest.raises(DatabaseError):
            run(charge_core, sql)
    assert check(charge_core, *heads).sound


def test_a_fork_a_gap_and_a_second_posting_of_one_effect_are_refused(charge_core: Core) -> None:
    first, second = post(charge_core, 1), post(charge_core, 2)
    good = '[["a",5],["b",-5]]'
    for seq, prev, intent in (
        (2, first.hash, "f"),
        (4, second.hash, "f"),
        (3, first.hash, "f"),
        (3, second.hash, "i1"),
    ):
        with pytest.raises(DatabaseError):
            run(charge_core, FORGED.format(or_="", id="f", seq=seq, intent=intent, lines=good, prev=prev))
    assert check(charge_core, first, second).entries == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_replace_and_a_connection_with_every_guard_off_change_nothing(charge_core: Core) -> None:
    head = post(charge_core, 1)
    row = charge_core.db.read_sync(
        lambda tx: tx.execute(sa.text("SELECT id FROM ledger_entries")).scalar_one()
    )
    raw = sqlite3.connect(str(charge_core.db.path), isolation_level=None)
    raw.execute("PRAGMA foreign_keys=OFF")
    raw.execute("PRAGMA recursive_triggers=OFF")
    attempts = [
        FORGED.format(
            or_="OR REPLACE", id=row, seq=1, intent="i1", lines='[["a",9],["b",-9]]', prev="0" * 64
        ),
        FORGED.format(
            or_="OR REPLACE", id="f", seq=2, intent="i1", lines='[["a",9],["b",-9]]', prev=head.hash
        ),
        f"INSERT OR REPLACE INTO ledger_postings VALUES ('{row}', 0, 'main', 'a', 'EUR', 100)",
        f"INSERT OR REPLACE INTO ledger_postings VALUES ('{row}', 0, 'main', 'a', 'EUR', 900)",
        "INSERT OR IGNORE INTO ledger_postings VALUES ('x', 0, 'main', 'a', 'EUR', 900)",
        f"UPDATE OR REPLACE ledger_entries SET seq = 7 WHERE id = '{row}'",
    ]
    for sql in attempts:
        with pytest.raises(sqlite3.DatabaseError):
            raw.execute(sql)
    raw.close()
    assert check(charge_core, head).sound


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_refuses_truncate_replica_mode_and_shadow_tables(charge_core: Core) -> None:
    head = post(charge_core, 1)
    for sql in (
        "TRUNCATE ledger_entries CASCADE",
        "TRUNCATE ledger_postings",
        "DO $$ BEGIN SET LOCAL session_replication_role = replica; DELETE FROM ledger_postings; END $$",
        "DO $$ BEGIN CREATE TEMP TABLE ledger_entries AS SELECT 'x' AS id, 'main' AS tenant, 'EUR' AS currency,"
        " '[[\"a\",9]]' AS lines; INSERT INTO ledger_postings VALUES ('x', 0, 'main', 'a', 'EUR', 9); END $$",
    ):
        with pytest.raises(DBAPIError):
            charge_core.db.write_sync(lambda tx, sql=sql: tx.conn.exec_driver_sql(sql))
    assert check(charge_core, head).sound


def test_concurrent_writers_make_one_chain(charge_core: Core) -> None:
    threads = [threading.Thread(target=post, args=(charge_core, n)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = check(charge_core)
    assert report.sound
    assert report.entries == 16


TAMPERING = [
    'UPDATE ledger_entries SET lines = \'[["a",101],["b",-101]]\' WHERE seq = 2',
    'UPDATE ledger_entries SET lines = \'[["a",101],["b",-100]]\' WHERE seq = 2',
    "UPDATE ledger_entries SET currency = 'USD' WHERE seq = 2",
    "UPDATE ledger_entries SET intent = 'other' WHERE seq = 2",
    "UPDATE ledger_entries SET at = at + 1 WHERE seq = 2",
    "UPDATE ledger_entries SET tenant = 'b' WHERE seq = 3",
    "UPDATE ledger_entries SET hash = '" + "a" * 64 + "' WHERE seq = 3",
    "UPDATE ledger_postings SET amount = 900 WHERE line = 0",
    "UPDATE ledger_postings SET account = 'thief' WHERE line = 0",
    "UPDATE ledger_postings SET amount = amount * 2",
    "DELETE FROM ledger_postings WHERE line = 1",
    "DELETE FROM ledger_entries WHERE seq = 1",
    "DELETE FROM ledger_entries WHERE seq = 2",
    "DELETE FROM ledger_entries WHERE seq = 3",
    "INSERT INTO ledger_postings VALUES ('ghost', 0, 'main', 'a', 'EUR', 5), ('ghost', 1, 'main', 'b', 'EUR', -5)",
]


def disarm(tx: Tx) -> None:
    """Do what the owner of the file or schema can do: drop the guards."""
    for trigger in store.TRIGGERS:
        if tx.dialect == "sqlite":
            tx.conn.exec_driver_sql(f"DROP TRIGGER {trigger}")
    if tx.dialect == "postgresql":
        for table in ("ledger_entries", "ledger_postings"):
            tx.conn.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")


class Undo(Exception):
    """Rolls an experiment back."""


def test_tampering_behind_the_guards_is_found_offline(charge_core: Core) -> None:
    heads = [post(charge_core, n) for n in range(1, 4)]
    for sql in TAMPERING:
        seen: list[LedgerReport] = []

        def experiment(tx: Tx, sql: str = sql, seen: list[LedgerReport] = seen) -> None:
            disarm(tx)
            if tx.dialect == "sqlite":
                tx.conn.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
            tx.conn.exec_driver_sql(sql)
            seen.append(verify(tx, known_heads=heads[-1:]))
            raise Undo

        with pytest.raises(Undo):
            charge_core.db.write_sync(experiment)
        assert not seen[0].sound, sql
    assert check(charge_core, *heads).sound


def test_a_chain_recomputed_whole_is_caught_by_the_head_recorded_elsewhere(charge_core: Core) -> None:
    heads = [post(charge_core, n) for n in range(1, 4)]

    def rewrite(tx: Tx) -> None:
        disarm(tx)
        for table in ("ledger_postings", "ledger_entries"):
            tx.conn.exec_driver_sql(f"DELETE FROM {table}")
        if tx.dialect == "postgresql":
            for table in ("ledger_entries", "ledger_postings"):
                tx.conn.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER ALL")

    charge_core.db.write_sync(rewrite)
    for number in range(1, 4):
        head = charge_core.db.write_sync(
            lambda tx, number=number: ledger.append(
                tx, charge_core, tenant="main", kind="captured", intent=f"i{number}", currency="EUR",
                lines=[("a", 1), ("b", -1)],
            )
        )  # fmt: skip
        if charge_core.db.dialect == "sqlite":  # its postings came from a trigger that is gone
            sql = f"INSERT INTO ledger_postings SELECT id, 0, 'main', 'a', 'EUR', 1 FROM ledger_entries WHERE seq = {head.seq}"
            run(charge_core, sql)
            run(charge_core, sql.replace("0, 'main', 'a', 'EUR', 1", "1, 'main', 'b', 'EUR', -1"))
    assert check(charge_core).sound  # alone it cannot know
    assert not check(charge_core, heads[-1]).sound
