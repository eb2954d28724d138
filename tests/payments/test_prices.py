"""Prices by themselves: the dry run as arithmetic, and one transaction from the approval to the price that counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from redoubt.audit import Actor
from redoubt.audit.store import entries
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Tx
from redoubt.guard import Approvals, Kinds
from redoubt.guard.errors import ApprovalExpired, ApprovalStale, AssertionRefused, SelfApproval
from redoubt.payments.errors import PriceConflict, PriceStale
from redoubt.payments.prices import PriceKey, PriceProposal, Prices, RecordedOrder, Window, set_first, store
from redoubt.payments.prices.rehearsal import TOTAL_MAX, rehearse
from tests.guard.people import People

KEY = PriceKey("main", "Product", "price", "row-1")
WINDOW = Window(30, 100)


class Died(BaseException):
    """The process is gone."""


@define
class Shelf:
    """The rows that have prices, kept in memory; `broken` is what happens when a price is put."""

    placed: list[RecordedOrder] = field(factory=list)
    amounts: dict[PriceKey, int] = field(factory=dict)
    broken: BaseException | None = None

    def orders(self, tx: Tx, key: PriceKey, since: datetime, most: int) -> list[RecordedOrder]:
        return [one for one in self.placed if one.at >= since][:most]

    def put(self, tx: Tx, key: PriceKey, amount: int) -> None:
        if self.broken is not None:
            raise self.broken
        tx.after_commit(lambda: self.amounts.update({key: amount}))


@define(slots=False)
class Desk:
    """Prices over a database, with alice who asks and bob who approves."""

    core: Core
    shelf: Shelf = field(factory=Shelf)
    people: People = field(factory=lambda: People("alice", "bob"))

    def __attrs_post_init__(self) -> None:
        self.prices = Prices(self.core, self.shelf)
        self.approvals = Approvals(self.core, Kinds(self.prices.kind(lambda *_: True)), self.people)
        self.core.db.write_sync(lambda tx: set_first(tx, self.core, KEY, 1200, "EUR", Actor("user", "alice")))

    def propose(self, amount: int, by: str = "alice") -> PriceProposal:
        evidence = self.core.db.read_sync(lambda tx: self.prices.rehearse(tx, KEY, amount))
        return self.core.db.write_sync(
            lambda tx: self.prices.propose(tx, self.approvals, KEY, evidence, author=by, reason="T-1")
        )

    async def approve(self, proposal: PriceProposal, by: str = "bob", signed: Any = None) -> Any:
        wanted = proposal.approval_id or ""
        approval = self.core.db.read_sync(lambda tx: self.approvals.get(tx, wanted))
        assertion = self.people.sign(by, approval.challenge if signed is None else signed)
        return await self.approvals.decide(wanted, by, assertion)

    def counts(self) -> tuple[int, int | None]:
        head = self.core.db.read_sync(lambda tx: store.head(tx, KEY))
        assert head is not None
        return head.version, head.amount

    def state(self, proposal: PriceProposal) -> str:
        return self.core.db.read_sync(lambda tx: self.approvals.get(tx, proposal.approval_id or "")).state

    def log(self) -> list[str]:
        query = sa.select(entries.c.action, entries.c.outcome).order_by(entries.c.id)
        rows = self.core.db.read_sync(lambda tx: list(tx.execute(query)))
        return [f"{row.action} {row.outcome}" for row in rows]


@pytest.fixture
def desk(core: Core) -> Desk:
    return Desk(core)


def order(
    core: Core, quantity: int, rest: int = 0, *, days: int = 0, most: int | None = None
) -> RecordedOrder:
    at = core.clock.now() - timedelta(days=days)
    total = rest + quantity * 1200
    return RecordedOrder("Order", core.ids.uuid7(), at, "placed", quantity, rest, total, most)


async def test_what_is_approved_counts_with_its_row_and_its_events(desk: Desk) -> None:
    proposal = desk.propose(1500)
    assert (desk.counts(), desk.shelf.amounts) == ((1, 1200), {})
    await desk.approve(proposal)
    assert (desk.counts(), desk.shelf.amounts) == ((2, 1500), {KEY: 1500})
    assert desk.log() == [
        "payments.price.set success", "approval.create success", "payments.price.proposed success",
        "payments.price.changed success", "approval.approve success",
    ]  # fmt: skip


@pytest.mark.parametrize("broken", [Died(), RuntimeError("the disk is full"), PriceStale("gone.")])
async def test_what_breaks_on_the_way_leaves_nothing_behind(desk: Desk, broken: BaseException) -> None:
    proposal = desk.propose(1500)
    desk.shelf.broken = broken
    with pytest.raises((Died, RuntimeError, ApprovalStale)):
        await desk.approve(proposal)
    assert (desk.counts(), desk.state(proposal), desk.shelf.amounts) == ((1, 1200), "pending", {})
    assert "payments.price.changed success" not in desk.log()
    desk.shelf.broken = None
    await desk.approve(proposal)
    assert (desk.counts(), desk.shelf.amounts) == ((2, 1500), {KEY: 1500})


async def test_only_a_second_person_over_exactly_this_in_time(desk: Desk, clock: ManualClock) -> None:
    proposal, other = desk.propose(1500), desk.propose(1600)
    with pytest.raises(SelfApproval):
        await desk.approve(proposal, "alice")
    elsewhere = desk.core.db.read_sync(lambda tx: desk.approvals.get(tx, other.approval_id or "")).challenge
    with pytest.raises(AssertionRefused):
        await desk.approve(proposal, signed=elsewhere)
    clock.advance(timedelta(hours=24))
    with pytest.raises(ApprovalExpired):
        await desk.approve(proposal)
    assert desk.counts() == (1, 1200)
    waiting = desk.core.db.read_sync(lambda tx: store.waiting(tx, "main", clock.now()))
    assert waiting == [], "what expired waits no longer"


async def test_what_was_rehearsed_over_another_price_is_stale(desk: Desk) -> None:
    evidence = desk.core.db.read_sync(lambda tx: desk.prices.rehearse(tx, KEY, 1700))
    late = desk.propose(1600)
    await desk.approve(desk.propose(1500))
    with pytest.raises(ApprovalStale):
        await desk.approve(late)
    with pytest.raises(PriceStale):
        desk.core.db.write_sync(
            lambda tx: desk.prices.propose(tx, desk.approvals, KEY, evidence, author="alice", reason="T-1")
        )
    for amount in (1500, -1, True, 1.5, 10**13):
        with pytest.raises(PriceConflict):
            desk.propose(amount)  # type: ignore[arg-type]
    assert desk.counts() == (2, 1500)


async def test_an_approver_signs_the_dry_run_that_was_shown(desk: Desk) -> None:
    desk.shelf.placed = [order(desk.core, 2)]
    proposal = desk.propose(1500)
    approval = desk.core.db.read_sync(lambda tx: desk.approvals.get(tx, proposal.approval_id or ""))
    assert approval.dry_run == proposal.evidence
    assert approval.dry_run["changes"][0]["proposed"] == 3000
    desk.shelf.placed = []  # what is recorded later does not change what was shown
    await desk.approve(proposal)
    assert desk.counts() == (2, 1500)


def test_only_orders_of_the_last_days_are_replayed(desk: Desk) -> None:
    desk.shelf.placed = [order(desk.core, 1), order(desk.core, 1, days=89), order(desk.core, 1, days=91)]
    assert desk.propose(1300).evidence["orders"] == 2


def test_each_cap_counts_those_that_would_cross_it(core: Core) -> None:
    orders = [
        order(core, 1, 300), order(core, 2, most=2500), order(core, 3), order(core, 0, 9000),
    ]  # fmt: skip
    found = rehearse(orders, 1200, 1300, "EUR", caps={"per_payment": 3600}, window=WINDOW)
    assert {one["cap"]: (one["limit"], one["orders"]) for one in found["caps"]} == {
        "per_payment": (3600, 1), TOTAL_MAX: (None, 1),
    }  # fmt: skip
    assert [one["crosses"] for one in found["changes"]] == [[], [TOTAL_MAX], ["per_payment"]]
    assert found["unchanged"] == [orders[3].id]


@given(
    placed=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10**9)), max_size=30),
    old=st.one_of(st.none(), st.integers(0, 10**9)),
    new=st.integers(0, 10**9),
)
def test_every_order_is_shown_once_and_the_sum_is_theirs(
    placed: list[tuple[int, int]], old: int | None, new: int
) -> None:
    at = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    orders = [
        RecordedOrder("Order", str(number), at, None, quantity, rest, rest)
        for number, (quantity, rest) in enumerate(placed)
    ]
    found = rehearse(orders, old, new, "EUR", caps={}, window=WINDOW)
    changed = [one["order"] for one in found["changes"]]
    assert sorted([*changed, *found["unchanged"]], key=int) == [one.id for one in orders]
    assert set(changed) == {one.id for one in orders if one.quantity and new != (old or 0)}
    assert found["sum"]["difference"] == sum(one.quantity for one in orders) * (new - (old or 0))
    assert found["sum"]["proposed"] - found["sum"]["now"] == found["sum"]["difference"]
    assert (found["orders"], found["affected"], found["unaffected"]) == (
        len(orders), len(changed), len(found["unchanged"]),
    )  # fmt: skip
