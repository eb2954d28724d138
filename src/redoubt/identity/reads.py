"""Reads of sessions, many at once: who asks while a read is under way goes with the next one, as writes do in group commit.

With a thousand people signed in, one read answers all whose entries in the cache ran out meanwhile. A batch takes along
what was asked for lately and will run out soon, so that most requests find their session and wait for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from attrs import Factory, define

from redoubt.core.db import Database, StorageUnavailable, Tx

from .cache import SessionCache, Ticket

Macs = tuple[bytes, ...]
"""The MACs of one token under every live key: what its row may be found by."""
ReadMany = Callable[[Tx, Mapping[bytes, Macs]], Mapping[bytes, Any]]
CHUNK = 256
"""Sessions that one statement asks for at most."""


@define
class _Batch:
    answered: asyncio.Future[Mapping[bytes, Any]]
    wanted: dict[bytes, Macs] = Factory(dict)
    ticket: Ticket | None = None


class SessionReads:
    """Reads sessions in batches into the cache; the next batch waits for one that is under way, unless that is too old."""

    def __init__(self, db: Database, cache: SessionCache, read: ReadMany) -> None:
        """Read with `read`, which gives the live ones of those that it is asked for."""
        self._db = db
        self._cache = cache
        self._read = read
        self._by_key: dict[bytes, _Batch] = {}
        self._next: _Batch | None = None
        self._under_way: _Batch | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def one(self, key: bytes, macs: Macs) -> Any | None:
        """Return the session whose token has `macs`, or None.

        Who asks while a read is under way that the cache would keep shares it: it began within the last 200 ms, and
        nothing was dropped in this process since. Raises what the read of this session raises.
        """
        batch = self._by_key.get(key)
        if batch is None or not self._counts(batch):
            batch = self._join(key, macs)
        found = (await asyncio.shield(batch.answered)).get(key)
        if isinstance(found, Exception):
            raise found
        return found

    def _counts(self, batch: _Batch) -> bool:
        return batch.ticket is None or self._cache.keeps(batch.ticket)

    def _join(self, key: bytes, macs: Macs) -> _Batch:
        if self._next is None:
            self._next = _Batch(asyncio.get_running_loop().create_future())
            if self._under_way is None or not self._counts(self._under_way):
                self._start(self._next)
        batch = self._by_key[key] = self._next
        batch.wanted[key] = macs
        return batch

    def _start(self, batch: _Batch) -> None:
        self._under_way = batch
        task = asyncio.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: _Batch) -> None:
        if self._next is batch:
            self._next = None
        for key, macs in self._cache.due(CHUNK):
            if key not in self._by_key:
                self._by_key[key] = batch
                batch.wanted[key] = macs
        batch.ticket = self._cache.begin()
        try:
            batch.answered.set_result(await self._all(batch.ticket, batch.wanted))
        finally:
            if not batch.answered.done():
                batch.answered.cancel()
            for key in batch.wanted:
                if self._by_key.get(key) is batch:
                    del self._by_key[key]
            if self._under_way is batch:
                self._under_way = None
                if self._next is not None:
                    self._start(self._next)

    async def _all(self, ticket: Ticket, wanted: Mapping[bytes, Macs]) -> Mapping[bytes, Any]:
        answers: dict[bytes, Any] = {}
        keys = list(wanted)
        for start in range(0, len(keys), CHUNK):
            chunk = {key: wanted[key] for key in keys[start : start + CHUNK]}
            try:
                answers |= await self._together(ticket, chunk)
            except (
                StorageUnavailable
            ) as error:  # asking for each by itself would only take as many times as long
                answers |= dict.fromkeys(chunk, error)
            except Exception as error:  # one session that cannot be read is nobody else's trouble
                if len(chunk) == 1:
                    answers[next(iter(chunk))] = error
                    continue
                for key, macs in chunk.items():
                    try:
                        answers |= await self._together(ticket, {key: macs})
                    except Exception as own:
                        answers[key] = own
        return answers

    async def _together(self, ticket: Ticket, chunk: Mapping[bytes, Macs]) -> Mapping[bytes, Any]:
        found = await self._db.read(lambda tx: self._read(tx, chunk))
        for key, macs in chunk.items():
            live = found.get(key)
            if live is None:
                self._cache.forget(key)
            else:
                self._cache.put(ticket, key, live.state.user_id, live.state.session_id, live, macs)
        return found
