"""The examples, built once a run; and the shop as an app to ask."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from redoubt.build.builder import build

from .world import World

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop as it is built; not to be changed."""
    out = tmp_path_factory.mktemp("shop") / "shop"
    build(EXAMPLES / "shop" / "spec.yaml", out)
    return out


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The relay as it is built; not to be changed."""
    out = tmp_path_factory.mktemp("relay") / "relay"
    build(EXAMPLES / "relay" / "spec.yaml", out)
    return out


@pytest.fixture(scope="session")
def initialised(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a shop that was just initialised, to be copied."""
    state = tmp_path_factory.mktemp("initialised") / "state"
    World(shop, state).core.db.close()
    return state


@pytest_asyncio.fixture
async def world(shop: Path, initialised: Path, tmp_path: Path) -> AsyncIterator[World]:
    """The shop, initialised and started over SQLite."""
    shutil.copytree(initialised, tmp_path / "state")
    async with World(shop, tmp_path / "state") as started:
        yield started


@pytest_asyncio.fixture
async def any_world(shop: Path, tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The shop over each database."""
    async with World(shop, tmp_path / "state", database_url) as started:
        yield started
