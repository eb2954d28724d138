"""Anonymous noise: the first refusals of each kind are recorded one by one, the rest of the minute is counted.

Whoever needs no account to cause an entry could otherwise fill the disk. Nothing is lost silently: each minute's surplus
becomes one entry of the same action and outcome that says how many there were.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from datetime import datetime, timedelta

from attrs import define

from ..core.base import Core
from .models import ANONYMOUS, Event
from .service import RECORD

WINDOW = timedelta(minutes=1)
EACH = 30
MAX_KINDS = 500
_log = logging.getLogger("redoubt.audit")
Key = tuple[str, str, str]


@define
class _Count:
    since: datetime
    seen: int = 0
    surplus: int = 0


class Noise:
    """Gate of one process for events of unknown actors; known actors pass it freely."""

    def __init__(self, core: Core, *, each: int = EACH) -> None:
        """Record the first `each` events of a kind in a minute one by one."""
        self._core = core
        self._command = RECORD(core)
        self._each = each
        self._lock = threading.Lock()
        self._counts: dict[Key, _Count] = {}
        self._due: list[Event] = []

    def admit(self, event: Event) -> bool:
        """Say whether `event` is to be recorded by itself; otherwise it is counted here."""
        if event.actor.kind != "anonymous":
            return True
        now = self._core.clock.now()
        key = (event.tenant, event.action, event.outcome)
        with self._lock:
            if key not in self._counts and len(self._counts) >= MAX_KINDS:
                key = ("main", "audit.noise", event.outcome)  # too many kinds: one for all
            count = self._counts.setdefault(key, _Count(now))
            if now - count.since >= WINDOW:
                self._close(key, count, now)
                count = self._counts[key] = _Count(now)
            count.seen += 1
            if count.seen <= self._each:
                return True
            count.surplus += 1
            return False

    async def record(self, event: Event) -> str | None:
        """Record `event` through group commit, or count it; returns its id when it was recorded by itself."""
        if not self.admit(event):
            return None
        return await self._core.db.group.submit(self._command, event)

    async def flush(self, *, everything: bool = False) -> int:
        """Record what was counted in minutes that are over (or `everything`) and say how many entries that made."""
        now = self._core.clock.now()
        with self._lock:
            for key, count in list(self._counts.items()):
                if everything or now - count.since >= WINDOW:
                    self._close(key, count, now)
                    del self._counts[key]
            due, self._due = self._due, []
        for event in due:
            await self._core.db.group.submit(self._command, event)
        return len(due)

    async def run(self, stop: asyncio.Event, *, interval: float = 10.0) -> None:
        """Flush every `interval` seconds until `stop` is set, and everything then."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), interval)
            try:
                await self.flush(everything=stop.is_set())
            except Exception as error:
                _log.error("audit noise could not be recorded: %s", type(error).__name__)

    def _close(self, key: Key, count: _Count, now: datetime) -> None:
        if count.surplus:
            tenant, action, outcome = key
            data = {"suppressed": count.surplus, "since": count.since.isoformat(), "until": now.isoformat()}
            self._due.append(Event(action, outcome, ANONYMOUS, tenant, data=data))  # type: ignore[arg-type]
