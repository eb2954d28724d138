"""Mirror rows: what the charge service reports about payments and refunds, applied in any order and any number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .models import RANK, PaymentHook


class Mirror:
    """Applies reported states; each rise is audited and told to the app's hook in the same transaction."""

    def __init__(self, core: Core, hook: PaymentHook | None) -> None:
        self._core, self._hook = core, hook

    def apply(self, tx: Tx, change: Mapping[str, Any]) -> None:
        """Apply one reported state; an older report than what is known changes nothing."""
        if change["kind"] == "payment":
            self._payment(tx, change)
        elif change["kind"] == "refund":
            self._refund(
                tx, str(change["tenant"]), str(change["op"]), str(change["state"]), change.get("failure")
            )

    def refuse(self, tx: Tx, kind: str, tenant: str, op: str, reason: str | None) -> None:
        """Apply that the charge service refused the command of this payment or refund for good."""
        if kind == "pay":
            payment = store.payment(tx, tenant, op)
            if payment is not None:
                change = {"state": "refused", "failure": reason, "refunded": payment.refunded}
                self._payment(tx, {"tenant": tenant, "op": op, **change})
        elif kind == "refund":
            self._refund(tx, tenant, op, "refused", reason)

    def _payment(self, tx: Tx, change: Mapping[str, Any]) -> None:
        payment = store.payment(tx, str(change["tenant"]), str(change["op"]), lock=True)
        if payment is None:
            self._unknown(tx, change)
            return
        values: dict[str, Any] = {"updated_at": self._core.clock.now()}
        rises = RANK[change["state"]] > RANK[payment.state]
        if rises:
            values |= {"state": change["state"], "failure": change.get("failure")}
        if change["refunded"] > payment.refunded:
            values["refunded"] = change["refunded"]
        for name in ("redirect_url", "provider_payment"):
            if change.get(name) and getattr(payment, name) is None:
                values[name] = change[name]
        values["human"] = (
            bool(change.get("human")) if RANK[change["state"]] >= RANK[payment.state] else payment.human
        )
        tx.execute(
            sa.update(store.payments)
            .where(store.payments.c.tenant == payment.tenant, store.payments.c.id == payment.id)
            .values(**values)
        )
        if not rises:
            return
        after = store.payment(tx, payment.tenant, payment.id)
        assert after is not None
        amounts = {"amount": after.amount, "currency": after.currency, "order": after.order_id}
        self._note(tx, "payments.payment", after.state, after.tenant, ("Payment", after.id), amounts)
        if self._hook is not None:
            self._hook.on_payment_state(tx, after, after.state)

    def _refund(self, tx: Tx, tenant: str, op: str, state: str, failure: str | None) -> None:
        table = store.refunds
        refund = store.refund(tx, table.c.tenant == tenant, table.c.id == op, lock=True)
        if refund is None:
            self._unknown(tx, {"tenant": tenant, "op": op, "kind": "refund"})
            return
        if RANK[state] <= RANK[refund.state]:
            return
        tx.execute(
            sa.update(table)
            .where(table.c.id == refund.id)
            .values(state=state, failure=failure, updated_at=self._core.clock.now())
        )
        data = {
            "amount": refund.amount,
            "currency": refund.currency,
            "payment": refund.payment_id,
            "failure": failure,
        }
        self._note(tx, "payments.refund", state, tenant, ("Refund", refund.id), data)

    def _unknown(self, tx: Tx, change: Mapping[str, Any]) -> None:
        target = (str(change.get("kind", "payment")), str(change["op"]))
        self._note(tx, "payments.alert", "unknown-operation", str(change["tenant"]), target, {})

    def _note(
        self, tx: Tx, action: str, state: str, tenant: str, target: tuple[str, str], data: Mapping[str, Any]
    ) -> None:
        good = state in ("created", "pending", "succeeded")
        record(
            tx,
            self._core,
            Event(
                action=f"{action}.{state}",
                outcome="success" if good else "failure",
                actor=Actor(kind="service", id="charge"),
                tenant=tenant,
                target=target,
                data=dict(data),
            ),
        )
