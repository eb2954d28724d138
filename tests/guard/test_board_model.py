"""The board of kill switches under looks and kills in any order: what this process killed it forgets by no older look."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from redoubt.audit import Actor
from redoubt.core.clock import ManualClock
from redoubt.guard import Killed, SwitchBoard, switches
from redoubt.guard.models import Switch

NAMES = ("login", "payments", "webhooks.in")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPERATOR = Actor(kind="operator", id="op")


def switch(name: str) -> Switch:
    return Switch("*", name, "killed", 1, "test", "op", NOW, None)


class Board(RuleBasedStateMachine):
    """The store is a set of names; a look reads it at some moment after it began, and answers at some later one."""

    begun: Bundle[tuple[int, int, float]] = Bundle("begun")
    read: Bundle[tuple[tuple[int, int, float], frozenset[str]]] = Bundle("read")

    def __init__(self) -> None:
        super().__init__()
        self.board = SwitchBoard(SimpleNamespace(clock=ManualClock(NOW)))  # type: ignore[arg-type]
        self.store: frozenset[str] = frozenset()
        self.order = 0  # of looks and own kills, as they begin
        self.newest = 0  # what is known comes from the look or kill of this place
        self.expected: frozenset[str] = frozenset()
        self.looked = False

    @rule(target=begun)
    def begin(self) -> tuple[int, int, float]:
        self.order += 1
        return self.order, *self.board._begin()

    @rule(target=read, look=consumes(begun))
    def reads(self, look: tuple[int, int, float]) -> tuple[tuple[int, int, float], frozenset[str]]:
        return look, self.store

    @rule(answer=consumes(read))
    def answers(self, answer: tuple[tuple[int, int, float], frozenset[str]]) -> None:
        (place, number, began), found = answer
        self.board._take([switch(name) for name in found], number, began)
        if place > self.newest:
            self.newest, self.expected, self.looked = place, found, True

    @rule(name=st.sampled_from(NAMES))
    def kill(self, name: str) -> None:
        committed: list[Callable[[], None]] = []
        tx: Any = SimpleNamespace(after_commit=committed.append)
        with patch.object(switches, "kill", lambda *_args, **_kwargs: switch(name)):
            self.board.kill(tx, name, reason="test", by=OPERATOR)
        self.store |= {name}
        for done in committed:
            done()
        self.order += 1
        self.newest, self.expected = self.order, self.expected | {name}

    @rule(name=st.sampled_from(NAMES))
    def another_process_kills(self, name: str) -> None:
        self.store |= {name}

    @rule(name=st.sampled_from(NAMES))
    def two_people_enable(self, name: str) -> None:
        self.store -= {name}

    @invariant()
    def what_is_known_is_the_newest(self) -> None:
        if not self.looked:
            return
        known = set()
        for name in NAMES:
            try:
                self.board.check(name)
            except Killed:
                known.add(name)
        assert known == self.expected


TestBoard = Board.TestCase
TestBoard.settings = settings(max_examples=60, stateful_step_count=16, deadline=None)
