"""Fixtures of authorization's tests: the world that lists are asked about, on both databases at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.authz.filter import world
from tests.support.postgres import fresh_database


@pytest.fixture
def both_databases(tmp_path: Path, postgres_url: str) -> Iterator[list[sa.Connection]]:
    """Connections to SQLite and to PostgreSQL, each with the world's tables."""
    with ExitStack() as stack:
        urls = [f"sqlite:///{tmp_path / 'world.db'}", stack.enter_context(fresh_database(postgres_url))]
        found = []
        for url in urls:
            engine = sa.create_engine(url)
            stack.callback(engine.dispose)
            found.append(stack.enter_context(engine.connect()))
            world.metadata.create_all(found[-1])
        yield found
