"""Live sessions in this process, never staler than 200 ms.

An entry answers for at most 200 ms after the read that filled it *began*; a change made in this process drops
it at once. A read that was under way while something was dropped is not kept, or it would bring the dead back.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import islice
from typing import Any

from attrs import define, frozen

from redoubt.core.clock import Clock

MAX_AGE = 0.2
"""Seconds; roles are read with a session, so a role that is taken is gone from every process by then."""
_MAX_ENTRIES = 10_000


@frozen
class Ticket:
    """When a read began, and what had been dropped until then."""

    at: float
    generation: int


@define
class _Entry:
    at: float
    user_id: str
    session_id: str
    value: Any
    macs: tuple[bytes, ...]
    asked: bool = False


class SessionCache:
    """Sessions by the hash of their token, bounded; the least recently used go first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._generation = 0

    def get(self, key: bytes) -> Any | None:
        """Return what was kept under `key` within the last 200 ms, or None."""
        now = self._clock.monotonic()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if not 0 <= now - entry.at < MAX_AGE:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            entry.asked = True
            return entry.value

    def due(self, limit: int) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """Return at most `limit` of those that were asked for since they were read and have half of their time behind them.

        Each comes with what it was kept with; only the latest `limit` are looked at.
        """
        before = self._clock.monotonic() - MAX_AGE / 2
        with self._lock:
            latest = islice(reversed(self._entries.items()), limit)
            return [(key, entry.macs) for key, entry in latest if entry.asked and entry.at <= before]

    def forget(self, key: bytes) -> None:
        """Forget what is kept under `key`: a read found that it is over."""
        with self._lock:
            self._entries.pop(key, None)

    def begin(self) -> Ticket:
        """Take note of now, before reading the database."""
        with self._lock:
            return Ticket(self._clock.monotonic(), self._generation)

    def keeps(self, ticket: Ticket) -> bool:
        """Say whether what a read since `ticket` finds would still be kept: it is recent, and nothing was dropped."""
        with self._lock:
            return (
                ticket.generation == self._generation and 0 <= self._clock.monotonic() - ticket.at < MAX_AGE
            )

    def put(
        self,
        ticket: Ticket,
        key: bytes,
        user_id: str,
        session_id: str,
        value: Any,
        macs: tuple[bytes, ...] = (),
    ) -> None:
        """Keep what was read since `ticket`, unless something was dropped meanwhile; `macs` is what `due` gives again."""
        with self._lock:
            if ticket.generation != self._generation:
                return
            self._entries[key] = _Entry(ticket.at, user_id, session_id, value, macs)
            self._entries.move_to_end(key)
            while len(self._entries) > _MAX_ENTRIES:
                self._entries.popitem(last=False)

    def drop_session(self, session_id: str) -> None:
        """Forget one session."""
        self._drop(lambda entry: entry.session_id == session_id)

    def drop_user(self, user_id: str) -> None:
        """Forget every session of one user."""
        self._drop(lambda entry: entry.user_id == user_id)

    def _drop(self, matches: Any) -> None:
        with self._lock:
            self._generation += 1
            for key in [key for key, entry in self._entries.items() if matches(entry)]:
                del self._entries[key]
