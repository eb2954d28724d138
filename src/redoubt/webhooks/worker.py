"""Runs handlers: the effect, the inbox status and the end of the job are one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import sqlalchemy as sa

from ..audit import Actor, Event, record
from ..core.base import Core
from ..core.db import Tx
from ..core.jobs import Backoff, GiveUp, Job, Jobs
from .errors import ConfigError
from .inbox import HANDLE, unseal
from .models import Delivery, Handler
from .store import inbox

_BACKOFF = Backoff(base=1.0, cap=3600.0)


def load_handler(where: str | Handler) -> Handler:
    """Return the handler that `module:function` names; raises ConfigError when there is none."""
    if not isinstance(where, str):
        return where
    module_name, colon, name = where.partition(":")
    if not module_name or not colon or not name:
        raise ConfigError(f"{where!r} names no handler.", hint="Write module:function.")
    try:
        found = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the handler {where} cannot be loaded ({type(error).__name__}).") from error
    if not callable(found):
        raise ConfigError(f"the handler {where} is not a function.")
    handler: Handler = found
    return handler


class InboxWorker:
    """Turns accepted deliveries into effects, each exactly once."""

    def __init__(self, core: Core, handlers: Mapping[str, Handler]) -> None:
        self._core = core
        self._handlers = handlers

    def register(self, jobs: Jobs) -> None:
        """Take this work on in a worker process."""
        jobs.transactional(HANDLE, self.handle, backoff=_BACKOFF, on_dead=self.bury)

    def handle(self, tx: Tx, job: Job) -> None:
        """Run the endpoint's handler in `tx`; a delivery that is done already is left alone."""
        statement = sa.select(inbox).where(inbox.c.id == job.payload["id"])
        if tx.dialect == "postgresql":
            statement = statement.with_for_update()
        row = tx.execute(statement).mappings().one_or_none()
        if row is None or row["sealed"] is None:
            raise GiveUp("the delivery's payload is gone.")
        if row["state"] == "done":
            return
        handler = self._handlers.get(row["endpoint"])
        if handler is None:
            raise GiveUp("no handler is declared for this endpoint any more.")
        headers, body = unseal(self._core, row)
        delivery = Delivery(
            id=row["id"], endpoint=row["endpoint"], tenant=row["tenant"], received_at=row["received_at"],
            signed_at=row["signed_at"], identity=row["identity"], key_id=row["key_id"], body=body,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in headers},
        )  # fmt: skip
        handler(tx, delivery)
        tx.execute(
            sa.update(inbox)
            .where(inbox.c.id == row["id"])
            .values(state="done", runs=inbox.c.runs + 1, finished_at=self._core.clock.now(), last_error=None)
        )
        self._audit(tx, "webhook.handled", "success", row["endpoint"], row["tenant"], row["id"], {})

    def bury(self, tx: Tx, job: Job, reason: str) -> None:
        """Mark a delivery whose handler failed for good: it waits for somebody to replay it."""
        row = tx.execute(
            sa.update(inbox)
            .where(inbox.c.id == job.payload["id"], inbox.c.state == "accepted")
            .values(state="dead", finished_at=self._core.clock.now(), last_error=reason)
            .returning(inbox.c.endpoint, inbox.c.tenant)
        ).one_or_none()
        if row is not None:
            data = {"reason": reason, "attempts": job.attempts}
            self._audit(tx, "webhook.dead", "failure", row.endpoint, row.tenant, job.payload["id"], data)

    def _audit(
        self,
        tx: Tx,
        action: str,
        outcome: str,
        endpoint: str,
        tenant: str,
        delivery: str,
        data: Mapping[str, object],
    ) -> None:
        record(
            tx,
            self._core,
            Event(
                action=action,
                outcome="success" if outcome == "success" else "failure",
                actor=Actor(kind="service", id=f"webhook:{endpoint}"),
                tenant=tenant,
                target=("webhook_delivery", delivery),
                data={"endpoint": endpoint, **data},
            ),
        )
