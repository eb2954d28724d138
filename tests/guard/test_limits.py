"""Rate limits: they hold in any window, tell the truth about when to come back, and lock nobody out."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database
from redoubt.guard.errors import LimitsUnavailable
from redoubt.guard.limits import Limiter, Rule, Verdict, account_key, network_of
from redoubt.guard.window import WindowStorage
from tests.support.core import make_core

RULE = Rule("login", 5, 60)


@pytest.fixture
def bare(tmp_path: Path, clock: ManualClock) -> Iterator[Core]:
    db = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    yield make_core(db, clock, tmp_path / "home")
    db.close()


def allowed(verdicts: list[Verdict]) -> int:
    return sum(verdict.allowed for verdict in verdicts)


def test_hits_beyond_the_limit_are_refused_with_a_way_back(bare: Core, clock: ManualClock) -> None:
    limiter = Limiter(bare)
    verdicts = [limiter.hit(RULE, "a") for _ in range(8)]
    assert [v.allowed for v in verdicts] == [True] * 5 + [False] * 3
    assert [v.remaining for v in verdicts[:5]] == [4, 3, 2, 1, 0]
    wait = verdicts[-1].retry_after
    assert 1 <= wait <= 61  # a whole window, and the moment after it
    clock.advance(timedelta(seconds=wait))
    assert limiter.hit(RULE, "a").allowed


def test_waiting_is_all_it_takes_however_often_one_was_refused(bare: Core, clock: ManualClock) -> None:
    limiter = Limiter(bare)
    for _ in range(1000):
        limiter.hit(RULE, "a")
    clock.advance(timedelta(seconds=120))
    assert allowed([limiter.hit(RULE, "a") for _ in range(5)]) == 5


def test_a_stranger_cannot_spend_the_owners_attempts(bare: Core) -> None:
    limiter = Limiter(bare)
    stranger = account_key("Alice@Example.org", network_of("198.51.100.7"))
    for _ in range(100):
        limiter.hit(RULE, stranger)
    assert not limiter.hit(RULE, stranger).allowed
    assert limiter.hit(RULE, account_key("alice@example.org", network_of("203.0.113.9"))).allowed
    assert limiter.hit(
        RULE, account_key("alice@example.org", network_of("198.51.100.7"), device="known")
    ).allowed


def test_one_machine_has_one_network() -> None:
    assert network_of("2001:db8:0:1::1") == network_of("2001:db8:0:ff:ffff::2") == "2001:db8::/56"
    assert network_of("::ffff:198.51.100.7") == network_of("198.51.100.200") == "198.51.100.0/24"
    assert network_of("no address") == "unknown"


def test_a_refused_combination_spends_nothing(bare: Core) -> None:
    limiter = Limiter(bare)
    tight, wide = Rule("tight", 1, 60), Rule("wide", 3, 60)
    assert limiter.hit_all([(wide, "k"), (tight, "k")]).allowed
    for _ in range(10):
        assert not limiter.hit_all([(wide, "k"), (tight, "k")]).allowed
    assert allowed([limiter.hit(wide, "k") for _ in range(5)]) == 2


def test_settings_override_a_rule_by_name(tmp_path: Path, clock: ManualClock) -> None:
    text = (
        '[app]\nname = "test"\nprofile = "development"\n[limits.rules.login]\namount = 2\nper_seconds = 10\n'
    )
    db = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    limiter = Limiter(make_core(db, clock, tmp_path / "home", text))
    assert allowed([limiter.hit(RULE, "a") for _ in range(5)]) == 2
    db.close()


def test_threads_never_pass_the_limit_together(bare: Core) -> None:
    limiter, verdicts = Limiter(bare), list[Verdict]()
    rule = Rule("race", 50, 60)

    def run() -> None:
        for _ in range(50):
            verdicts.append(limiter.hit(rule, "k"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert allowed(verdicts) == 50


def test_neither_account_nor_address_is_readable_in_the_store(bare: Core) -> None:
    limiter = Limiter(bare)
    limiter.hit(RULE, account_key("alice@example.org", "198.51.100.0/24"))
    shown = repr(vars(limiter._local.storage))
    assert "alice" not in shown
    assert "198.51" not in shown


def test_an_unusable_store_is_refused_at_start_without_its_password(
    tmp_path: Path, clock: ManualClock
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "store").write_text("redis+nonsense://:hunter2@127.0.0.1:1/0")
    (tmp_path / "home" / "store").chmod(0o600)
    text = '[app]\nname = "test"\nprofile = "development"\n[limits]\nstore = "file:store"\n'
    db = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(LimitsUnavailable) as caught:
        Limiter(make_core(db, clock, tmp_path / "home", text))
    assert "hunter2" not in str(caught.value)
    db.close()


class Broken:
    """A shared store that is out of reach."""

    def __getattr__(self, name: str) -> object:
        raise ConnectionError("refused")


def test_without_the_shared_store_each_process_still_limits(bare: Core) -> None:
    limiter = Limiter(bare)
    limiter._shared = Broken()  # type: ignore[assignment]
    verdicts = [limiter.hit(RULE, "a") for _ in range(8)]
    assert allowed(verdicts) == 5
    assert all(verdict.degraded for verdict in verdicts)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(min_value=0, max_value=40_000), min_size=1, max_size=120),
    amount=st.integers(1, 9),
)
def test_no_window_holds_more_than_two_limits_and_retry_after_is_enough(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], amount: int
) -> None:
    """The window's weights estimate the past as evenly spread: that bounds any 60 s by twice the amount."""
    folder = tmp_path_factory.mktemp("limits")
    clock = ManualClock()
    db = Database(f"sqlite:///{folder / 'empty.db'}")
    limiter, rule = Limiter(make_core(db, clock, folder / "home")), Rule("r", amount, 60)
    times: list[float] = []
    for step in steps:
        clock.advance(timedelta(milliseconds=step))
        verdict = limiter.hit(rule, "k")
        if not verdict.allowed:
            clock.advance(timedelta(seconds=verdict.retry_after))
            assert limiter.hit(rule, "k").allowed
        times.append(clock.now().timestamp())
    db.close()
    for start in times:
        assert sum(start <= t < start + 60 for t in times) <= 2 * amount
        window = math.floor(start / 60)
        assert sum(math.floor(t / 60) == window for t in times) <= amount


def test_the_store_itself_weighs_the_window_before(clock: ManualClock) -> None:
    """Two threads may pass the check together: the store's own count is what holds."""
    store = WindowStorage(clock)
    assert [store.acquire_sliding_window_entry("k", 10, 60) for _ in range(11)] == [True] * 10 + [False]
    clock.advance(timedelta(seconds=90))  # half of the next window: half of the ten still count
    assert [store.acquire_sliding_window_entry("k", 10, 60) for _ in range(6)] == [True] * 5 + [False]
