"""Fixtures of the payment tests: a provider process for the run, a charge database and service a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from redoubt.audit import DOMAIN as AUDIT
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, migrate
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.payments.charge import DOMAIN as CHARGE
from redoubt.payments.charge.service import ChargeService
from tests.payments.support import Account, Charge, Psp
from tests.support.core import make_core


@pytest.fixture(scope="session")
def psp() -> Iterator[Psp]:
    process = Psp.start()
    yield process
    process.stop()


@pytest.fixture
def account(psp: Psp) -> Account:
    return Account(psp)


@pytest.fixture
def charge_core(empty_db: Database, clock: ManualClock, tmp_path: Path) -> Core:
    """The charge service's own core, over its own database."""
    migrate(empty_db, [CORE, AUDIT, CHARGE])
    return make_core(empty_db, clock, tmp_path / "charge")


@pytest.fixture
def charge(charge_core: Core, account: Account) -> Charge:
    return Charge(charge_core, account)


@pytest.fixture
async def service(charge: Charge) -> AsyncIterator[ChargeService]:
    async with charge as opened:
        yield opened
