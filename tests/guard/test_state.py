"""Random histories of requests, decisions, kills and time against a model that is too simple to be wrong."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redoubt.audit import DOMAIN as AUDIT
from redoubt.audit import Actor
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, migrate
from redoubt.guard import DOMAIN as GUARD
from redoubt.guard import Approval, SwitchBoard
from redoubt.guard.errors import ApprovalError, GuardError, Killed
from redoubt.guard.switches import kill, request_enable
from tests.support.core import make_core

from .people import Counter, People, desk

PEOPLE = ("alice", "bob", "carol")
CAPABILITIES = ("login", "payments")
person = st.sampled_from(PEOPLE)
capability = st.sampled_from(CAPABILITIES)
pick = st.integers(min_value=0, max_value=10_000)


class Guarded(RuleBasedStateMachine):
    """What the guard allows, it allows in the model, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        home = Path(self.folder.name)
        self.clock = ManualClock()
        self.db = Database(f"sqlite:///{home / 'app.db'}")
        migrate(self.db, [AUDIT, GUARD])
        self.core = make_core(self.db, self.clock, home / "home")
        self.people, self.counter = People(*PEOPLE), Counter()
        self.approvals = desk(self.core, self.people, self.counter)
        self.board = SwitchBoard(self.core)
        self.asked: list[Approval] = []
        self.decided: dict[str, str] = {}
        self.versions = dict.fromkeys(CAPABILITIES, 0)
        self.killed: set[str] = set()
        self.effects: list[str] = []

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()

    @rule(who=person, minutes=st.integers(1, 120))
    def ask_refund(self, who: str, minutes: int) -> None:
        expires = timedelta(minutes=minutes)
        self.asked.append(
            self.db.write_sync(
                lambda tx: self.approvals.create(
                    tx, "payments.refund", {"a": 1}, requester=who, ticket="T", expires=expires
                )
            )
        )

    @rule(what=capability)
    def kill(self, what: str) -> None:
        by = Actor(kind="operator", id="alice")
        self.db.write_sync(lambda tx: kill(tx, self.core, what, reason="r", by=by))
        self.killed.add(what)
        self.versions[what] += 1

    @rule(what=capability, who=person)
    def ask_enable(self, what: str, who: str) -> None:
        try:
            asked = self.db.write_sync(
                lambda tx: request_enable(
                    tx, self.approvals, what, requester=who, ticket="T", expires=timedelta(hours=1)
                )
            )
        except GuardError:
            assert what not in self.killed
        else:
            assert what in self.killed
            self.asked.append(asked)

    @precondition(lambda self: self.asked)
    @rule(which=pick, who=person, signer=person, over=pick)
    def approve(self, which: int, who: str, signer: str, over: int) -> None:
        asked = self.asked[which % len(self.asked)]
        signed = self.asked[over % len(self.asked)] if over % 3 == 0 else asked
        allowed = (
            asked.id not in self.decided
            and self.clock.now() < asked.expires_at
            and who != asked.requester
            and signer == who
            and signed.id == asked.id
        )
        payload = asked.payload
        if asked.kind == "switch.enable":
            what = payload["capability"]
            allowed = allowed and what in self.killed and payload["version"] == self.versions[what]
        assertion = self.people.sign(signer, signed.challenge)
        try:
            self.db.write_sync(lambda tx: self.approvals.approve(tx, asked.id, who, assertion))
        except ApprovalError:
            assert not allowed
            return
        assert allowed
        self.decided[asked.id] = "approved"
        if asked.kind == "switch.enable":
            self.killed.discard(payload["capability"])
            self.versions[payload["capability"]] += 1
        else:
            self.effects.append(asked.id)

    @precondition(lambda self: self.asked)
    @rule(which=pick, who=person)
    def reject(self, which: int, who: str) -> None:
        asked = self.asked[which % len(self.asked)]
        try:
            self.db.write_sync(lambda tx: self.approvals.reject(tx, asked.id, who, "no"))
        except ApprovalError:
            assert asked.id in self.decided
        else:
            assert asked.id not in self.decided
            self.decided[asked.id] = "rejected"

    @rule(minutes=st.integers(1, 90))
    def wait(self, minutes: int) -> None:
        self.clock.advance(timedelta(minutes=minutes))

    @invariant()
    def effects_are_exactly_the_approved(self) -> None:
        assert [done[0].id for done in self.counter.seen] == self.effects

    @invariant()
    def the_board_shows_exactly_what_is_killed(self) -> None:
        self.board.refresh_sync()
        for what in CAPABILITIES:
            try:
                self.board.check(what, money=True)
            except Killed:
                assert what in self.killed
            else:
                assert what not in self.killed


@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestGuarded(Guarded.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
