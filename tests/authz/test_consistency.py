"""Consistency tokens, and what a process that follows the policies may say while faults rain on it."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from redoubt.authz import head as head_module
from redoubt.authz.consistency import Position, position_of, token_of
from redoubt.authz.errors import Behind, ConsistencyRefused
from redoubt.authz.head import CURRENT, PolicyHead
from redoubt.authz.models import AuthzRequest, Caller, Entity, user_uid
from redoubt.authz.roles import Roles
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from tests.support.core import make_core

from .gate.world import begin, widened

SUPPORT = Caller(user_id="s", roles=frozenset({"support"}), step_up=True)
ORDER = Entity("Order", "o", {"tenant": "main", "owner": user_uid("u"), "state": "draft"})
UPDATE = AuthzRequest.of(SUPPORT.principal(), "Order.update", ORDER, {"risk": 0, "step_up": True})


def now(core: Core, tenant: str = "main") -> Position:
    return position_of(core, core.db.read_sync(lambda tx: token_of(tx, core, tenant)))


def test_every_change_of_policies_and_roles_moves_the_clock(core: Core) -> None:
    assert now(core) == Position("main", 0)
    begin(core)
    roles, seen = Roles(core), [now(core).seq]

    def change(fn: Any) -> None:
        core.db.write_sync(fn)
        seen.append(now(core).seq)

    change(lambda tx: roles.assign(tx, "main", "u", "customer", "test"))
    change(lambda tx: roles.assign(tx, "main", "u", "support", "test"))
    change(lambda tx: roles.revoke(tx, "main", "u", "support", "test"))
    widened(core)
    seen.append(now(core).seq)
    assert all(later > earlier for earlier, later in zip(seen, seen[1:], strict=False)), seen
    same = now(core)
    core.db.write_sync(lambda tx: roles.assign(tx, "acme", "u", "customer", "test"))
    assert (now(core), now(core, "acme").seq) == (same, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE authz_clock SET seq = seq - 1",
        "UPDATE authz_clock SET seq = seq",
        "UPDATE authz_clock SET tenant = 'x'",
        "DELETE FROM authz_clock",
    ],
)
def test_the_database_lets_the_clock_go_forward_only(core: Core, statement: str) -> None:
    begin(core)
    with pytest.raises(DBAPIError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(statement)))


def test_a_token_that_we_did_not_make_is_refused(core: Core, clock: ManualClock, tmp_path: Path) -> None:
    begin(core)
    token = core.db.read_sync(lambda tx: token_of(tx, core, "main"))
    other = make_core(core.db, clock, tmp_path / "other")
    foreign = core.db.read_sync(lambda tx: token_of(tx, other, "main"))
    version, seq, tenant, tag = token.split(".")
    for forged in (
        "", "x", "...", token[:-1], token + "0", f"1.{int(seq) + 1}.{tenant}.{tag}", f"1.{seq}.other.{tag}",
        f"2.{seq}.{tenant}.{tag}", foreign, "ä" * 20, "1" * 5000, f"{version}.{seq}.{tenant}.",
    ):  # fmt: skip
        with pytest.raises(ConsistencyRefused):
            position_of(core, forged)
    assert position_of(core, token) == Position("main", int(seq))


async def test_who_asks_for_their_own_write_is_answered_by_it_at_once(core: Core, clock: ManualClock) -> None:
    begin(core)
    follower = PolicyHead(core)
    assert not (await follower.current()).decide(UPDATE).allowed
    widened(core)
    assert not (await follower.current()).decide(UPDATE).allowed, (
        "it looked a moment ago, and time stands still"
    )
    clock.advance(timedelta(microseconds=1))
    await follower.at_least(now(core))
    assert (await follower.current()).decide(UPDATE).allowed


async def test_a_replica_that_lags_refuses(core: Core) -> None:
    begin(core)
    follower = PolicyHead(core)
    position = now(core)
    with pytest.raises(Behind):
        await follower.at_least(Position(position.tenant, position.seq + 1))
    with pytest.raises(Behind):
        await follower.at_least(Position("another tenant", 1))


async def test_a_database_that_fails_or_hangs_shows_nothing(
    core: Core, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin(core)
    follower = PolicyHead(core)
    widened(core)
    assert (await follower.current()).decide(UPDATE).allowed
    monkeypatch.setattr(head_module, "PATIENCE", 0.05)

    async def hang(_fn: Any) -> Any:
        await asyncio.sleep(3600)

    async def fail(_fn: Any) -> Any:
        raise OSError("gone")

    for broken in (hang, fail):
        with monkeypatch.context() as patch:
            patch.setattr(core.db, "read", broken)
            clock.advance(timedelta(seconds=CURRENT + 0.01))
            caplog.clear()
            for _ in range(3):
                assert not (await follower.current()).decide(UPDATE).allowed
            assert caplog.text.count("cannot be read") == 1, "once an outage, not once a question"
            with pytest.raises(Behind):
                await follower.at_least(Position("main", 0))
        assert (await follower.current()).decide(UPDATE).allowed


class Weather:
    """A database as a follower sees it: what is stored is allowed or not, and reads are slow, fail, or answer."""

    def __init__(self, core: Core, clock: ManualClock, random_: random.Random, faults: bool) -> None:
        self.follower = PolicyHead(core)
        self.clock, self.random, self.faults = clock, random_, faults
        self.allowed, self.seq = False, 0
        self.changes: list[tuple[float, bool]] = [(float("-inf"), False)]

    def change(self) -> None:
        self.allowed, self.seq = not self.allowed, self.seq + 1
        self.changes.append((self.clock.monotonic(), self.allowed))

    async def read(self, _fn: Any) -> Any:
        found = {"main": (self.allowed, self.seq)}
        fate = self.random.random() if self.faults else 1.0
        if fate < 0.25:
            raise OSError("gone")
        if fate < 0.5:
            self.clock.advance(timedelta(milliseconds=self.random.choice([1, 50, 249, 251, 3000])))
            if self.random.random() < 0.5:
                self.change()  # while the answer is on its way
        return found, {"main": self.seq}

    def was_allowed_since(self, moment: float) -> bool:
        """Say whether an allow was right at any time from `moment` on, that very moment included."""
        moment -= 1e-9  # what time sums to in floats
        held = [allowed for at, allowed in self.changes if at <= moment][-1]
        return held or any(allowed for at, allowed in self.changes if at > moment)


async def storms(core: Core, clock: ManualClock, runs: int, *, faults: bool) -> tuple[int, int]:
    """Return how many allows there were in `runs` runs, and how many were wrong."""
    allows = wrong = 0
    for run in range(runs):
        weather = Weather(core, clock, random.Random(run), faults)  # noqa: S311 - a seeded campaign
        follower = weather.follower
        follower._core = _Reading(core, weather)  # type: ignore[assignment]
        follower._of = lambda tenant, follower=follower: follower._loaded.get(tenant, (False, 0))  # type: ignore[method-assign]
        for _ in range(weather.random.randrange(3, 12)):
            what = weather.random.random()
            if what < 0.3:
                weather.change()
            elif what < 0.6:
                clock.advance(
                    timedelta(milliseconds=weather.random.choice([1, 100, 200, 250, 251, 1000, 6000]))
                )
            elif what < 0.7:
                try:
                    await follower.refresh()
                except OSError:
                    continue
            else:
                asked = clock.monotonic()
                answer: Any = await follower.current()
                if isinstance(answer, tuple) and answer[0]:
                    allows += 1
                    wrong += not weather.was_allowed_since(asked - CURRENT)
        clock.advance(timedelta(seconds=5))  # the faults end: within five seconds all is as stored
        weather.faults = False
        settled: Any = await follower.current()
        wrong += not isinstance(settled, tuple) or settled[0] is not weather.allowed
    return allows, wrong


class _Reading:
    """A core whose database is the weather."""

    def __init__(self, core: Core, weather: Weather) -> None:
        self.clock, self.db = core.clock, weather


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_fault_makes_an_old_allow(core: Core, clock: ManualClock) -> None:
    allows, wrong = await storms(core, clock, 1_000, faults=True)
    assert allows > 300
    assert wrong == 0
    allows, wrong = await storms(core, clock, 300, faults=False)
    assert (allows > 100, wrong) == (True, 0), "without a fault it does allow"


@pytest.mark.soak
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_hundred_thousand_storms_make_no_old_allow(core: Core, clock: ManualClock) -> None:
    allows, wrong = await storms(core, clock, 100_000, faults=True)
    print(f"100,000 runs with faults, {allows:,} allows, {wrong} wrong")
    assert allows > 50_000
    assert wrong == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_follower_without_its_bound_is_caught(
    core: Core, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_module, "CURRENT", 0.4)
    assert (await storms(core, clock, 1_000, faults=True))[1] > 0
