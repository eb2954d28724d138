"""The charge service's own audit entries: one place that names its actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx

from .models import Intent


def note(
    tx: Tx,
    core: Core,
    action: str,
    outcome: Literal["success", "failure", "denied"],
    *,
    tenant: str,
    actor: str,
    target: tuple[str, str] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Record one event in the effect's own transaction; `actor` is the service identity or person behind it."""
    record(
        tx,
        core,
        Event(
            action=action,
            outcome=outcome,
            actor=Actor(kind="service", id=actor),
            tenant=tenant,
            target=target,
            data=dict(data or {}),
        ),
    )


def alert(tx: Tx, core: Core, intent: Intent, what: str, **data: Any) -> None:
    """Record something that a person should look at: the playbooks of threats react to `charge.alert`."""
    note(
        tx,
        core,
        "charge.alert",
        "failure",
        tenant=intent.tenant,
        actor="charge",
        target=(intent.kind, intent.op),
        data={
            "alert": what,
            "intent": intent.id,
            "amount": intent.amount,
            "currency": intent.currency,
            **data,
        },
    )
