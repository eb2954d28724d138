"""Refunds, never above what was captured (docs.stripe.com/api/refunds)."""

from __future__ import annotations

from typing import Any

from .account import Account
from .errors import invalid, refused
from .intents import settle
from .params import Params


def create(account: Account, given: Params) -> dict[str, Any]:
    """Refund all that is left of a charge, or a part of it."""
    intent_id, charge_id = given.text("payment_intent"), given.text("charge")
    amount = given.integer("amount", low=1)
    reason = given.choice("reason", ("duplicate", "fraudulent", "requested_by_customer"))
    metadata = given.metadata()
    given.finish()
    if (intent_id is None) == (charge_id is None):
        raise invalid(
            "payment_intent", "One of payment_intent and charge must be given.", "parameter_missing"
        )
    if intent_id is not None:
        intent = account.need("payment_intent", intent_id, "payment_intent")
        if intent["latest_charge"] is None or intent["status"] != "succeeded":
            raise refused(
                "charge_not_refundable", "This PaymentIntent does not have a successful charge to refund."
            )
        charge_id = intent["latest_charge"]
    charge = account.need("charge", str(charge_id), "charge")
    if not charge["paid"] or not charge["captured"]:
        raise refused("charge_not_refundable", "This charge was not paid and captured.")
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left <= 0:
        raise refused("charge_already_refunded", f"Charge {charge['id']} has already been refunded.")
    amount = left if amount is None else amount
    if amount > left:
        raise refused(
            "amount_too_large",
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})",
            param="amount",
        )
    refund = account.make(
        "re",
        "refund",
        amount=amount,
        balance_transaction=None,
        charge=charge["id"],
        currency=charge["currency"],
        failure_reason=None,
        metadata=metadata,
        payment_intent=charge["payment_intent"],
        reason=reason,
        receipt_number=None,
        status="succeeded",
    )
    refund["balance_transaction"] = settle(account, refund["id"], "refund", -amount, charge["currency"])
    account.store.put(refund)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    account.store.put(charge)
    account.emit("refund.created", refund)
    account.emit("charge.refunded", charge)
    return refund


def fail(account: Account, refund_id: str) -> dict[str, Any]:
    """Let a refund fail after all, as a bank may days later: for the control face."""
    refund = account.need("refund", refund_id)
    if refund["status"] != "succeeded":
        raise refused("refund_unexpected_state", "Only a succeeded refund can fail.")
    refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    charge = account.need("charge", refund["charge"])
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    refund["failure_balance_transaction"] = settle(
        account, refund["id"], "refund_failure", refund["amount"], refund["currency"]
    )
    account.store.put(charge)
    account.store.put(refund)
    account.emit("refund.failed", refund)
    account.emit("charge.refund.updated", refund)
    return refund
