"""The outbox: a command is written with the effect that wants it, then delivered at least once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json, sha256_hex
from redoubt.core.db import Tx
from redoubt.core.jobs import Backoff, GiveUp, Job, Jobs, enqueue

from . import store
from .errors import ChargeUnavailable, CommandConflict
from .models import ChargePort, OutboxCommand

log = logging.getLogger("redoubt.payments")

JOB = "payments.deliver"
_FIRST_RETRY = timedelta(seconds=2)
_BACKOFF = Backoff(
    base=1.0, cap=30.0
)  # the charge service is ours and near: it is down for seconds, not hours
_ATTEMPTS = 2880  # about a day

Settled = Callable[[Tx, OutboxCommand, Mapping[str, Any]], None]


class Outbox:
    """Writes commands and delivers them; `settled` is told of each answer, in the transaction that records it."""

    def __init__(self, core: Core, charge: ChargePort, settled: Settled) -> None:
        self._core, self._charge, self._settled = core, charge, settled

    def put(self, tx: Tx, command_id: str, kind: str, body: Mapping[str, Any], *, tenant: str) -> None:
        """Write a command and its delivery job; the same id again must have the same body (CommandConflict)."""
        digest = sha256_hex(canonical_json({"kind": kind, "body": dict(body)}))
        known = store.command(tx, command_id)
        if known is not None:
            if known.body_hash != digest or known.tenant != tenant:
                raise CommandConflict("this command id was used with another body.")
            return
        now = self._core.clock.now()
        tx.execute(
            sa.insert(store.commands),
            {
                "id": command_id,
                "tenant": tenant,
                "kind": kind,
                "body": dict(body),
                "body_hash": digest,
                "state": "pending",
                "reason": None,
                "created_at": now,
                "delivered_at": None,
            },
        )
        # Whoever writes a payment or a refund delivers it at once; nobody does so for an approver's passkey, and a
        # refund that is asked for before its approver is known there is refused for good.
        first = now if kind.endswith("_approver") else now + _FIRST_RETRY
        enqueue(
            tx, self._core, JOB, {"command": command_id}, tenant=tenant, run_at=first,
            key=f"{JOB}:{command_id}", max_attempts=_ATTEMPTS,
        )  # fmt: skip

    async def deliver_now(self, command_id: str) -> bool:
        """Deliver at once; return False when the charge service did not take it, and leave it to the job."""
        try:
            answer = await self._send(command_id)
        except ChargeUnavailable as error:
            log.warning("a command waits for the charge service: %s", error.code)
            return False
        except CommandConflict:
            answer = {"status": "refused", "reason": "command-conflict", "intent": None}
        if answer is not None:
            taken = answer
            try:
                await self._core.db.write(lambda tx: self._answered(tx, command_id, taken))
            except Exception:  # the money's side is done; whoever asked must not be told that it failed
                log.exception("an answer could not be applied; the worker goes on with it")
                return False
        return True

    def register(self, jobs: Jobs) -> None:
        """Give a worker the delivery of commands."""

        async def call(job: Job) -> Mapping[str, Any] | None:
            try:
                return await self._send(str(job.payload["command"]))
            except CommandConflict as error:
                raise GiveUp(error.message) from error

        def settle(tx: Tx, job: Job, answer: Mapping[str, Any] | None) -> None:
            if answer is not None:
                self._answered(tx, str(job.payload["command"]), answer)

        jobs.outward(JOB, call, settle, backoff=_BACKOFF, on_dead=self._dead)

    async def _send(self, command_id: str) -> Mapping[str, Any] | None:
        command = await self._core.db.read(lambda tx: store.command(tx, command_id))
        if command is None or command.state != "pending":
            return None
        return await self._charge.command(command)

    def _answered(self, tx: Tx, command_id: str, answer: Mapping[str, Any]) -> None:
        command = store.command(tx, command_id, lock=True)
        if command is None or command.state != "pending":
            return
        refused = answer.get("status") != "accepted"
        tx.execute(
            sa.update(store.commands)
            .where(store.commands.c.id == command_id)
            .values(
                state="refused" if refused else "delivered",
                reason=answer.get("reason"),
                delivered_at=self._core.clock.now(),
            )
        )
        self._settled(tx, command, answer)

    def _dead(self, tx: Tx, job: Job, reason: str) -> None:
        """Call a person: the command never arrived, and whoever waits for it must know."""
        record(
            tx,
            self._core,
            Event(
                action="payments.undelivered",
                outcome="failure",
                actor=Actor(kind="service", id="worker"),
                tenant=job.tenant,
                target=("Command", str(job.payload["command"])),
                data={"reason": reason},
            ),
        )
