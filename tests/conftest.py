"""Fixtures shared by all tests: real databases on SQLite and PostgreSQL, and a core over them."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, Domain, migrate
from redoubt.core.jobs import DOMAIN as CORE_DOMAIN

gc.set_threshold(
    50_000, 20, 50
)  # a run keeps what it imports and collects: looking through it again is a tenth of it

_DOMAINS = ("audit", "guard", "identity", "authz", "webhooks", "payments")


def pytest_collection_finish() -> None:
    """Leave what was collected to no garbage collector."""
    gc.collect()
    gc.freeze()


def all_domains() -> list[Domain]:
    """Every domain of the app's database that the package has."""
    found = [CORE_DOMAIN]
    for name in _DOMAINS:
        module = import_module(f"redoubt.{name}") if find_spec(f"redoubt.{name}") else None
        if module is not None and hasattr(module, "DOMAIN"):
            found.append(module.DOMAIN)
    return found


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server, started for this run on a unix socket; its absence is a failure, never a skip."""
    given = os.environ.get("REDOUBT_TEST_POSTGRES")
    if given:
        yield given
        return
    from tests.support.postgres import Server

    server = Server.start(tmp_path_factory.mktemp("postgres"))
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with every domain's tables, made once; tests work on copies."""
    path = tmp_path_factory.mktemp("template") / "app.db"
    db = Database(f"sqlite:///{path}")
    migrate(db, all_domains())
    db.write_engine.dispose()
    db.close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of a PostgreSQL database with every domain's tables, made once; tests work on copies."""
    from tests.support.postgres import fresh_database

    with fresh_database(postgres_url) as url:
        db = Database(url)
        migrate(db, all_domains())
        db.close()
        yield str(sa.make_url(url).database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of its own: a SQLite file, then a PostgreSQL database; migrated for who asks for `db`."""
    migrated = "db" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "app.db"
        if migrated:
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    from tests.support.postgres import fresh_database

    base = request.getfixturevalue("postgres_url")
    template = request.getfixturevalue("postgres_template") if migrated else None
    with fresh_database(base, template) as url:
        yield url


@pytest.fixture
def empty_db(database_url: str) -> Iterator[Database]:
    """A database with no tables, unless the test asks for `db` as well."""
    db = Database(database_url)
    yield db
    db.close()


@pytest.fixture
def db(empty_db: Database) -> Database:
    """A database with the tables of every domain."""
    return empty_db


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at noon of 1 January 2026 until it is advanced."""
    return ManualClock(datetime(2026, 1, 1, 12, tzinfo=UTC))


@pytest.fixture
def core(db: Database, clock: ManualClock, tmp_path: Path) -> Core:
    """A core over `db` with a clock that stands still."""
    from tests.support.core import make_core

    return make_core(db, clock, tmp_path / "home")
