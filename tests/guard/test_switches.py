"""Kill switches: one kills, two re-enable, everybody follows, and money waits when nobody can know."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from attrs import evolve

from redoubt.audit import Actor
from redoubt.audit import store as audit_store
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, Tx
from redoubt.guard import Approval, Approvals, SwitchBoard
from redoubt.guard.errors import (
    AlreadyDecided,
    ApprovalStale,
    Killed,
    SelfApproval,
    SwitchesStale,
    SwitchRefused,
)
from redoubt.guard.switches import kill, request_enable, status

from .people import Counter, People, desk

OPERATOR = Actor(kind="operator", id="alice")


@pytest.fixture
def people() -> People:
    return People("alice", "bob")


@pytest.fixture
def approvals(core: Core, people: People) -> Approvals:
    return desk(core, people, Counter())


def shut(core: Core, capability: str = "payments", tenant: str = "main") -> None:
    core.db.write_sync(lambda tx: kill(tx, core, capability, reason="a drill", by=OPERATOR, tenant=tenant))


def ask(core: Core, approvals: Approvals, capability: str = "payments", tenant: str = "main") -> Approval:
    return core.db.write_sync(
        lambda tx: request_enable(tx, approvals, capability, requester="alice", ticket="T-1", tenant=tenant)
    )


def lift(core: Core, approvals: Approvals, asked: Approval, people: People, who: str = "bob") -> None:
    assertion = people.sign(who, asked.challenge)
    core.db.write_sync(lambda tx: approvals.approve(tx, asked.id, who, assertion))


def live(board: SwitchBoard, capability: str, tenant: str = "main") -> bool:
    try:
        board.check(capability, tenant)
    except Killed:
        return False
    return True


def test_a_board_that_never_looked_refuses_everything(core: Core) -> None:
    with pytest.raises(SwitchesStale):
        SwitchBoard(core).check("reads")


@pytest.mark.parametrize(
    ("killed", "tenant", "stopped", "spared"),
    [
        ("payments", "main", [("payments", "main")], [("payments", "other"), ("refunds", "main")]),
        ("payments", "*", [("payments", "main"), ("payments", "other")], [("refunds", "main")]),
        ("all", "main", [("payments", "main"), ("login", "main")], [("payments", "other")]),
        ("all", "*", [("payments", "main"), ("login", "other")], []),
    ],
)
def test_a_kill_stops_what_it_names_and_nothing_else(
    core: Core, killed: str, tenant: str, stopped: list[tuple[str, str]], spared: list[tuple[str, str]]
) -> None:
    board = SwitchBoard(core)
    shut(core, killed, tenant)
    board.refresh_sync()
    assert [live(board, *one) for one in stopped] == [False] * len(stopped)
    assert [live(board, *one) for one in spared] == [True] * len(spared)


def test_two_people_set_it_live_again_with_their_audit_trail(
    core: Core, approvals: Approvals, people: People
) -> None:
    board = SwitchBoard(core)
    shut(core)
    asked = ask(core, approvals)
    with pytest.raises(SelfApproval):
        lift(core, approvals, asked, people, "alice")
    board.refresh_sync()
    assert not live(board, "payments")
    lift(core, approvals, asked, people)
    board.refresh_sync()
    assert live(board, "payments")
    table = audit_store.entries
    found = core.db.read_sync(
        lambda tx: list(tx.execute(sa.select(table.c.action, table.c.body).order_by(table.c.id)))
    )
    assert [row.action for row in found] == [
        "switch.kill",
        "approval.create",
        "switch.enable",
        "approval.approve",
    ]
    assert json.loads(found[2].body)["unmapped"] == {"approval": asked.id, "requester": "alice", "version": 2}


def test_an_approval_lifts_only_the_kill_that_it_was_given_for(
    core: Core, approvals: Approvals, people: People
) -> None:
    shut(core)
    asked = ask(core, approvals)
    shut(core)  # killed again, for another reason
    with pytest.raises(ApprovalStale):
        lift(core, approvals, asked, people)
    assert core.db.read_sync(status)[0].killed
    second = ask(core, approvals)
    lift(core, approvals, second, people)
    shut(core)
    with pytest.raises(AlreadyDecided):
        lift(core, approvals, second, people)
    assert core.db.read_sync(status)[0].killed


def test_nothing_is_asked_about_a_switch_that_is_live(core: Core, approvals: Approvals) -> None:
    with pytest.raises(SwitchRefused):
        ask(core, approvals)


@pytest.mark.parametrize(
    ("capability", "tenant", "reason"),
    [("", "main", "r"), ("A;b", "*", "r"), ("login", "", "r"), ("login", "*", " ")],
)
def test_malformed_kills_are_refused(core: Core, capability: str, tenant: str, reason: str) -> None:
    with pytest.raises(SwitchRefused):
        core.db.write_sync(lambda tx: kill(tx, core, capability, reason=reason, by=OPERATOR, tenant=tenant))


LIVE = "UPDATE switches SET state = 'live', version = version + 1, approval_id = {approval} WHERE capability = 'payments'"


@pytest.mark.parametrize(
    "attack",
    [
        LIVE.format(approval="NULL"),
        LIVE.format(approval="'no-such'"),
        LIVE.format(approval="(SELECT id FROM approvals WHERE state = 'pending')"),
        LIVE.format(approval="(SELECT id FROM approvals WHERE state = 'approved')"),  # of another switch
        "UPDATE switches SET capability = 'nothing', version = version + 1 WHERE capability = 'payments'",
        "UPDATE switches SET tenant = 'elsewhere', version = version + 1 WHERE capability = 'payments'",
        "UPDATE switches SET version = version + 2 WHERE capability = 'payments'",
        "DELETE FROM switches",
        "INSERT INTO switches (tenant, capability, state, version, reason, changed_by, changed_at) VALUES ('t', 'c', 'live', 1, '', '', 0)",
        "INSERT INTO switches (tenant, capability, state, version, reason, changed_by, changed_at) VALUES ('t', 'c', 'killed', 7, '', '', 0)",
    ],
)
def test_the_database_sets_nothing_live_without_its_own_approval(
    core: Core, approvals: Approvals, people: People, attack: str
) -> None:
    shut(core)
    ask(core, approvals)
    shut(core, "login")
    lift(core, approvals, ask(core, approvals, "login"), people)
    before = core.db.read_sync(status)
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(attack)))
    assert core.db.read_sync(status) == before


def test_a_used_approval_sets_nothing_live_behind_our_back(
    core: Core, approvals: Approvals, people: People
) -> None:
    shut(core)
    asked = ask(core, approvals)
    lift(core, approvals, asked, people)
    shut(core)
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(LIVE.format(approval=f"'{asked.id}'"))))


def test_a_stale_board_refuses_money_and_lets_reads_live(core: Core, clock: ManualClock) -> None:
    board = SwitchBoard(core)
    board.refresh_sync()
    board.check("payments", money=True)
    clock.advance(timedelta(milliseconds=1001))
    with pytest.raises(SwitchesStale):
        board.check("payments", money=True)
    board.check("reads")


def test_a_stale_board_still_knows_what_was_killed(core: Core, clock: ManualClock) -> None:
    shut(core, "login")
    board = SwitchBoard(core)
    board.refresh_sync()
    clock.advance(timedelta(hours=1))
    with pytest.raises(Killed):
        board.check("login")


def test_a_kill_is_obeyed_in_its_own_process_at_once_and_only_if_it_committed(core: Core) -> None:
    board = SwitchBoard(core)
    board.refresh_sync()

    def fails(tx: object) -> None:
        board.kill(tx, "login", reason="r", by=OPERATOR)  # type: ignore[arg-type]
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        core.db.write_sync(fails)
    board.check("login")
    core.db.write_sync(lambda tx: board.kill(tx, "login", reason="r", by=OPERATOR))
    with pytest.raises(Killed):
        board.check("login")


class Slow:
    """A database whose answers come late: something happens between the reading and the answer, once."""

    def __init__(self, db: Database, meanwhile: Callable[[], None]) -> None:
        self._db, self._meanwhile = db, [meanwhile]

    def read_sync(self, fn: Callable[[Tx], object]) -> object:
        found = self._db.read_sync(fn)
        if self._meanwhile:
            self._meanwhile.pop()()
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


def test_a_slow_look_does_not_undo_what_a_newer_one_found(core: Core, clock: ManualClock) -> None:
    def meanwhile() -> None:
        clock.advance(timedelta(seconds=30))
        shut(core, "login")
        board.refresh_sync()

    board = SwitchBoard(evolve(core, db=Slow(core.db, meanwhile)))
    board.refresh_sync()
    assert not live(board, "login")
    board.check("payments", money=True)  # nor is what is known as old as that look


def test_a_slow_look_does_not_undo_a_kill_of_its_own_process(core: Core) -> None:
    def meanwhile() -> None:  # no time passes: order, not the clock, says what is newer
        core.db.write_sync(lambda tx: board.kill(tx, "login", reason="r", by=OPERATOR))

    board = SwitchBoard(evolve(core, db=Slow(core.db, meanwhile)))
    board.refresh_sync()
    with pytest.raises(Killed) as caught:
        board.check("login")
    assert isinstance(caught.value, SwitchesStale)  # it never looked to the end, so nothing is let through
    board.refresh_sync()
    assert not live(board, "login")
    assert live(board, "reads")


async def test_every_process_follows_and_an_outage_of_the_store_stops_money(
    core: Core, database_url: str, clock: ManualClock
) -> None:
    db = Database(database_url)
    replica = SwitchBoard(Core(core.settings, db, clock, core.ids, core.keys, core.redactor), interval=0.01)
    await replica.start()
    replica.check("payments", money=True)
    await core.db.write(lambda tx: kill(tx, core, "payments", reason="r", by=OPERATOR))
    for _ in range(500):
        if not live(replica, "payments"):
            break
        await asyncio.sleep(0.01)
    assert not live(replica, "payments")
    db.close()  # from now on nobody can look
    clock.advance(timedelta(seconds=2))
    with pytest.raises(SwitchesStale):
        replica.check("refunds", money=True)
    replica.check("reads")
    await replica.stop()
