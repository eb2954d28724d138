"""Challenges: stored, single use, short-lived, of one purpose and one browser (WebAuthn Level 3, section 13.4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa
from attrs import frozen

from redoubt.core.base import Core
from redoubt.core.db import Tx

from .errors import ChallengeRefused
from .models import Browser
from .store import challenges

Purpose = Literal["register", "login", "stepup", "add-passkey", "enrol"]
SIZE = 32


@frozen
class Challenge:
    """A challenge that was just taken: it answers once, here."""

    value: bytes
    user_id: str | None
    session_id: str | None
    data: Mapping[str, Any]


class Challenges:
    """Issues challenges and takes them back, each once."""

    def __init__(self, core: Core, ttl: timedelta, tenant: str = "main") -> None:
        self._core = core
        self._ttl = ttl
        self._tenant = tenant

    def issue(
        self,
        tx: Tx,
        purpose: Purpose,
        browser: Browser,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Store and return a new random challenge."""
        value = self._core.ids.random_bytes(SIZE)
        tx.execute(
            sa.insert(challenges),
            {
                "id": self._core.ids.uuid7(),
                "tenant": self._tenant,
                "purpose": purpose,
                "challenge": value,
                "browser_mac": browser.mac,
                "user_id": user_id,
                "session_id": session_id,
                "data": dict(data or {}),
                "expires_at": self._core.clock.now() + self._ttl,
                "used_at": None,
            },
        )
        return value

    def take(self, tx: Tx, purpose: Purpose, browser: Browser, value: bytes) -> Challenge:
        """Use the challenge up and return it; of any number of takers one succeeds.

        Raises ChallengeRefused when it is unknown, used, expired, of another purpose or of another browser.
        """
        now = self._core.clock.now()
        row = tx.execute(
            sa.update(challenges)
            .where(
                challenges.c.challenge == value,
                challenges.c.purpose == purpose,
                challenges.c.browser_mac == browser.mac,
                challenges.c.used_at.is_(None),
                challenges.c.expires_at > now,
            )
            .values(used_at=now)
            .returning(challenges)
        ).first()
        if row is None:
            raise ChallengeRefused
        return Challenge(value, row.user_id, row.session_id, row.data)
