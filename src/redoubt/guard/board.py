"""The switches as one process sees them: read every 200 ms, asked on every request, without touching the database.

A kill reaches every process within 250 ms. When the store cannot be read for a second, nobody knows what is killed:
money is refused until it can be, everything else goes by what was known last. A board that has never read anything
refuses everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable
from datetime import timedelta

from ..audit import Actor
from ..core.base import Core
from ..core.db import Tx
from . import store, switches
from .errors import Killed, SwitchesStale
from .models import Switch
from .switches import EVERY_TENANT, EVERYTHING

INTERVAL = 0.2
STALE_AFTER = timedelta(seconds=1)
_log = logging.getLogger("redoubt.guard")


class SwitchBoard:
    """What is killed, as of the last successful look."""

    def __init__(self, core: Core, *, interval: float = INTERVAL) -> None:
        """Start without knowledge; call `refresh` before serving, then `start`."""
        self._core = core
        self._interval = interval
        self._killed: frozenset[tuple[str, str]] = frozenset()
        self._read_at: float | None = None
        # Looks and own kills are numbered in the order in which they began; a clock could give two the same time.
        self._begun = 0
        self._known = 0  # the number of the look or kill that is known
        self._lock = threading.Lock()  # who kills is in a thread of the database
        self._task: asyncio.Task[None] | None = None

    def check(self, capability: str, tenant: str = "main", *, money: bool = False) -> None:
        """Return when `capability` is live for `tenant`; raises Killed, or SwitchesStale when nobody can know.

        `all` kills every capability, `*` every tenant. With `money`, old knowledge is not good enough.
        """
        if self._read_at is None or (money and self.stale):
            raise SwitchesStale(capability, tenant)
        killed = self._killed
        if not killed:
            return
        for name in (capability, EVERYTHING):
            if (tenant, name) in killed or (EVERY_TENANT, name) in killed:
                raise Killed(capability, tenant)

    @property
    def stale(self) -> bool:
        """Whether the last successful look is too old to let money through."""
        read_at = self._read_at
        return read_at is None or self._core.clock.monotonic() - read_at > STALE_AFTER.total_seconds()

    def refresh_sync(self) -> None:
        """Look now; raises what the store raises, and then keeps what was known."""
        number, began = self._begin()
        self._take(self._core.db.read_sync(store.list_switches), number, began)

    async def refresh(self) -> None:
        """Do `refresh_sync` off the event loop."""
        number, began = self._begin()
        self._take(await self._core.db.read(store.list_switches), number, began)

    def _begin(self) -> tuple[int, float]:
        """Return a look's number and time, taken before it reads: what it finds is at least this fresh."""
        with self._lock:
            self._begun += 1
            return self._begun, self._core.clock.monotonic()

    def _take(self, found: Iterable[Switch], number: int, began: float) -> None:
        """Know what a look found, unless something newer is known: a look that was slow must not undo that."""
        with self._lock:
            if number < self._known:
                return
            self._killed = frozenset((one.tenant, one.capability) for one in found if one.killed)
            self._known, self._read_at = number, began

    async def start(self) -> None:
        """Look once, raising on failure, then follow in the background until `stop`."""
        await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="redoubt-switches")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def kill(
        self,
        tx: Tx,
        capability: str,
        *,
        reason: str,
        by: Actor,
        tenant: str = EVERY_TENANT,
        request_id: str | None = None,
    ) -> Switch:
        """Do `switches.kill`; this process obeys as soon as it has committed."""
        found = switches.kill(
            tx, self._core, capability, reason=reason, by=by, tenant=tenant, request_id=request_id
        )

        def obey() -> None:
            with self._lock:
                self._killed = self._killed | {(tenant, capability)}
                self._begun += 1
                self._known = self._begun

        tx.after_commit(obey)
        return found

    async def _follow(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.refresh()
                failing = False
            except Exception as error:
                if not failing:  # once per outage: the log must not fill while the store is away
                    _log.error("switches cannot be read: %s", type(error).__name__)
                failing = True
