"""Four eyes: change requests that a second person approves with a passkey over the exact payload.

The rules stand in the database, for every role and on both databases: a payload never changes, an approver is never
the requester, a request is decided once and before it expires, one assertion serves one request. Here they get their
names, the passkey is checked, and the effect joins the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..audit import RECORD, Actor, Event, record
from ..core.base import Core
from ..core.canonical import canonical_json, sha256_hex
from ..core.db import DatabaseError, Tx
from ..core.errors import RedoubtError
from ..core.problem import Problem
from . import store
from .errors import (
    AlreadyDecided,
    ApprovalExpired,
    ApprovalRefused,
    ApprovalStale,
    ApprovalUnknown,
    AssertionRefused,
    NotEntitled,
    PayloadInvalid,
    SelfApproval,
)
from .kinds import MAX_LIFETIME, AssertionVerifier, Kinds
from .models import Approval, Decision

MAX_PAYLOAD = 256 * 1024
MAX_TEXT = 500


class Approvals:
    """Change requests of one process: made, listed, approved and rejected."""

    def __init__(self, core: Core, kinds: Kinds, verifier: AssertionVerifier) -> None:
        self._core = core
        self.kinds = kinds
        self._verifier = verifier

    def create(
        self,
        tx: Tx,
        kind: str,
        payload: Mapping[str, Any],
        *,
        requester: str,
        ticket: str,
        tenant: str = "main",
        expires: datetime | timedelta | None = None,
        request_id: str | None = None,
    ) -> Approval:
        """Ask for a change and return the request; nothing happens until somebody else approves it.

        A payload without a `nonce` gets one. Raises KindUnknown, or PayloadInvalid when payload, ticket or lifetime
        are out of bounds or exactly these bytes were asked for before.
        """
        known, now = self.kinds[kind], self._core.clock.now()
        if isinstance(expires, timedelta):
            expires = now + expires
        expires = expires or now + known.lifetime
        if not now < expires <= now + MAX_LIFETIME:
            raise PayloadInvalid("a change request lives for more than no time and at most seven days.")
        if not requester or not ticket.strip() or len(ticket) > MAX_TEXT:
            raise PayloadInvalid(
                "a change request names its requester and a ticket of at most 500 characters."
            )
        if not isinstance(payload.get("nonce", ""), str):
            raise PayloadInvalid("a nonce is text.")
        whole = {"nonce": self._core.ids.uuid7(), **payload}
        dry_run = None
        if known.dry_run is not None:
            dry_run = dict(known.dry_run.run(tx, payload))
            whole["dry_run"] = sha256_hex(canonical_json(dry_run))
        data = self._bytes(whole)
        approval = Approval(
            self._core.ids.uuid7(), tenant, kind, data, sha256_hex(data), requester, ticket.strip(), dry_run, now, expires,
            "pending",
        )  # fmt: skip
        if tx.execute(
            sa.select(store.approvals.c.id).where(store.approvals.c.payload_hash == approval.payload_hash)
        ).first():
            raise PayloadInvalid("exactly this was asked for before.", hint="Use a new nonce.")
        tx.execute(
            sa.insert(store.approvals),
            {
                "id": approval.id, "tenant": tenant, "kind": kind, "payload": data.decode(),
                "payload_hash": approval.payload_hash, "requester": requester, "ticket": approval.ticket,
                "dry_run": dry_run, "created_at": now, "expires_at": expires, "state": "pending",
            },
        )  # fmt: skip
        self._record(tx, approval, "approval.create", requester, request_id, {"ticket": approval.ticket})
        return approval

    def get(self, tx: Tx, approval_id: str, tenant: str = "main") -> Approval:
        """Return a request of this tenant; raises ApprovalUnknown."""
        return self._load(tx, approval_id, tenant, lock=False)

    def list(
        self,
        tx: Tx,
        tenant: str = "main",
        *,
        state: str | None = None,
        kind: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Approval]:
        """Return requests, newest first; page on with `before` = the last id. Expired ones are still `pending` here."""
        return store.list_approvals(
            tx, tenant, state=state, kind=kind, before=before, limit=max(1, min(limit, 200))
        )

    def approve(
        self,
        tx: Tx,
        approval_id: str,
        approver: str,
        assertion: Mapping[str, Any],
        *,
        tenant: str = "main",
        request_id: str | None = None,
    ) -> Approval:
        """Approve and carry out, in this one transaction; returns the request as decided.

        The assertion must be the approver's own, fresh, with user verification, over `Approval.challenge`. Raises an
        ApprovalError, and then the caller must let the transaction roll back; `decide` does, and audits the refusal.
        """
        approval = self._load(tx, approval_id, tenant, lock=True)
        kind, now = self.kinds[approval.kind], self._core.clock.now()
        self._demand_open(approval, now)
        if approver == approval.requester:
            raise SelfApproval("who asks for a change cannot approve it.", hint="Ask a second person.")
        if not approver or not kind.may_decide(tx, approval, approver):
            raise NotEntitled("you may not decide this kind of request.")
        if kind.dry_run is not None and dict(kind.dry_run.run(tx, approval.payload)) != approval.dry_run:
            raise ApprovalStale("the change would now do something else.", hint="Ask for it again.")
        decision = self._verified(tx, approval, approver, assertion, now)
        raw = canonical_json(_plain(assertion))
        self._decide(
            tx, approval, "approved",
            decided_by=approver, decided_at=now, credential=decision.verified.credential_id,
            assertion=raw.decode(), assertion_hash=sha256_hex(raw),
        )  # fmt: skip
        decided = self._load(tx, approval_id, tenant, lock=False)
        effect = kind.executor.execute(tx, decided, decision)
        data = {"requester": approval.requester, "credential": decision.verified.credential_id}
        if effect:
            data["effect"] = dict(effect)  # type: ignore[assignment]
        self._record(tx, decided, "approval.approve", approver, request_id, data)
        return decided

    def reject(
        self,
        tx: Tx,
        approval_id: str,
        person: str,
        reason: str,
        *,
        tenant: str = "main",
        request_id: str | None = None,
    ) -> Approval:
        """Reject a request for good; its requester may withdraw it, anybody else must be entitled to decide it."""
        approval = self._load(tx, approval_id, tenant, lock=True)
        if approval.state != "pending":
            raise AlreadyDecided("this request was decided before.")
        if not reason.strip() or len(reason) > MAX_TEXT:
            raise PayloadInvalid("a rejection says why, in at most 500 characters.")
        entitled = person and self.kinds[approval.kind].may_decide(tx, approval, person)
        if person != approval.requester and not entitled:
            raise NotEntitled("you may not decide this kind of request.")
        self._decide(
            tx,
            approval,
            "rejected",
            decided_by=person,
            decided_at=self._core.clock.now(),
            reason=reason.strip(),
        )
        decided = self._load(tx, approval_id, tenant, lock=False)
        self._record(tx, decided, "approval.reject", person, request_id, {"reason": reason.strip()})
        return decided

    async def decide(
        self,
        approval_id: str,
        approver: str,
        assertion: Mapping[str, Any],
        *,
        tenant: str = "main",
        request_id: str | None = None,
    ) -> Approval:
        """Do `approve` in a transaction of its own; a refused attempt leaves its audit entry."""
        try:
            return await self._core.db.write(
                lambda tx: self.approve(
                    tx, approval_id, approver, assertion, tenant=tenant, request_id=request_id
                )
            )
        except DatabaseError:
            raise  # what could not be written cannot be recorded either
        except RedoubtError as error:
            event = Event(
                action="approval.approve",
                outcome="denied",
                actor=Actor(kind="user", id=approver or "unknown"),
                tenant=tenant,
                target=("Approval", approval_id[:100]),
                data={"code": error.code},
                request_id=request_id,
            )
            await self._core.db.group.submit(RECORD(self._core), event)
            raise

    def _verified(
        self, tx: Tx, approval: Approval, approver: str, assertion: Mapping[str, Any], now: datetime
    ) -> Decision:
        refused = AssertionRefused(
            "the passkey did not sign exactly this request.", hint="Try again with your passkey."
        )
        try:
            verified = self._verifier.verify(tx, approver, approval.challenge, assertion)
        except (RedoubtError, Problem) as error:
            raise refused from error
        if verified.user_id != approver or not verified.user_verified or not verified.credential_id:
            raise refused
        return Decision(approver, now, assertion, verified)

    def _demand_open(self, approval: Approval, now: datetime) -> None:
        if approval.state != "pending":
            raise AlreadyDecided("this request was decided before.")
        if approval.status(now) == "expired":
            raise ApprovalExpired("this request's time is over.", hint="Ask for it again.")
        if not approval.intact:
            raise ApprovalStale("the stored request was changed behind the database's back.")

    def _decide(self, tx: Tx, approval: Approval, state: str, **values: Any) -> None:
        table = store.approvals
        statement = (
            sa.update(table)
            .where(table.c.id == approval.id, table.c.state == "pending")
            .values(state=state, **values)
        )
        try:
            changed = tx.execute(statement).rowcount
        except (
            IntegrityError
        ) as error:  # a rule that the checks above do not know was broken: the database decides
            raise ApprovalRefused("the database refused this decision.") from error
        if changed != 1:
            raise AlreadyDecided("this request was decided before.")

    def _load(self, tx: Tx, approval_id: str, tenant: str, *, lock: bool) -> Approval:
        found = store.approval(tx, approval_id, tenant, lock=lock)
        if found is None:
            raise ApprovalUnknown("there is no such change request.")
        return found

    def _bytes(self, payload: Mapping[str, Any]) -> bytes:
        try:
            data = canonical_json(payload)
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadInvalid("a payload is JSON without floats.") from error
        if len(data) > MAX_PAYLOAD:
            raise PayloadInvalid("the payload is too large.")
        return data

    def _record(
        self,
        tx: Tx,
        approval: Approval,
        action: str,
        person: str,
        request_id: str | None,
        data: Mapping[str, Any],
    ) -> None:
        event = Event(
            action=action,
            outcome="success",
            actor=Actor(kind="user", id=person),
            tenant=approval.tenant,
            target=("Approval", approval.id),
            data={"kind": approval.kind, "payload_hash": approval.payload_hash, **data},
            request_id=request_id,
        )
        record(tx, self._core, event)


def _plain(assertion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of an assertion that prove something; what a browser adds beside them may vary freely."""
    response = assertion.get("response")
    kept = response if isinstance(response, Mapping) else {}
    return {
        "id": str(assertion.get("id", ""))[:2048],
        "response": {
            name: str(kept.get(name, ""))[:16_384]
            for name in ("authenticatorData", "clientDataJSON", "signature")
        },
    }
