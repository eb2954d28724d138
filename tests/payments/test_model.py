"""The money model under random histories: conservation, refunds within captures, ends that are never left."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from redoubt.audit import DOMAIN as AUDIT
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, migrate
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.payments.charge import DOMAIN as CHARGE
from redoubt.payments.charge import ledger, store
from redoubt.payments.charge.ledger_verify import verify
from redoubt.payments.charge.models import TERMINAL, Cap, Intent
from tests.payments.support import Account, Charge, Person, Psp, deliver_events, pay, refund, refund_payload
from tests.support.core import make_core

T = TypeVar("T")
APP = "spiffe://redoubt/app"
CAP = 9_000


class Money(RuleBasedStateMachine):
    psp: Psp

    @initialize(honours=st.booleans())
    def begin(self, honours: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        home = Path(self.folder.name)
        self.db = Database(f"sqlite:///{home / 'charge.db'}")
        migrate(self.db, [CORE, AUDIT, CHARGE])
        self.core = make_core(self.db, ManualClock(), home)
        self.account = Account(self.psp)
        self.account.set(refund_ceiling=False)
        cap = Cap("refund", "tenant", timedelta(days=3650), "EUR", CAP)
        self.charge = Charge(self.core, self.account, honours=honours, caps=(cap,))
        self.service = self.charge.open()
        self.bob = Person("bob")
        self.do(self.service.command(self.bob.enrolment(), APP))
        self.core.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
        self.number = 0
        self.sent: list[Any] = []
        self.ended: dict[str, str] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def intents(self, kind: str) -> list[Intent]:
        rows = self.db.read_sync(
            lambda tx: [dict(row) for row in tx.execute(store.intents.select()).mappings()]
        )
        return [Intent(**row) for row in rows if row["kind"] == kind]

    @rule(amount=st.integers(1, 6000), declined=st.booleans())
    def pays(self, amount: int, declined: bool) -> None:
        self.number += 1
        method = "pm_card_declined" if declined else "pm_card_visa"
        self.sent.append(pay(f"p{self.number}", amount, method=method))
        self.do(self.service.command(self.sent[-1], APP))

    @rule(pick=st.integers(0, 99), amount=st.integers(1, 6000))
    def refunds(self, pick: int, amount: int) -> None:
        payments = [one for one in self.intents("payment") if one.provider_payment]
        if not payments:
            return
        payment = payments[pick % len(payments)]
        self.number += 1
        payload = refund_payload(self.core, str(payment.provider_payment), amount, payment=payment.op)
        self.sent.append(refund(payload, self.bob, f"r{self.number}"))
        self.do(self.service.command(self.sent[-1], APP))

    @rule(pick=st.integers(0, 99))
    def sends_again(self, pick: int) -> None:
        if self.sent:
            self.do(self.service.command(self.sent[pick % len(self.sent)], APP))

    @rule(
        where=st.sampled_from(["POST /v1/payment_intents", "POST /v1/refunds", "GET /v1/"]),
        when=st.sampled_from(["before", "after"]),
        what=st.sampled_from(["drop", 500, 409, 429]),
    )
    def outage(self, where: str, when: str, what: object) -> None:
        self.account.fault(where, when, what)

    @rule()
    def events(self) -> None:
        self.do(deliver_events(self.service, self.account))

    @rule(pick=st.integers(0, 99))
    def a_refund_fails_at_the_provider(self, pick: int) -> None:
        made = [item for item in self.account.objects("refund") if item["status"] == "succeeded"]
        known = {one.provider_object for one in self.intents("refund") if one.terminal}
        open_ones = [item for item in made if item["id"] not in known]
        if open_ones:
            self.account.control("/_refund_fails", refund=open_ones[pick % len(open_ones)]["id"])

    @rule(minutes=st.sampled_from([1, 5, 60, 60 * 25]))
    def time_passes(self, minutes: int) -> None:
        self.core.clock.advance(timedelta(minutes=minutes))  # type: ignore[attr-defined]
        self.do(self.service.resolver.run_due())

    @invariant()
    def money_is_conserved(self) -> None:
        if not hasattr(self, "service"):
            return
        payments, refunds = self.intents("payment"), self.intents("refund")
        for payment in payments:
            own = [one for one in refunds if one.parent == payment.id]
            assert payment.reserved == sum(one.amount for one in own if not one.terminal)
            assert payment.refunded == sum(one.amount for one in own if one.state == "succeeded")
            assert payment.reserved + payment.refunded <= payment.captured
        balances = self.db.read_sync(lambda tx: ledger.balances(tx, "main"))
        captured = sum(one.captured for one in payments)
        refunded = sum(one.refunded for one in payments)
        reserved = sum(one.reserved for one in payments)
        assert balances.get((ledger.CLEARING, "EUR"), 0) == captured - refunded
        assert balances.get((ledger.RESERVED, "EUR"), 0) == -reserved
        assert reserved + refunded <= CAP
        assert sum(balances.values()) == 0
        for one in [*payments, *refunds]:
            if one.op in self.ended:
                assert one.state == self.ended[one.op], "an end was left"
            if one.state in TERMINAL:
                self.ended[one.op] = one.state

    @invariant()
    def the_provider_holds_each_operation_at_most_once(self) -> None:
        if not hasattr(self, "service"):
            return
        for kind in ("payment_intent", "refund"):
            made = [item["metadata"]["redoubt_op"] for item in self.account.objects(kind)]
            assert len(made) == len(set(made))

    def teardown(self) -> None:
        if hasattr(self, "service"):
            report = self.db.read_sync(verify)
            assert report.sound, report.faults
            assert self.charge.http is not None
            self.do(self.charge.http.aclose())
            self.db.close()
            self.loop.close()
            self.folder.cleanup()


@pytest.fixture(scope="module")
def money_machine(psp: Psp) -> type[Money]:
    return type("MoneyOverHttp", (Money,), {"psp": psp})


def test_random_histories_keep_the_money_right(money_machine: type[Money]) -> None:
    case = money_machine.TestCase
    case.settings = settings(
        max_examples=25,
        stateful_step_count=14,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
