"""The database interface: transactions, group commit, migrations, on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from redoubt.core.db import Command, Database, DatabaseError, MigrationError, Tx, migrate
from redoubt.core.jobs import DOMAIN as CORE_DOMAIN
from tests.conftest import all_domains

metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)


@pytest.fixture
def things_db(empty_db: Database) -> Database:
    empty_db.write_sync(lambda tx: metadata.create_all(tx.conn))
    return empty_db


class Claim(Command[tuple[str, int | None], bool]):
    """First claimant of a key wins."""

    name = "claim"

    def key(self, item: tuple[str, int | None]) -> str:
        return item[0]

    def apply(self, tx: Tx, items: Sequence[tuple[str, int | None]]) -> Sequence[bool]:
        answers = []
        for key, value in items:
            statement = sa.text("INSERT INTO things VALUES (:k, :v) ON CONFLICT DO NOTHING")
            answers.append(tx.execute(statement, {"k": key, "v": value}).rowcount == 1)
        return answers


def count(db: Database) -> int:
    return db.read_sync(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(things)).scalar_one())


def test_a_write_that_raises_leaves_nothing(things_db: Database) -> None:
    called: list[str] = []

    def write(tx: Tx) -> None:
        tx.execute(sa.insert(things), {"key": "a", "value": 1})
        tx.after_commit(lambda: called.append("committed"))
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        things_db.write_sync(write)
    assert count(things_db) == 0
    assert called == []


def test_a_read_cannot_write(things_db: Database) -> None:
    with pytest.raises(DatabaseError if things_db.dialect == "sqlite" else sa.exc.DBAPIError):
        things_db.read_sync(lambda tx: tx.execute(sa.insert(things), {"key": "a", "value": 1}))
    assert count(things_db) == 0


async def test_group_commit_gives_each_caller_its_own_answer(things_db: Database) -> None:
    answers = await asyncio.gather(*(things_db.group.submit(Claim(), (f"k{i % 50}", i)) for i in range(500)))
    assert sum(answers) == 50
    assert count(things_db) == 50


async def test_one_bad_item_spoils_nobody_elses(things_db: Database) -> None:
    items: list[tuple[str, int | None]] = [(f"k{i}", None if i == 13 else i) for i in range(40)]
    answers = await asyncio.gather(
        *(things_db.group.submit(Claim(), item) for item in items), return_exceptions=True
    )
    assert isinstance(answers[13], sa.exc.IntegrityError)
    assert [answer for i, answer in enumerate(answers) if i != 13] == [True] * 39
    assert count(things_db) == 39


def test_writers_of_two_connections_wait_in_line(things_db: Database, database_url: str) -> None:
    other = Database(database_url)
    errors: list[BaseException] = []

    def add(db: Database, prefix: str) -> None:
        try:
            for i in range(50):
                db.write_sync(
                    lambda tx, i=i: tx.execute(sa.insert(things), {"key": f"{prefix}{i}", "value": i})
                )
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=add, args=(db, p)) for db, p in ((things_db, "a"), (other, "b"), (other, "c"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert errors == []
    assert count(things_db) == 150


def test_a_write_inside_a_write_is_refused_on_sqlite(things_db: Database) -> None:
    if things_db.dialect != "sqlite":
        return  # PostgreSQL gives the inner one its own connection
    with pytest.raises(DatabaseError, match="write inside a write"):
        things_db.write_sync(lambda tx: things_db.write_sync(lambda inner: None))


def test_migrating_twice_changes_nothing_and_tables_match_their_declaration(empty_db: Database) -> None:
    domains = all_domains()
    migrate(empty_db, domains)
    migrate(empty_db, domains)

    def columns(tx: Tx) -> None:
        inspector = sa.inspect(tx.conn)
        for domain in domains:
            for table in domain.metadata.tables.values():
                found = {column["name"] for column in inspector.get_columns(table.name)}
                assert found == {column.name for column in table.columns}, table.name
                nullable = {
                    column["name"]: column["nullable"] for column in inspector.get_columns(table.name)
                }
                for column in table.columns:
                    if not column.primary_key:
                        assert nullable[column.name] == column.nullable, f"{table.name}.{column.name}"

    empty_db.read_sync(columns)


def test_a_database_of_a_newer_version_is_refused(empty_db: Database) -> None:
    migrate(empty_db, [CORE_DOMAIN])
    empty_db.write_sync(
        lambda tx: tx.execute(sa.text("UPDATE alembic_version SET version_num = 'core_9999'"))
    )
    with pytest.raises(MigrationError, match="newer version"):
        migrate(empty_db, [CORE_DOMAIN])
