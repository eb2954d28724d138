"""Refunds as change requests: asked for by one person, approved by another, carried out by the charge service."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.pan import contains_pan
from redoubt.guard import Approval, Approvals, Decision, Kind
from redoubt.guard.errors import ApprovalStale
from redoubt.guard.kinds import MayDecide

from . import money, store
from .errors import PaymentConflict, PaymentNotFound
from .models import Payment, SwitchCheck
from .outbox import Outbox

KIND = "payments.refund"
_MAX_REASON = 500


class Refunds:
    """Asks for refunds, and is the executor that an approval of one sets in motion."""

    def __init__(self, core: Core, outbox: Outbox, switches: SwitchCheck) -> None:
        self._core, self._outbox, self._switches = core, outbox, switches

    def kind(self, may_decide: MayDecide, *, lifetime: timedelta = timedelta(hours=24)) -> Kind:
        """Return the kind of change request that a refund is; `may_decide` says who may approve one."""
        return Kind(KIND, self, may_decide, lifetime=lifetime)

    def request(
        self,
        tx: Tx,
        approvals: Approvals,
        payment_id: str,
        *,
        amount: int,
        currency: str,
        reason: str,
        requester: str,
        tenant: str = "main",
        request_id: str | None = None,
    ) -> Approval:
        """Ask for a refund and return its change request; no money moves until another person approves it.

        Raises MoneyInvalid, PaymentNotFound, PaymentConflict, and what the switches raise.
        """
        money.check(amount, currency)
        self._switches.check("refunds", tenant, money=True)
        reason = reason.strip()
        if not reason or len(reason) > _MAX_REASON or contains_pan(reason):
            raise PaymentConflict("a refund says why, in at most 500 characters and without card numbers.")
        payment = store.payment(tx, tenant, payment_id, lock=True)
        if payment is None:
            raise PaymentNotFound("there is no such payment.")
        self._demand_room(tx, payment, amount, currency)
        now = self._core.clock.now()
        payload = {
            "tenant": tenant,
            "payment": payment.id,
            "provider_id": payment.provider_payment,
            "amount": amount,
            "currency": currency,
            "order": payment.order_id,
            "reason": reason,
            "requester": requester,
            "requested_at": now.isoformat(),
            "nonce": self._core.ids.token(18),
        }
        approval = approvals.create(
            tx, KIND, payload, requester=requester, ticket=reason, tenant=tenant, request_id=request_id
        )
        values = {
            "id": self._core.ids.uuid7(), "tenant": tenant, "payment_id": payment.id, "amount": amount,
            "currency": currency, "reason": reason, "requester": requester, "approval_id": approval.id,
            "state": "requested", "failure": None, "created_at": now, "updated_at": now,
        }  # fmt: skip
        tx.execute(sa.insert(store.refunds), values)
        record(
            tx,
            self._core,
            Event(
                action="payments.refund.requested",
                outcome="success",
                actor=Actor(kind="user", id=requester),
                tenant=tenant,
                target=("Refund", str(values["id"])),
                data={"amount": amount, "currency": currency, "payment": payment.id, "approval": approval.id},
                request_id=request_id,
            ),
        )
        return approval

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any]:
        """Write the command, with the exact payload and the assertion, in the approving transaction.

        The charge service trusts none of it and checks both again.
        """
        table = store.refunds
        refund = store.refund(
            tx, table.c.tenant == approval.tenant, table.c.approval_id == approval.id, lock=True
        )
        if refund is None or refund.state != "requested":
            raise ApprovalStale("this refund is not waiting for an approval.")
        self._switches.check("refunds", approval.tenant, money=True)
        now = self._core.clock.now()
        tx.execute(sa.update(table).where(table.c.id == refund.id).values(state="created", updated_at=now))
        body = {
            "refund": refund.id,
            "payload": base64.urlsafe_b64encode(approval.payload_bytes).rstrip(b"=").decode(),
            "approver": decision.approver,
            "assertion": plain_assertion(decision.assertion),
        }
        self._outbox.put(tx, command_id(refund.id), "refund", body, tenant=approval.tenant)
        return {"refund": refund.id}

    async def send(self, approval: Approval) -> None:
        """Deliver an approved refund now; if nobody answers, the worker goes on with it."""
        table = store.refunds
        refund = await self._core.db.read(lambda tx: store.refund(tx, table.c.approval_id == approval.id))
        if refund is not None:
            await self._outbox.deliver_now(command_id(refund.id))

    def _demand_room(self, tx: Tx, payment: Payment, amount: int, currency: str) -> None:
        """Refuse early what the charge service would refuse; it alone decides."""
        if payment.state != "succeeded" or payment.provider_payment is None:
            raise PaymentConflict("only a payment that succeeded can be refunded.")
        if currency != payment.currency:
            raise PaymentConflict("a refund is in its payment's currency.")
        taken = sum(
            refund.amount
            for refund in store.refunds_of(tx, payment.tenant, payment.id)
            if refund.state not in ("requested", "refused")
        )
        if amount > payment.amount - taken:
            raise PaymentConflict("the refund is more than what is left of the payment.")


def command_id(refund_id: str) -> str:
    """Return the id of the command that carries a refund out."""
    return f"refund:{refund_id}"


def plain_assertion(assertion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a WebAuthn assertion that prove something, as text."""
    given = assertion.get("response")
    response = given if isinstance(given, Mapping) else {}
    names = ("clientDataJSON", "authenticatorData", "signature")
    credential = str(assertion.get("id", ""))
    return {
        "id": credential,
        "rawId": str(assertion.get("rawId", credential)),
        "type": "public-key",
        "response": {name: str(response.get(name, "")) for name in names},
    }
