"""The inbox of commands: each id takes effect once, and the same id with another body is a conflict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json, sha256_hex
from redoubt.core.db import Tx

from . import approvers, operations, store, switches
from .errors import CommandConflict, CommandInvalid, Refused
from .events import note
from .models import ChargeConfig, Intent


@frozen
class Command:
    """One instruction from the app; `id` is its idempotency key."""

    id: str
    tenant: str
    kind: str
    body: Mapping[str, Any]

    @classmethod
    def parse(cls, data: object) -> Command:
        """Return the command in a request's JSON; raises CommandInvalid."""
        if not isinstance(data, dict) or set(data) != {"id", "tenant", "kind", "body"}:
            raise CommandInvalid("a command has exactly id, tenant, kind and body.")
        body = data["body"]
        if not isinstance(body, dict):
            raise CommandInvalid("the body of a command is an object.")
        return cls(
            operations.text(data, "id"),
            operations.text(data, "tenant", 100),
            operations.text(data, "kind", 50),
            body,
        )

    @property
    def hash(self) -> str:
        """The hash of what is asked for; raises CommandInvalid when it has no canonical form."""
        try:
            return sha256_hex(canonical_json({"kind": self.kind, "body": dict(self.body)}))
        except (TypeError, ValueError) as error:
            raise CommandInvalid("the body of a command has no canonical form.") from error


@frozen
class Answer:
    """What became of a command: accepted, with its intent if it started one, or refused for good."""

    status: str
    reason: str | None
    intent: str | None


Handler = Callable[[Tx, Core, ChargeConfig, Command], Intent | None]


def accept(tx: Tx, core: Core, config: ChargeConfig, command: Command, identity: str) -> Answer:
    """Take a command in one transaction with its effect and audit event, or return what became of it before.

    Raises CommandInvalid, CommandConflict (same id, other body) and Held; none of them leaves a row.
    """
    known = _known(tx, command)
    if known is not None:
        return known
    if command.kind not in _HANDLERS:
        raise CommandInvalid("there is no command of this kind.")
    row: dict[str, Any] = {
        "tenant": command.tenant,
        "id": command.id,
        "kind": command.kind,
        "body_hash": command.hash,
        "identity": identity,
        "status": "accepted",
        "intent": None,
        "answer": {},
        "received_at": core.clock.now(),
    }
    if not store.insert_once(tx, store.commands, row):  # a twin committed while we waited
        known = _known(tx, command)
        assert known is not None
        return known
    answer = _run(tx, core, config, command)
    tx.execute(
        sa.update(store.commands)
        .where(store.commands.c.tenant == command.tenant, store.commands.c.id == command.id)
        .values(status=answer.status, intent=answer.intent, answer={"reason": answer.reason})
    )
    return answer


def _run(tx: Tx, core: Core, config: ChargeConfig, command: Command) -> Answer:
    try:
        with tx.conn.begin_nested():  # a refusal takes back all that its handler wrote
            intent = _HANDLERS[command.kind](tx, core, config, command)
    except Refused as refused:
        note(
            tx,
            core,
            f"charge.command.{command.kind}",
            "denied",
            tenant=command.tenant,
            actor="charge",
            target=("command", command.id),
            data={"reason": refused.reason},
        )
        return Answer("refused", refused.reason, None)
    if intent is None:
        note(
            tx,
            core,
            f"charge.command.{command.kind}",
            "success",
            tenant=command.tenant,
            actor="charge",
            target=("command", command.id),
        )
    return Answer("accepted", None, None if intent is None else intent.id)


def _known(tx: Tx, command: Command) -> Answer | None:
    table = store.commands
    row = tx.execute(
        sa.select(table).where(table.c.tenant == command.tenant, table.c.id == command.id)
    ).one_or_none()
    if row is None:
        return None
    if row.body_hash != command.hash:
        raise CommandConflict("this command id was used with another body.")
    return Answer(row.status, row.answer.get("reason"), row.intent)


def _pay(tx: Tx, core: Core, config: ChargeConfig, command: Command) -> Intent:
    return operations.start_payment(tx, core, config, command.tenant, command.id, command.body)


def _refund(tx: Tx, core: Core, config: ChargeConfig, command: Command) -> Intent:
    return operations.start_refund(tx, core, config, command.tenant, command.id, command.body)


def _enrol(tx: Tx, core: Core, config: ChargeConfig, command: Command) -> None:
    approvers.enrol(
        tx,
        core,
        command.tenant,
        operations.text(command.body, "person"),
        operations.text(command.body, "credential", 1400),
        operations.text(command.body, "public_key", 4096),
    )


def _revoke(tx: Tx, core: Core, config: ChargeConfig, command: Command) -> None:
    approvers.revoke(tx, core, command.tenant, operations.text(command.body, "credential", 1400))


def _switch(tx: Tx, core: Core, config: ChargeConfig, command: Command) -> None:
    killed, revision = command.body.get("killed"), command.body.get("revision")
    if type(killed) is not bool or type(revision) is not int:
        raise CommandInvalid("killed must be a boolean and revision a number.")
    switches.put(tx, core, command.tenant, operations.text(command.body, "capability"), killed, revision)


_HANDLERS: dict[str, Handler] = {
    "pay": _pay,
    "refund": _refund,
    "enrol_approver": _enrol,
    "revoke_approver": _revoke,
    "set_switch": _switch,
}
