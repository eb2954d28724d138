"""Identifiers: UUIDv7 in order even when the clock stands or jumps back, and tokens of the promised size."""

from __future__ import annotations

import base64
import threading
import uuid
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from redoubt.core.clock import ManualClock, SystemClock
from redoubt.core.ids import SeededIds, SystemIds


def test_a_uuid7_carries_version_variant_and_time() -> None:
    clock = ManualClock()
    value = uuid.UUID(SystemIds(clock).uuid7())
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == int(clock.now().timestamp() * 1000)


@given(st.lists(st.integers(min_value=-5000, max_value=5000), max_size=60))
def test_ids_rise_whatever_the_clock_does(steps: list[int]) -> None:
    clock = ManualClock()
    ids = SystemIds(clock)
    made = [ids.uuid7()]
    for step in steps:
        clock.advance(timedelta(milliseconds=step))
        made.append(ids.uuid7())
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_a_burst_within_one_millisecond_stays_in_order() -> None:
    ids = SystemIds(ManualClock())
    made = [ids.uuid7() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_threads_never_share_an_id() -> None:
    ids = SystemIds(SystemClock())
    made: list[str] = []

    def make() -> None:
        mine = [ids.uuid7() for _ in range(2000)]
        made.extend(mine)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000


def test_a_token_has_the_randomness_that_it_promises() -> None:
    ids = SystemIds(SystemClock())
    tokens = {ids.token(32) for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(base64.urlsafe_b64decode(token + "=")) == 32 for token in tokens)


def test_seeded_ids_repeat() -> None:
    clock = ManualClock()
    first, second = SeededIds(clock, 7), SeededIds(clock, 7)
    assert [first.uuid7(), first.token()] == [second.uuid7(), second.token()]
