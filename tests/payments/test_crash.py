"""Crashes at every effect: the process dies before or after each write and each provider call, then starts anew.

What counts is counted at the provider: at most one charge and one refund, and every operation comes to an end.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve

from redoubt.audit import DOMAIN as AUDIT
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, Tx, migrate
from redoubt.core.ids import SystemIds
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.payments.charge import DOMAIN as CHARGE
from redoubt.payments.charge import store
from redoubt.payments.charge.commands import Command
from redoubt.payments.charge.ledger_verify import verify
from redoubt.payments.charge.models import Intent
from redoubt.payments.charge.provider.port import Created, Found, Provider
from redoubt.payments.charge.service import ChargeService
from tests.payments.support import Account, Charge, Person, Psp, deliver_events, pay, refund, refund_payload
from tests.support.core import make_core

T = TypeVar("T")
APP = "spiffe://redoubt/app"
Plan = tuple[int, str] | None


class Crash(BaseException):
    """The process is gone: no handler of the product may catch this."""


class Faults:
    """Counts effects and kills the process before or after the planned one."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.count, self.names = plan, 0, list[str]()

    async def around(self, name: str, effect: Callable[[], Awaitable[T]]) -> T:
        number, self.count = self.count, self.count + 1
        self.names.append(name)
        if self.plan == (number, "before"):
            raise Crash
        result = await effect()
        if self.plan == (number, "after"):
            raise Crash
        return result


class CrashingDatabase:
    def __init__(self, db: Database, faults: Faults) -> None:
        self._db, self._faults = db, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        return await self._faults.around("write", lambda: self._db.write(fn))


class CrashingProvider:
    def __init__(self, provider: Provider, faults: Faults) -> None:
        self._provider, self._faults = provider, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def create(self, intent: Intent) -> Created:
        return await self._faults.around("create", lambda: self._provider.create(intent))

    async def look_up(self, intent: Intent) -> Found:
        return await self._faults.around("look-up", lambda: self._provider.look_up(intent))


class World:
    """One run: a database of its own, an account of its own, and lives of the process one after the other."""

    def __init__(self, core: Core, psp: Psp, mode: str, honours: bool) -> None:
        self.core, self.mode = core, mode
        self.account = Account(psp)
        self.account.set(refund_ceiling=False)
        self.charge = Charge(core, self.account, honours=honours)
        self.bob = Person("bob")
        self.refund: Command | None = None

    async def setup(self) -> None:
        async with self.charge as service:
            await service.command(self.bob.enrolment(), APP)
        self.core.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]

    async def life(self, plan: Plan) -> Faults:
        """Run the whole story from its beginning, as clients that were told nothing would; stop at the crash."""
        faults = Faults(plan)
        core = evolve(self.core, db=CrashingDatabase(self.core.db, faults))
        service = self.charge.open(core)
        service.resolver._provider = CrashingProvider(service.provider, faults)  # type: ignore[assignment]
        try:
            await self.story(service)
        except Crash:
            self.core.clock.advance(timedelta(seconds=5))  # type: ignore[attr-defined]
        finally:
            assert self.charge.http is not None
            await self.charge.http.aclose()
        return faults

    async def story(self, service: ChargeService) -> None:
        await service.command(pay(mode=self.mode), APP)
        await self.wait(service, "pay-1", pays=self.mode == "checkout")
        await deliver_events(service, self.account)
        payment = self.intent("pay-1")
        if payment is None or payment.state != "succeeded" or payment.provider_payment is None:
            return
        if self.refund is None:
            self.refund = refund(refund_payload(self.core, payment.provider_payment, 2000), self.bob)
        await service.command(self.refund, APP)
        await self.wait(service, "ref-1")
        await deliver_events(service, self.account)

    async def wait(self, service: ChargeService, op: str, *, pays: bool = False) -> None:
        for _ in range(6):
            self.core.clock.advance(timedelta(minutes=4))  # type: ignore[attr-defined]
            await service.resolver.run_due()
            found = self.intent(op)
            if (
                pays
                and found is not None
                and found.provider_object
                and not self.account.objects("payment_intent")
            ):
                self.account.control("/_pay", session=found.provider_object)
            if found is not None and found.terminal:
                return

    def intent(self, op: str) -> Intent | None:
        return self.core.db.read_sync(lambda tx: store.intent_by(tx, store.intents.c.op == op))

    def judge(self, *, all_done: bool) -> None:
        payments = self.account.objects("payment_intent")
        refunds = self.account.objects("refund")
        assert len(payments) <= 1, "charged twice"
        assert len(refunds) <= 1, "refunded twice"
        assert len(self.account.objects("checkout.session")) <= 1 or not self.charge.honours
        payment, back = self.intent("pay-1"), self.intent("ref-1")
        assert payment is not None
        if all_done:
            assert payment.state == "succeeded"
            assert back is not None
            assert back.state == "succeeded"
        for intent, made in ((payment, payments), (back, refunds)):
            if intent is None:
                continue
            assert intent.terminal or intent.paged_at is not None, f"{intent.op} came to no end"
            assert (intent.state == "succeeded") == bool(made) or not intent.terminal
        assert payment.captured == (5000 if payment.state == "succeeded" else 0)
        assert payment.refunded == sum(item["amount"] for item in refunds) or (
            back is not None and not back.terminal
        )
        report = self.core.db.read_sync(verify)
        assert report.sound, report.faults


