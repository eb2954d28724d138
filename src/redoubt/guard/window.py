"""The in-process store of the rate limits: two counters a key, on the injected clock, bounded in memory."""

from __future__ import annotations

import threading
from math import floor

from limits.storage.base import SlidingWindowCounterSupport, Storage

from ..core.clock import Clock

_MAX_KEYS = 200_000


class WindowStorage(Storage, SlidingWindowCounterSupport):
    """Sliding-window counters as `limits` defines them; its own memory store reads the machine's clock."""

    STORAGE_SCHEME = ["redoubt-window"]

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[
            str, tuple[int, int, int]
        ] = {}  # key -> window number, count in it, count before it
        self._expiry: dict[str, float] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        """Return what this store raises: nothing but bugs."""
        return ValueError

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` unless that would pass `limit`."""
        return self.take(key, limit, expiry, amount) is not None

    def take(self, key: str, limit: int, expiry: int, amount: int = 1) -> int | None:
        """Count `amount` and return how much of `limit` is left; None, and nothing is counted, when that would pass it."""
        with self._lock:
            now = self._clock.now().timestamp()
            number, current, before, left = self._look(key, expiry, now)
            used = floor(before * left / expiry + current) + amount
            if used > limit:
                return None
            if len(self._counts) >= _MAX_KEYS and key not in self._counts:
                self._sweep(now)
            self._counts[key] = (number, current + amount, before)
            self._expiry[key] = (number + 2) * expiry
            return limit - used

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return count and remaining seconds of the window before, then of the current one."""
        with self._lock:
            _, current, before, left = self._look(key, expiry, self._clock.now().timestamp())
            return before, left if before else 0.0, current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget `key`."""
        with self._lock:
            self._counts.pop(key, None)
            self._expiry.pop(key, None)

    def _look(self, key: str, expiry: int, now: float) -> tuple[int, int, int, float]:
        number = int(now // expiry)
        known, current, before = self._counts.get(key, (number, 0, 0))
        if known == number - 1:
            current, before = 0, current
        elif known != number:
            current, before = 0, 0
        return number, current, before, expiry - now % expiry

    def _sweep(self, now: float) -> None:
        for key in [key for key, until in self._expiry.items() if until <= now]:
            del self._counts[key], self._expiry[key]
        # Still full: drop the oldest tenth. An attacker with that many networks gains one window a key.
        for key in list(self._counts)[: len(self._counts) // 10 if len(self._counts) >= _MAX_KEYS else 0]:
            del self._counts[key], self._expiry[key]

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Fixed windows are not offered here."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """Fixed windows are not offered here."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """Fixed windows are not offered here."""
        raise NotImplementedError

    def check(self) -> bool:
        """Say that memory is there."""
        return True

    def reset(self) -> int:
        """Forget everything and say how many keys that were."""
        with self._lock:
            count = len(self._counts)
            self._counts.clear()
            self._expiry.clear()
            return count

    def clear(self, key: str) -> None:
        """Forget `key`."""
        with self._lock:
            self._counts.pop(key, None)
            self._expiry.pop(key, None)
