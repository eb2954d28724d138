"""A database with what identity stands on, and a world over it."""

from __future__ import annotations

import pytest

from redoubt import audit, identity
from redoubt.core.base import Core
from redoubt.core.db import Database, migrate
from redoubt.core.jobs import DOMAIN as CORE_DOMAIN
from tests.identity.world import World


@pytest.fixture
def db(empty_db: Database) -> Database:
    migrate(empty_db, [CORE_DOMAIN, audit.DOMAIN, identity.DOMAIN])
    return empty_db


@pytest.fixture
def world(core: Core) -> World:
    return World(core)
