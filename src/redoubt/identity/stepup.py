"""When a fresh passkey assertion must stand behind a session (RFC 9470)."""

from __future__ import annotations

from datetime import datetime

from .errors import StepUpRequired
from .models import IdentityConfig, SessionState


def require_step_up(session: SessionState, now: datetime) -> None:
    """Raise StepUpRequired unless a passkey assertion of the last five minutes stands behind the session."""
    if not session.stepped_up(now):
        raise StepUpRequired


def require_step_up_or_first(
    session: SessionState, now: datetime, config: IdentityConfig, owned: int
) -> None:
    """As `require_step_up`; who owns no passkey yet must have signed in within the same minutes instead."""
    if owned:
        require_step_up(session, now)
    elif now - session.auth_time >= config.step_up:
        raise StepUpRequired
