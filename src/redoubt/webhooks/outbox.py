"""What we send: a row and a job a target in the caller's transaction, delivered later, signed, until it is taken.

A delivery keeps its id and its bytes over all attempts (Standard Webhooks 1.0.0, "webhook-id"); each attempt is
signed anew with its own moment. Each target has a lane of its own, so a slow one delays nobody else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, Protocol

import sqlalchemy as sa
from attrs import frozen

from ..audit import Actor, Event, record
from ..core.base import Core
from ..core.db import Tx
from ..core.errors import RedoubtError
from ..core.jobs import Backoff, GiveUp, Job, Jobs, Retry, enqueue
from .keystore import LiveKeys
from .schemes import STANDARD, sign
from .store import attempts, outbox, targets

SEND = "webhooks.send"
_SEAL = "webhook-outbox"
_BACKOFF = Backoff(base=5.0, cap=6 * 3600.0)
_HELD_FOR = timedelta(seconds=5)
_LANE = 2
_EXCERPT = 1024
_GONE = 410
_ACTOR = Actor(kind="service", id="webhooks")


class Response(Protocol):
    """What the egress client answers."""

    @property
    def status(self) -> int: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102


class Sender(Protocol):
    """The egress client, as far as deliveries need it."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes,
        timeout: float,
        purpose: str,
    ) -> Response:
        """Send one request to an allowed host and return its answer, the body capped."""
        ...


class Switches(Protocol):
    """The kill switches, as far as webhooks need them."""

    def check(self, capability: str, tenant: str) -> None:
        """Return when the capability lives; raise otherwise."""
        ...


@frozen
class Sent:
    """One attempt's end: `taken`, `failed`, or `held` when nothing was sent."""

    kind: Literal["taken", "held", "stopped"]
    status: int | None = None
    excerpt: str | None = None
    millis: int = 0


def emit(
    tx: Tx, core: Core, event_type: str, payload: Mapping[str, Any], *, tenant: str = "main"
) -> list[str]:
    """Write one delivery for every target that takes `event_type`, in the caller's transaction; return their ids.

    The payload is JSON-like; its bytes are fixed here. A disabled target's deliveries wait until it is enabled again.
    """
    now = core.clock.now()
    event = {"type": event_type, "timestamp": now.isoformat(), "data": dict(payload)}
    body = json.dumps(event, separators=(",", ":"), allow_nan=False).encode()
    rows = tx.execute(
        sa.select(targets)
        .where(targets.c.tenant == tenant, targets.c.state != "removed")
        .order_by(targets.c.name)
    ).mappings()
    made: list[str] = []
    for target in rows.all():
        if event_type not in target["events"] and "*" not in target["events"]:
            continue
        delivery = core.ids.uuid7()
        tx.execute(
            sa.insert(outbox),
            {
                "id": delivery, "tenant": tenant, "target": target["name"], "event_type": event_type,
                "sealed": core.keys.seal(_SEAL, body, _aad(target["name"], delivery)), "created_at": now,
                "state": "pending",
            },
        )  # fmt: skip
        if target["state"] == "enabled":
            queue(tx, core, delivery, target)
        made.append(delivery)
    return made


def queue(
    tx: Tx, core: Core, delivery: str, target: sa.RowMapping, *, after: timedelta = timedelta()
) -> None:
    """Add the job that sends a pending delivery."""
    enqueue(
        tx, core, SEND, {"id": delivery}, tenant=target["tenant"], lane=f"out:{target['name']}",
        max_attempts=target["max_attempts"], run_at=core.clock.now() + after,
    )  # fmt: skip


