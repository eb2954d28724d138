"""In which order probes run, and which side by side: what comes out does not depend on how fast each was."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import TypeVar

from .probe import ASIDE, SEARCHING, Probe

LANES = 3
"""How many probes of a group run at once: they wait for the app more than they work."""

T = TypeVar("T")


def ordered(probes: Sequence[Probe], seed: int) -> list[Probe]:
    """Return probes by phase, in each phase groups, then those alone, then those aside; else in an order of the seed's."""

    def place(one: Probe) -> tuple[int, int, str, int]:
        turn = 2 if one.beside == ASIDE else int(not one.beside)
        return one.phase, turn, one.beside, zlib.crc32(f"{seed}:{one.control}:{one.name}".encode())

    return sorted(probes, key=place)


def side_by_side(
    probes: Sequence[Probe],
    attempt: Callable[[Probe], T],
    waiting: Callable[[Probe, int], None],
    lanes: int = LANES,
) -> Iterator[tuple[Probe, T]]:
    """Yield each probe with what its attempt returned, in the order given, as `ordered` sorted them.

    The probes of a group run in up to `lanes` threads, the others one by one. Those that touch no running app have a
    thread of their own as soon as one that searches runs alone: then the app is waited for most. `waiting` hears, with
    its number, which probe is waited for.
    """
    number = 0
    aside, pool = ThreadPoolExecutor(1), ThreadPoolExecutor(max(1, lanes))
    meanwhile: dict[Probe, Future[T]] = {}
    try:
        for (phase, group), batch in groupby(probes, key=lambda one: (one.phase, one.beside)):
            if not meanwhile and (group == ASIDE or (phase >= SEARCHING and not group)):
                meanwhile = {one: aside.submit(attempt, one) for one in probes if one.beside == ASIDE}
            members = list(batch)
            if group == ASIDE:
                futures = [meanwhile[one] for one in members]
            elif group and lanes > 1:
                begun = {
                    one: pool.submit(attempt, one) for one in sorted(members, key=lambda one: not one.first)
                }
                futures = [begun[one] for one in members]
            else:
                futures = []
            for at, one in enumerate(members):
                waiting(one, number)
                yield one, futures[at].result() if futures else attempt(one)
                number += 1
    finally:  # whoever stops the run does not wait for what had not begun
        aside.shutdown(wait=False, cancel_futures=True)
        pool.shutdown(wait=False, cancel_futures=True)
