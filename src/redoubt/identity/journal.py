"""Identity's audit events, each in the transaction of its effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redoubt.audit import ANONYMOUS, Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx

from .errors import IdentityError, TooManyAttempts
from .models import Browser, SessionState


class Journal:
    """Writes who did what, and who was refused and why."""

    def __init__(self, core: Core, tenant: str = "main") -> None:
        self._core = core
        self._tenant = tenant

    def done(
        self,
        tx: Tx,
        action: str,
        browser: Browser,
        *,
        user_id: str | None = None,
        session: SessionState | None = None,
        target: tuple[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Record that `action` took effect."""
        if session is not None:
            actor = Actor(kind="user", id=session.user_id, session=session.session_id)
        elif user_id is not None:
            actor = Actor(kind="user", id=user_id)
        else:
            actor = ANONYMOUS
        self._record(tx, action, "success", actor, browser, target, data or {})

    def refused(
        self,
        tx: Tx,
        action: str,
        browser: Browser,
        error: IdentityError,
        *,
        user_id: str | None = None,
    ) -> None:
        """Record that `action` was refused, with the reason that the client does not see."""
        actor = Actor(kind="user", id=user_id) if user_id else ANONYMOUS
        outcome = "denied" if isinstance(error, TooManyAttempts) else "failure"
        self._record(tx, action, outcome, actor, browser, None, {"reason": error.reason})

    def _record(
        self,
        tx: Tx,
        action: str,
        outcome: Any,
        actor: Actor,
        browser: Browser,
        target: tuple[str, str] | None,
        data: Mapping[str, Any],
    ) -> None:
        event = Event(
            action=action,
            outcome=outcome,
            actor=actor,
            tenant=self._tenant,
            target=target,
            data={**data, "address": browser.address, "agent": browser.agent},
            request_id=browser.request_id or None,
        )
        record(tx, self._core, event)
