"""A running console over a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database
from tests.console.world import World
from tests.support.core import make_core

_SETTINGS = """\
[app]
name = "test"
profile = "development"
base_url = "https://test.localhost:8443"

[charge]
webhook_secrets = ["file:webhook.secret"]
"""


@pytest.fixture
def core(db: Database, clock: ManualClock, tmp_path: Path) -> Core:
    (tmp_path / "home").mkdir()
    secret = tmp_path / "home" / "webhook.secret"
    secret.touch(0o600)
    secret.write_text("whsec_" + "x" * 32)
    return make_core(db, clock, tmp_path / "home", _SETTINGS)


@pytest.fixture
async def world(core: Core, clock: ManualClock) -> AsyncIterator[World]:
    made = World(core, clock)
    await made.guard.start()
    yield made
    await made.guard.stop()
