"""Binds payments to the app: the charge service's client, the provider's webhook and approver passkeys."""

from __future__ import annotations

import base64

from attrs import frozen

from redoubt.authz import Roles
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.jobs import Backoff, Job, Jobs, enqueue
from redoubt.core.secrets import SecretRef
from redoubt.guard import Kinds, SwitchBoard
from redoubt.payments import ChargeClient, Payment, Payments
from redoubt.webhooks.models import Delivery, EndpointConfig

from .foureyes import holders_of
from .plan import PaymentsPlan

EVENT_JOB = "payments.provider-event"


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


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(bytes(value)).rstrip(b"=").decode()
