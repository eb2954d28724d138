"""A world over the database of the test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from redoubt.core.base import Core
from tests.identity.world import World


@pytest.fixture
def world(core: Core) -> World:
    return World(core)


@pytest.fixture
def one_database(sqlite_template: Path, tmp_path: Path) -> str:
    """For modules in which no SQL is at stake: SQLite alone."""
    shutil.copyfile(sqlite_template, tmp_path / "app.db")
    return f"sqlite:///{tmp_path / 'app.db'}"
