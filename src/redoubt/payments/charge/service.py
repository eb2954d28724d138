"""The charge service: commands in, provider calls out, state changes on the feed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import commands, feed, inbox, store
from .commands import Answer, Command
from .models import ChargeConfig
from .provider.port import Provider
from .resolver import Resolver

MOST_WAIT = 5.0
"""Seconds that a reader of the feed may wait for a change: its certificate is looked at no more seldom."""

_LOOK = 0.1


class ChargeService:
    """What the HTTP face and the process loop call; everything it knows is in its database."""

    def __init__(self, core: Core, config: ChargeConfig, provider: Provider) -> None:
        self.core, self.config, self.provider = core, config, provider
        self.resolver = Resolver(core, config, provider)
        self.closing = asyncio.Event()

    async def command(self, command: Command, identity: str) -> dict[str, Any]:
        """Take a command, make its first provider call, and return how its intent stands.

        The same command again returns how it stands by then. Raises CommandInvalid, CommandConflict and Held.
        """
        answer = await self.core.db.write(
            lambda tx: commands.accept(tx, self.core, self.config, command, identity)
        )
        if answer.intent is not None:
            await self.resolver.advance(answer.intent)
        return await self.core.db.read(lambda tx: _answered(tx, command, answer))

    async def event(self, raw: bytes, headers: Mapping[str, str]) -> str:
        """Take a provider's event from its raw bytes; raises EventRefused."""
        return await inbox.take(self.core, self.provider, raw, headers)

    async def changes(self, after: int, limit: int, wait: float = 0.0) -> list[dict[str, Any]]:
        """Return state changes after number `after`; where there are none, wait for the first.

        That is: at most `wait` seconds, no longer than `MOST_WAIT`, and not once the service is `closing`.
        """
        until = self.core.clock.monotonic() + min(wait, MOST_WAIT)
        while True:
            found = await self.core.db.read(lambda tx: feed.after(tx, after, limit))
            if found or self.closing.is_set() or self.core.clock.monotonic() >= until:
                return found
            with suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), _LOOK)


def _answered(tx: Tx, command: Command, answer: Answer) -> dict[str, Any]:
    intent = None
    if answer.intent is not None:
        found = store.intent_by(tx, store.intents.c.id == answer.intent)
        intent = None if found is None else found.public()
    return {"command": command.id, "status": answer.status, "reason": answer.reason, "intent": intent}
