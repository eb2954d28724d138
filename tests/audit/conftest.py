"""A core for tests of what is computed, not stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database
from tests.support.core import make_core


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    """Return a core whose database nobody asks."""
    home = tmp_path_factory.mktemp("plain")
    db = Database(f"sqlite:///{home / 'idle.db'}")
    yield make_core(db, ManualClock(), home / "home")
    db.close()
