"""Time, injectable so that tests can hold it still."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where every module gets its time from."""

    def now(self) -> datetime:
        """Return the current moment as an aware datetime in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean something."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 1, 12, tzinfo=UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the moment that this clock was set to."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that this clock was advanced by."""
        return self._monotonic

    def advance(self, by: timedelta) -> None:
        """Move both clocks; a negative step moves the wall clock back and leaves the monotonic one."""
        self._now += by
        self._monotonic += max(0.0, by.total_seconds())
