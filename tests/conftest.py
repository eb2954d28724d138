"""Fixtures shared by all tests: real databases on SQLite and PostgreSQL, and a core over them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, Domain, migrate
from redoubt.core.jobs import DOMAIN as CORE_DOMAIN

_DOMAINS = ("audit", "guard", "identity", "authz", "webhooks", "payments")


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


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database: a SQLite file, then a PostgreSQL schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'app.db'}"
        return
    base = request.getfixturevalue("postgres_url")
    from tests.support.postgres import fresh_schema

    with fresh_schema(base) as url:
        yield url


@pytest.fixture
def empty_db(database_url: str) -> Iterator[Database]:
    """A database with no tables."""
    db = Database(database_url)
    yield db
    db.close()


@pytest.fixture
def db(empty_db: Database) -> Database:
    """A database with the tables of every domain."""
    migrate(empty_db, all_domains())
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
