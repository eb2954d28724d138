"""Probes side by side: the order of what comes out is the seed's, and who must be alone is alone."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from redoubt.verify.probe import ASIDE, DISRUPTIVE, NORMAL, SEARCHING, Probe, registered
from redoubt.verify.schedule import LANES, ordered, side_by_side


def probe(name: str, phase: int = NORMAL, beside: str = "") -> Probe:
    return Probe("IDN-1", name, lambda _: None, phase, beside)


def taken(probes: list[Probe], attempt: object, lanes: int = LANES) -> list[str]:
    return [one.name for one, _ in side_by_side(probes, attempt, lambda *_: None, lanes)]  # type: ignore[arg-type]


def test_results_come_in_the_given_order_however_long_each_took() -> None:
    group = [probe(str(number), beside="normal") for number in range(LANES)]
    last = threading.Event()

    def attempt(one: Probe) -> str:
        if one is group[-1]:
            last.set()
        else:
            assert last.wait(20), "the group does not run side by side"
        return one.name

    found = list(side_by_side(group, attempt, lambda *_: None))
    assert [(one.name, got) for one, got in found] == [(str(n), str(n)) for n in range(LANES)]


def test_a_probe_of_no_group_runs_alone() -> None:
    probes = ordered(
        [probe(f"{phase}{number}", phase, group) for phase in (NORMAL, DISRUPTIVE) for group in ("", "g")
         for number in range(4)], 0,
    )  # fmt: skip
    running: Counter[str] = Counter()
    lock = threading.Lock()
    seen: list[tuple[str, int]] = []

    def attempt(one: Probe) -> None:
        with lock:
            running[one.beside] += 1
            seen.append((one.beside, sum(running.values())))
        threading.Event().wait(0.01)
        with lock:
            running[one.beside] -= 1

    taken(probes, attempt)
    assert len(seen) == len(probes)
    assert {count for beside, count in seen if beside == ""} == {1}


def test_what_takes_longest_begins_first_and_is_reported_in_its_turn() -> None:
    slow = Probe("VAL-5", "slow", lambda _: None, NORMAL, "normal", first=True)
    group = [*(probe(str(number), beside="normal") for number in range(2 * LANES)), slow]
    begun: list[str] = []
    lock = threading.Lock()

    def attempt(one: Probe) -> None:
        with lock:
            begun.append(one.name)

    assert taken(group, attempt) == [one.name for one in group]
    assert "slow" in begun[:LANES]
    assert any(one.first for one in registered())


def test_one_lane_means_one_at_a_time() -> None:
    main = threading.get_ident()
    found = list(
        side_by_side(
            [probe("a", beside="g"), probe("b", beside="g")], lambda _: threading.get_ident(), lambda *_: None, 1
        )
    )  # fmt: skip
    assert {ident for _, ident in found} == {main}


def test_what_touches_no_app_runs_meanwhile_and_is_reported_in_its_turn() -> None:
    began = threading.Event()
    aside, alone = probe("tests", SEARCHING, ASIDE), probe("cap", SEARCHING)

    def attempt(one: Probe) -> None:
        if one is aside:
            began.set()
        else:
            assert began.wait(20), "the probe aside waits for the others"

    assert taken(ordered([aside, alone], 0), attempt) == ["cap", "tests"]


def test_the_order_is_the_seeds_and_groups_stay_together() -> None:
    probes = registered()
    assert ordered(probes, 7) == ordered(list(reversed(probes)), 7)
    assert ordered(probes, 7) != ordered(probes, 8)
    batches = [(one.phase, one.beside) for one in ordered(probes, 7)]
    changes = [here for before, here in zip([None, *batches], batches, strict=False) if here != before]
    assert len(changes) == len(set(changes))
    assert [phase for phase, _ in batches] == sorted(phase for phase, _ in batches)


def test_who_stops_the_run_does_not_wait_for_what_had_not_begun() -> None:
    begun: list[str] = []

    def attempt(one: Probe) -> None:
        begun.append(one.name)
        if one.name == "0":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taken([probe(str(number)) for number in range(3)], attempt)
    assert begun == ["0"]