@pytest.fixture
def core(template: Path) -> Iterator[Core]:
    """Settings, keys and redactor for every run; each has its own copy of the database."""
    db = Database(f"sqlite:///{template}")
    yield make_core(db, ManualClock(), template.parent)
    db.close()


@pytest.fixture
def template(tmp_path: Path) -> Path:
    db = Database(f"sqlite:///{tmp_path / 'template.db'}")
    migrate(db, [CORE, AUDIT, CHARGE])
    db.write_sync(lambda tx: None)
    db.close()
    return tmp_path / "template.db"


async def run(
    core: Core,
    template: Path,
    psp: Psp,
    number: int,
    mode: str,
    honours: bool,
    plans: list[Plan],
    outage: Any = None,
) -> list[Faults]:
    folder = template.parent / f"run-{number}"
    folder.mkdir()
    for suffix in ("", "-wal"):
        source = template.with_name(template.name + suffix)
        if source.exists():
            shutil.copy(source, folder / f"charge.db{suffix}")
    db = Database(f"sqlite:///{folder / 'charge.db'}")
    try:
        clock = ManualClock()
        world = World(evolve(core, db=db, clock=clock, ids=SystemIds(clock)), psp, mode, honours)
        await world.setup()
        if outage is not None:
            world.account.fault(*outage)
        lives = [await world.life(plan) for plan in plans]
        lives.append(await world.life(None))
        world.judge(all_done=honours)
        return lives
    finally:
        db.close()


@pytest.mark.parametrize(("mode", "honours"), [("intent", True), ("intent", False), ("checkout", True)])
async def test_every_single_crash(core: Core, template: Path, psp: Psp, mode: str, honours: bool) -> None:
    (clean,) = await run(core, template, psp, 0, mode, honours, [])
    assert {"write", "create"} <= set(clean.names)
    number = 0
    for effect in range(clean.count):
        for when in ("before", "after"):
            number += 1
            await run(core, template, psp, number, mode, honours, [(effect, when)])
    assert number >= 16


async def test_sampled_pairs_of_crashes_with_an_outage(core: Core, template: Path, psp: Psp) -> None:
    rng = random.Random(20260101)
    for number in range(16):
        mode, honours = rng.choice([("intent", True), ("intent", False), ("checkout", True)])
        plans: list[Plan] = [(rng.randrange(10), rng.choice(["before", "after"])) for _ in range(2)]
        where = rng.choice(["POST /v1/payment_intents", "POST /v1/checkout", "POST /v1/refunds", "GET /v1/"])
        outage = (where, rng.choice(["before", "after"]), rng.choice(["drop", 500, 409, 429]))
        await run(core, template, psp, number, mode, honours, plans, outage)
