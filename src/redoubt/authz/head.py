"""The policies that a process decides by: the stored head, followed by polling and swapped in one step.

Nothing is decided by a set that does not match its hash, by a head that moved backwards, or by a head that could not
be confirmed for a while: then everything is denied, and the decision says why. A question that is enforced is answered
by a head whose look began at most 250 ms before the answer, or after the question was asked: what a committed change
revokes is gone from every process by then, whatever became of the loop that follows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from attrs import frozen

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .consistency import Position
from .decide import Decider, DenyAll
from .errors import AuthzError, Behind, ReviewRequired
from .policyset import PolicySet, from_body
from .proofs import demand_proof
from .seal import demand_seal

_log = logging.getLogger("redoubt.authz")

INTERVAL = 0.2
"""Seconds between two looks at the head."""
CURRENT = 0.25
"""Seconds after which a look no longer answers an enforced question: a new one is taken for it."""
MAX_AGE = 2.0
"""Seconds without a successful look after which even what is merely shown counts as denied."""
PATIENCE = 5.0
"""Seconds that a look may take: a database that hangs is one that cannot be asked."""
MAIN = store.MAIN
_UNCONFIRMED = "the policy head could not be confirmed lately"


@frozen
class _Loaded:
    seq: int
    version: str
    decider: Decider | DenyAll


class PolicyHead:
    """Follows every tenant's head; a tenant that has none of its own is decided by the app's (`main`)."""

    def __init__(self, core: Core, *, interval: float = INTERVAL, max_age: float = MAX_AGE) -> None:
        self._core = core
        self._interval = interval
        self._max_age = max_age
        self._loaded: Mapping[str, _Loaded] = {}
        self._clocks: Mapping[str, int] = {}
        self._failing = False
        self._confirmed: float | None = None
        self._refreshing = asyncio.Lock()

    @property
    def fresh(self) -> bool:
        """Say whether the head was confirmed lately."""
        confirmed = self._confirmed
        return confirmed is not None and self._core.clock.monotonic() - confirmed <= self._max_age

    async def current(self, tenant: str = MAIN) -> Decider | DenyAll:
        """Return what decides a question of `tenant` that is asked now, and is to be enforced.

        When the last look is older than `CURRENT` one is taken first; it counts however long it took, as it began after
        the question. When there can be none, everything is denied.
        """
        confirmed = self._confirmed
        if confirmed is None or self._core.clock.monotonic() - confirmed > CURRENT:
            try:
                await self._look()
            except Exception:  # whatever hides the head, nothing is allowed by an old one
                return DenyAll(_UNCONFIRMED)
        return self._of(tenant)

    async def at_least(self, position: Position) -> None:
        """Return once this process decides by what `position` asks for: by a look that begins now.

        Raises Behind when the database shows less, or cannot be asked: a replica that lags decides nothing for it.
        """
        try:
            await self._look()
        except Exception as error:
            raise Behind("the policies cannot be looked at now.", hint="Try again in a moment.") from error
        if self._clocks.get(position.tenant, 0) < position.seq:
            raise Behind("this process does not see that change yet.", hint="Try again in a moment.")

    async def _look(self) -> None:
        """Do `refresh` within `PATIENCE`; says once in the log that it fails, not once a question."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.refresh()
            self._failing = False
        except Exception as error:
            if not self._failing:
                _log.error("the policy head cannot be read: %s", type(error).__name__)
            self._failing = True
            raise

    def decider(self, tenant: str = MAIN) -> Decider | DenyAll:
        """Return what decides for `tenant` as of lately: for what is shown and hidden, never for what is enforced."""
        return self._of(tenant) if self.fresh else DenyAll(_UNCONFIRMED)

    def _of(self, tenant: str) -> Decider | DenyAll:
        loaded = self._loaded
        found = loaded.get(tenant) or loaded.get(MAIN)
        return found.decider if found is not None else DenyAll("no policies are stored")

    def policies(self, tenant: str = MAIN) -> PolicySet | None:
        """Return the running policy set of `tenant`, or None while everything is denied."""
        decider = self.decider(tenant)
        return decider.policies if isinstance(decider, Decider) else None

    def problem(self, tenant: str = MAIN) -> str | None:
        """Return why everything is denied for `tenant`, or None."""
        decider = self.decider(tenant)
        return decider.why if isinstance(decider, DenyAll) else None

    async def refresh(self) -> None:
        """Look at the head once and follow it; raises when the database cannot be asked.

        Who waited for a look that began after they asked has what they wanted: a stale head is looked at once, not
        once for every request that finds it stale.
        """
        wanted = self._core.clock.monotonic()
        async with self._refreshing:
            if self._confirmed is not None and self._confirmed > wanted:
                return
            asked = self._core.clock.monotonic()
            self._loaded, self._clocks = await self._core.db.read(self._read)
            self._confirmed = asked

    def refresh_sync(self) -> None:
        """Do what `refresh` does, in this thread: for a command and for start-up."""
        asked = self._core.clock.monotonic()
        self._loaded, self._clocks = self._core.db.read_sync(self._read)
        self._confirmed = asked

    async def run(self) -> None:
        """Follow the head until cancelled."""
        while True:
            with contextlib.suppress(Exception):
                await self._look()
            await asyncio.sleep(self._interval)

    def _read(self, tx: Tx) -> tuple[Mapping[str, _Loaded], Mapping[str, int]]:
        before = self._loaded
        after: dict[str, _Loaded] = {}
        for tenant, (seq, version) in store.heads(tx).items():
            known = before.get(tenant)
            if (
                known is not None
                and (known.seq, known.version) == (seq, version)
                and isinstance(known.decider, Decider)
            ):
                after[tenant] = known
            else:
                after[tenant] = self._load(tx, tenant, seq, version, known)
        for tenant, known in before.items():
            if tenant not in after:
                after[tenant] = self._refuse(tenant, known, known.seq, "the policy head disappeared")
        return after, store.clocks(tx)

    def _load(self, tx: Tx, tenant: str, seq: int, version: str, known: _Loaded | None) -> _Loaded:
        if known is not None and seq < known.seq:
            return self._refuse(tenant, known, known.seq, "the policy head moved backwards")
        try:
            step = store.step(tx, tenant, seq)
            if step is None or step.version != version:
                return self._refuse(tenant, known, seq, "the policy head changed while it was read", version)
            demand_seal(step, self._core.keys)
            stored = store.version(tx, tenant, version)
            if stored is None:
                return self._refuse(
                    tenant, known, seq, "the head names a version that is not stored", version
                )
            policies = from_body(stored.body, version)
            demand_proof(tx, self._core, tenant, policies)
            decider = Decider(policies)
        except ReviewRequired as error:
            return self._refuse(tenant, known, seq, str(error), version)
        except (AuthzError, ValueError) as error:
            return self._refuse(tenant, known, seq, f"the stored policies are corrupt: {error}", version)
        _log.info("policies of %s are now version %s (step %d)", tenant, version[:12], seq)
        return _Loaded(seq, version, decider)

    def _refuse(self, tenant: str, known: _Loaded | None, seq: int, why: str, version: str = "") -> _Loaded:
        if known is None or not isinstance(known.decider, DenyAll) or known.decider.why != why:
            _log.error("everything is denied for %s: %s", tenant, why)
        return _Loaded(seq, version, DenyAll(why, version))