def enable(tx: Tx, core: Core, name: str, actor: Actor) -> int:
    """Enable a disabled target and queue what waited for it; return how many deliveries that are."""
    row = (
        tx.execute(
            sa.update(targets)
            .where(targets.c.name == name, targets.c.state == "disabled")
            .values(state="enabled", failing_since=None, reason=None, updated_at=core.clock.now())
            .returning(targets)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return 0
    waiting = (
        tx.execute(
            sa.select(outbox.c.id)
            .where(outbox.c.target == name, outbox.c.state == "pending")
            .order_by(outbox.c.id)
        )
        .scalars()
        .all()
    )
    for delivery in waiting:
        queue(tx, core, delivery, row)
    _audit(
        tx, core, "webhook.target.enabled", "success", row["tenant"], ("webhook", f"out:{name}"), {}, actor
    )
    return len(waiting)


class Outbox:
    """The worker's side of outgoing deliveries."""

    def __init__(self, core: Core, sender: Sender, keys: LiveKeys, switches: Switches | None = None) -> None:
        self._core = core
        self._sender = sender
        self._keys = keys
        self._switches = switches

    def register(self, jobs: Jobs) -> None:
        """Take this work on in a worker process."""
        jobs.outward(SEND, self.send, self.settle, backoff=_BACKOFF, on_dead=self.bury, lane_limit=_LANE)

    async def send(self, job: Job) -> Sent:
        """Make one attempt; raises Retry when it failed, after the attempt is recorded."""
        delivery, target = await self._core.db.read(lambda tx: _load(tx, job.payload["id"]))
        if delivery["state"] != "pending" or target["state"] != "enabled":
            return Sent("stopped")
        try:
            if self._switches is not None:
                self._switches.check("webhooks.out", delivery["tenant"])
        except RedoubtError:
            return Sent("held")
        body = self._core.keys.open_sealed(_SEAL, delivery["sealed"], _aad(target["name"], delivery["id"]))
        keys = await self._keys.of(f"out:{target['name']}")
        headers = sign(STANDARD, keys, delivery["id"], self._core.clock.now(), body)
        headers |= {"content-type": "application/json", "user-agent": "Redoubt-Webhooks"}
        timeout, started = target["timeout_ms"] / 1000, self._core.clock.monotonic()
        status, excerpt, problem = None, None, None
        try:
            async with asyncio.timeout(
                timeout + 1
            ):  # the client keeps its own time; this one is for any other
                response = await self._sender.request(
                    "POST",
                    target["url"],
                    headers=headers,
                    content=body,
                    timeout=timeout,
                    purpose="webhooks.out",
                )
            status = response.status
            # What a stranger answers is cut before it is read and redacted before it is kept.
            excerpt = self._core.redactor.text(
                response.body[:_EXCERPT].decode("utf-8", "replace").replace("\0", "")
            )
        except Exception as error:
            problem = error.code if isinstance(error, RedoubtError) else type(error).__name__
        millis = int((self._core.clock.monotonic() - started) * 1000)
        if status is not None and 200 <= status < 300:
            return Sent("taken", status, excerpt, millis)
        stopped = await self._core.db.write(
            lambda tx: self._failed(tx, delivery, target, status, problem, excerpt, millis)
        )
        if stopped:
            return Sent("stopped")
        raise Retry(f"the target {target['name']} answered {status or problem}.")

    def settle(self, tx: Tx, job: Job, outcome: Sent) -> None:
        """Write the end of an attempt that did not fail, together with the end of its job."""
        delivery, target = _load(tx, job.payload["id"])
        if outcome.kind == "held":  # a switch is off: try again soon, with no attempt counted
            queue(tx, self._core, delivery["id"], target, after=_HELD_FOR)
        if outcome.kind != "taken":
            return
        now = self._core.clock.now()
        self._attempt(tx, delivery, outcome.status, None, outcome.excerpt, outcome.millis)
        tx.execute(
            sa.update(outbox).where(outbox.c.id == delivery["id"]).values(state="delivered", finished_at=now)
        )
        tx.execute(sa.update(targets).where(targets.c.name == target["name"]).values(failing_since=None))
        where = ("webhook_delivery", delivery["id"])
        data = {"target": target["name"], "status": outcome.status}
        _audit(tx, self._core, "webhook.delivered", "success", delivery["tenant"], where, data)

    def bury(self, tx: Tx, job: Job, reason: str) -> None:
        """Mark a delivery that no attempt could bring to its target."""
        delivery, target = _load(tx, job.payload["id"])
        if delivery["state"] != "pending":
            return
        tx.execute(
            sa.update(outbox)
            .where(outbox.c.id == delivery["id"])
            .values(state="dead", finished_at=self._core.clock.now())
        )
        where = ("webhook_delivery", delivery["id"])
        data = {"target": target["name"], "reason": reason, "attempts": job.attempts}
        _audit(tx, self._core, "webhook.delivery.dead", "failure", delivery["tenant"], where, data)

    def _failed(
        self, tx: Tx, delivery: sa.RowMapping, target: sa.RowMapping, status: int | None,
        problem: str | None, excerpt: str | None, millis: int,
    ) -> bool:  # fmt: skip
        """Record a failed attempt; disable a target that is gone or has failed for too long, and say so."""
        now = self._core.clock.now()
        self._attempt(tx, delivery, status, problem, excerpt, millis)
        since = target["failing_since"] or now
        too_long = now - since >= timedelta(seconds=target["disable_after_s"])
        if status != _GONE and not too_long:
            tx.execute(sa.update(targets).where(targets.c.name == target["name"]).values(failing_since=since))
            return False
        reason = "gone" if status == _GONE else "failing"
        tx.execute(
            sa.update(targets)
            .where(targets.c.name == target["name"], targets.c.state == "enabled")
            .values(state="disabled", failing_since=since, reason=reason, updated_at=now)
        )
        where = ("webhook", f"out:{target['name']}")
        _audit(
            tx, self._core, "webhook.target.disabled", "failure", target["tenant"], where, {"reason": reason}
        )
        return True

    def _attempt(
        self, tx: Tx, delivery: sa.RowMapping, status: int | None, problem: str | None, excerpt: str | None,
        millis: int,
    ) -> None:  # fmt: skip
        tx.execute(
            sa.insert(attempts),
            {
                "id": self._core.ids.uuid7(), "tenant": delivery["tenant"], "delivery": delivery["id"],
                "at": self._core.clock.now(), "status": status, "error": problem, "excerpt": excerpt,
                "millis": millis,
            },
        )  # fmt: skip


def _load(tx: Tx, delivery: str) -> tuple[sa.RowMapping, sa.RowMapping]:
    row = tx.execute(sa.select(outbox).where(outbox.c.id == delivery)).mappings().one_or_none()
    if row is None:
        raise GiveUp("the delivery is not stored any more.")
    target = tx.execute(sa.select(targets).where(targets.c.name == row["target"])).mappings().one()
    return row, target


def _aad(target: str, delivery: str) -> bytes:
    return f"{target}|{delivery}".encode()


def _audit(
    tx: Tx, core: Core, action: str, outcome: Literal["success", "failure"], tenant: str, target: tuple[str, str],
    data: Mapping[str, Any], actor: Actor = _ACTOR,
) -> None:  # fmt: skip
    record(
        tx, core, Event(action=action, outcome=outcome, actor=actor, tenant=tenant, target=target, data=data)
    )
