"""Identifiers and randomness, injectable so that tests can hold them still."""

from __future__ import annotations

import base64
import os
import random
import threading
from typing import Protocol

from .clock import Clock

_POOL = 1000
_DIGITS = 20  # of an identifier: 15 of its tail, one for its variant, three for where a millisecond's counter starts
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class Ids(Protocol):
    """Where every module gets its identifiers and random bytes from."""

    def uuid7(self) -> str:
        """Return a new time-ordered UUID (RFC 9562, section 5.7) as lower-case text."""
        ...

    def token(self, nbytes: int = 32) -> str:
        """Return `nbytes` of randomness as URL-safe base64 without padding."""
        ...

    def random_bytes(self, n: int) -> bytes:
        """Return `n` random bytes fit for keys and challenges."""
        ...

    def jitter(self) -> float:
        """Return a number in [0, 1) that spreads retries; never used for a secret."""
        ...


class SystemIds:
    """Identifiers from the operating system's random source and a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = (0, 0)
        self._time = ""
        self._pool, self._pool_at, self._pool_of = "", 0, 0

    def uuid7(self) -> str:
        """Return a UUIDv7, strictly increasing within this process (RFC 9562, section 6.2, method 1)."""
        with self._lock:
            millis = int(self._clock.now().timestamp() * 1000)
            last_millis, counter = self._last
            digits = self._draw()
            if millis > last_millis:
                counter = int(digits[16:19], 16) & 0x7FF
                self._time = _time_text(millis)
            else:
                millis, counter = last_millis, counter + 1
                if counter > 0xFFF:
                    millis, counter = millis + 1, 0
                    self._time = _time_text(millis)
            self._last = (millis, counter)
            time = self._time
        return f"{time}{counter:03x}-{_VARIANT[digits[15]]}{digits[:3]}-{digits[3:15]}"

    def _draw(self) -> str:
        """Return hexadecimal digits for one identifier, which is no secret: one call to the system serves many."""
        at = self._pool_at
        if at + _DIGITS > len(self._pool) or self._pool_of != os.getpid():  # a forked child draws its own
            self._pool, self._pool_of, at = os.urandom(_POOL).hex(), os.getpid(), 0
        self._pool_at = at + _DIGITS
        return self._pool[at : at + _DIGITS]

    def token(self, nbytes: int = 32) -> str:
        """Return `nbytes` of randomness as URL-safe base64 without padding."""
        return base64.urlsafe_b64encode(os.urandom(nbytes)).rstrip(b"=").decode("ascii")

    def random_bytes(self, n: int) -> bytes:
        """Return `n` bytes from the operating system."""
        return os.urandom(n)

    def jitter(self) -> float:
        """Return a number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing


class SeededIds(SystemIds):
    """Identifiers that repeat for a seed: for tests and reproducible output, never for secrets."""

    def __init__(self, clock: Clock, seed: int) -> None:
        super().__init__(clock)
        self._rng = random.Random(seed)  # noqa: S311 - determinism is the point

    def uuid7(self) -> str:
        """Return a UUIDv7 whose random part comes from the seed."""
        millis = int(self._clock.now().timestamp() * 1000)
        last_millis, counter = self._last
        counter = counter + 1 if millis <= last_millis else 0
        millis = max(millis, last_millis)
        self._last = (millis, counter)
        tail = self._rng.getrandbits(62)
        value = (millis & ((1 << 48) - 1)) << 80 | 0x7 << 76 | (counter & 0xFFF) << 64 | 0b10 << 62 | tail
        return _uuid_text(value)

    def token(self, nbytes: int = 32) -> str:
        """Return a repeatable token."""
        return base64.urlsafe_b64encode(self.random_bytes(nbytes)).rstrip(b"=").decode("ascii")

    def random_bytes(self, n: int) -> bytes:
        """Return repeatable bytes."""
        return self._rng.randbytes(n)

    def jitter(self) -> float:
        """Return a repeatable number in [0, 1)."""
        return self._rng.random()


def _time_text(millis: int) -> str:
    digits = f"{millis & 0xFFFFFFFFFFFF:012x}"
    return f"{digits[:8]}-{digits[8:]}-7"


def _uuid_text(value: int) -> str:
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
