"""Binds payments to the app: the charge service's client, the provider's webhook, refunds and approver passkeys."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from redoubt.authz import Entity, Roles, permit, user_uid
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.jobs import Backoff, Job, Jobs, enqueue
from redoubt.core.problem import Problem
from redoubt.core.secrets import SecretRef
from redoubt.guard import Approvals, Kinds, SwitchBoard
from redoubt.guard.errors import ApprovalError, Killed
from redoubt.payments import ChargeClient, Payment, Payments
from redoubt.payments import store as payment_store
from redoubt.payments.errors import PaymentError
from redoubt.webhooks.models import Delivery, EndpointConfig

from .crud import json_body
from .foureyes import holders_of
from .plan import PaymentsPlan
from .request import GuardedRequest

EVENT_JOB = "payments.provider-event"
_MAX_ID = 64


@frozen(eq=False)
class Hook:
    """Tells the app of a payment's new state, in the transaction that learns it (payments' PaymentHook)."""

    plan: PaymentsPlan

    def on_payment_state(self, tx: Tx, payment: Payment, state: str) -> None:
        """Pass it on to whoever the app named."""
        if self.plan.on_change is not None:
            self.plan.on_change(tx, payment.tenant, payment.order_id, state)


class Charging:
    """The app's side of payments, bound: what routes, worker and approvals use."""

    def __init__(
        self, core: Core, plan: PaymentsPlan, switches: SwitchBoard, roles: Roles, identity: str
    ) -> None:
        self.core, self.plan, self.roles = core, plan, roles
        self.client = ChargeClient.from_settings(core.settings, identity)
        self.payments = Payments(core, self.client, switches=switches, hook=Hook(plan))

    def register_kind(self, kinds: Kinds) -> None:
        """Let holders of the plan's roles approve refunds."""
        kinds.register(self.payments.refunds.kind(holders_of(self.roles, *self.plan.approvers)))

    def endpoint(self) -> EndpointConfig:
        """Return the incoming webhook of the provider: kept in the inbox, then handed on to the charge service."""
        secrets: tuple[SecretRef, ...] = (*self.core.settings.charge.webhook_secrets,)
        return EndpointConfig(
            name=self.plan.webhook,
            scheme=self.core.settings.charge.provider,
            secrets=secrets,
            handler=self.take,
        )

    def take(self, tx: Tx, delivery: Delivery) -> None:
        """Queue a delivery for the charge service, sealed: it may hold personal data."""
        sealed = self.core.keys.seal(EVENT_JOB, delivery.body, delivery.id.encode())
        payload = {
            "delivery": delivery.id,
            "sealed": base64.b64encode(sealed).decode(),
            "headers": {
                name: value for name, value in delivery.headers.items() if name.lower() == "stripe-signature"
            },
        }
        enqueue(
            tx,
            self.core,
            EVENT_JOB,
            payload,
            tenant=delivery.tenant,
            key=f"event:{delivery.id}",
            max_attempts=20,
        )

    def register_jobs(self, jobs: Jobs) -> None:
        """Give a worker the delivery of commands and of the provider's events."""
        self.payments.register(jobs)
        jobs.outward(
            EVENT_JOB, self._forward, lambda tx, job, outcome: None, backoff=Backoff(base=0.5, cap=60)
        )

    async def _forward(self, job: Job) -> str:
        sealed = base64.b64decode(job.payload["sealed"])
        body = self.core.keys.open_sealed(EVENT_JOB, sealed, str(job.payload["delivery"]).encode())
        return await self.payments.provider_event(body, job.payload["headers"])

    def passkey_added(
        self, tx: Tx, tenant: str, user_id: str, credential_id: bytes, public_key: bytes
    ) -> None:
        """Tell the charge service of a passkey of somebody who may approve refunds (identity's PasskeyWatcher)."""
        if self.roles.roles(tx, tenant, user_id) & self.plan.approvers:
            self.payments.enrol_approver(tx, user_id, _b64(credential_id), _b64(public_key), tenant=tenant)

    def passkey_removed(self, tx: Tx, tenant: str, user_id: str, credential_id: bytes) -> None:
        """Tell the charge service that such a passkey is gone."""
        if self.roles.roles(tx, tenant, user_id) & self.plan.approvers:
            self.payments.revoke_approver(tx, _b64(credential_id), tenant=tenant)

    async def close(self) -> None:
        """Close the connections to the charge service."""
        await self.client.aclose()


def routes(charging: Charging, approvals: Approvals) -> Sequence[Route]:
    """Return the routes of payments: read one, ask for a refund of one."""
    payments = charging.payments

    async def load(request: Request) -> Entity | None:
        g = GuardedRequest.of(request)
        wanted = str(request.path_params["id"])
        if len(wanted) > _MAX_ID:
            return None
        payment = await g.read(lambda tx: payment_store.payment(tx, g.tenant, wanted))
        if payment is None:
            return None
        g.resource = payment
        return Entity(
            "Payment", payment.id, {"tenant": payment.tenant, "owner": user_uid(payment.customer_id)}
        )

    async def asked(request: Request) -> dict[str, Any]:
        amount = _body(request)["amount"]
        return {"amount": amount}

    @permit("Payment.read", resource=load)
    async def read(request: Request) -> Response:
        payment: Payment = GuardedRequest.of(request).resource
        return JSONResponse(payment.public())

    @permit("Payment.refund", resource=load, context=asked)
    async def refund(request: Request) -> Response:
        g, body = GuardedRequest.of(request), _body(request)
        payment: Payment = g.resource

        def ask(tx: Tx) -> str:
            return payments.refunds.request(
                tx,
                approvals,
                payment.id,
                amount=body["amount"],
                currency=body["currency"],
                reason=body["reason"],
                requester=g.user_id or "",
                tenant=g.tenant,
                request_id=g.request_id,
            ).id

        try:
            approval_id = await g.write(ask)
        except Killed as error:
            raise Problem(
                503, "switched-off", "Refunds are switched off for now.", headers={"Retry-After": "60"}
            ) from error
        except (PaymentError, ApprovalError) as error:
            raise Problem(
                422, error.code, "This refund cannot be asked for.", detail=error.message
            ) from error
        return JSONResponse({"approval_id": approval_id, "url": f"/console/approvals/{approval_id}"}, 202)

    return [
        Route("/api/payments/{id}", read, methods=["GET"]),
        Route("/api/payments/{id}/refunds", refund, methods=["POST"]),
    ]


def _body(request: Request) -> dict[str, Any]:
    """Return the checked body of a refund request; raises Problem 422."""
    body = json_body(request)
    problem = Problem(
        422, "invalid", "A refund has an amount in minor units, a currency and a reason, nothing else."
    )
    if not isinstance(body, dict) or set(body) != {"amount", "currency", "reason"}:
        raise problem
    amount = body["amount"]
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount < 10**12:
        raise problem
    if not isinstance(body["currency"], str) or not isinstance(body["reason"], str):
        raise problem
    return body


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(bytes(value)).rstrip(b"=").decode()
