"""Payment intents, their charges and balance transactions (docs.stripe.com/api/payment_intents)."""

from __future__ import annotations

from typing import Any

from .account import Account
from .cards import Card, by_method
from .errors import ApiError, declined, invalid, refused
from .params import Params

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action", "requires_capture")


def create(account: Account, given: Params) -> dict[str, Any]:
    """Make a payment intent, and confirm it at once when asked to."""
    amount, currency = given.amount(), given.currency()
    metadata, description = given.metadata(), given.text("description", limit=1000)
    capture = given.choice("capture_method", ("automatic", "automatic_async", "manual"), "automatic")
    kinds = given.texts("payment_method_types") or ["card"]
    automatic = given.sub("automatic_payment_methods")
    automatic.boolean("enabled"), automatic.choice("allow_redirects", ("always", "never"))
    confirmed, method = given.boolean("confirm"), _method(given)
    for name in ("return_url", "receipt_email", "customer", "statement_descriptor", "setup_future_usage"):
        given.text(name, limit=2048)
    given.boolean("off_session")
    if set(kinds) - {"card"}:
        raise invalid("payment_method_types", "Only card is supported here.")
    given.finish()
    intent = new(account, amount, currency, metadata, description, capture or "automatic")
    if method is not None:
        intent |= {"payment_method": method, "status": "requires_confirmation"}
        account.store.put(intent)
    account.emit("payment_intent.created", intent)
    return confirm(account, intent) if confirmed else intent


def new(
    account: Account,
    amount: int,
    currency: str,
    metadata: dict[str, str],
    description: str | None,
    capture: str,
) -> dict[str, Any]:
    """Store a payment intent that nobody has paid yet."""
    intent = account.make(
        "pi",
        "payment_intent",
        amount=amount,
        amount_capturable=0,
        amount_received=0,
        automatic_payment_methods=None,
        canceled_at=None,
        cancellation_reason=None,
        capture_method=capture,
        client_secret=None,
        confirmation_method="automatic",
        currency=currency,
        customer=None,
        description=description,
        last_payment_error=None,
        latest_charge=None,
        metadata=metadata,
        next_action=None,
        payment_method=None,
        payment_method_types=["card"],
        status="requires_payment_method",
    )
    intent["client_secret"] = f"{intent['id']}_secret_{account.ids.token(18)}"
    return account.store.put(intent)


def confirm_call(account: Account, object_id: str, given: Params) -> dict[str, Any]:
    """Confirm by the API: with the method named before, or now."""
    method = _method(given)
    given.text("return_url", limit=2048), given.boolean("off_session")
    given.finish()
    intent = account.need("payment_intent", object_id, "intent")
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise _state(intent, "confirm")
    if method is not None:
        intent["payment_method"] = method
    return confirm(account, intent)


def confirm(account: Account, intent: dict[str, Any]) -> dict[str, Any]:
    """Charge the intent's payment method, as its test token says."""
    if intent["payment_method"] is None:
        raise refused(
            "payment_intent_unexpected_state",
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            payment_intent=intent,
        )
    card = by_method(intent["payment_method"])
    assert card is not None
    intent, error = charge(account, intent, card)
    if error is not None:
        raise error
    return intent


def charge(account: Account, intent: dict[str, Any], card: Card) -> tuple[dict[str, Any], ApiError | None]:
    """Charge a card for an intent; return the intent as it now stands, and the decline if it was one."""
    if card.action:
        intent |= {
            "status": "requires_action",
            "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}},
        }
        account.store.put(intent)
        account.emit("payment_intent.requires_action", intent)
        return intent, None
    paid = not card.code
    captured = paid and intent["capture_method"] != "manual"
    made = _charge(account, intent, card, captured)
    intent |= {"latest_charge": made["id"], "next_action": None}
    if not paid:
        error = declined(card.code, card.decline_code, card.message, {}, made["id"])
        inner = {k: v for k, v in error.members.items() if k != "payment_intent"}
        intent |= {"status": "requires_payment_method", "payment_method": None, "last_payment_error": inner}
        account.store.put(intent)
        error.members["payment_intent"] = intent
        account.emit("charge.failed", made)
        account.emit("payment_intent.payment_failed", intent)
        return intent, error
    if captured:
        intent |= {"status": "succeeded", "amount_received": intent["amount"], "last_payment_error": None}
        account.store.put(intent)
        account.emit("charge.succeeded", made)
        account.emit("payment_intent.succeeded", intent)
    else:
        intent |= {
            "status": "requires_capture",
            "amount_capturable": intent["amount"],
            "last_payment_error": None,
        }
        account.store.put(intent)
        account.emit("charge.succeeded", made)
        account.emit("payment_intent.amount_capturable_updated", intent)
    return intent, None


def capture_call(account: Account, object_id: str, given: Params) -> dict[str, Any]:
    """Capture what was authorised, or less."""
    amount = given.integer("amount_to_capture", low=1)
    given.finish()
    intent = account.need("payment_intent", object_id, "intent")
    if intent["status"] != "requires_capture":
        raise _state(intent, "capture")
    amount = intent["amount_capturable"] if amount is None else amount
    if amount > intent["amount_capturable"]:
        raise refused("amount_too_large", "The amount to capture is greater than the capturable amount.")
    made = account.need("charge", intent["latest_charge"])
    made |= {"captured": True, "amount_captured": amount}
    made["balance_transaction"] = settle(account, made["id"], "charge", amount, made["currency"])
    account.store.put(made)
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    account.store.put(intent)
    account.emit("charge.captured", made)
    account.emit("payment_intent.succeeded", intent)
    return intent


def cancel_call(account: Account, object_id: str, given: Params) -> dict[str, Any]:
    """Cancel an intent that nobody has paid."""
    reason = given.choice(
        "cancellation_reason", ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
    )
    given.finish()
    intent = account.need("payment_intent", object_id, "intent")
    if intent["status"] not in _OPEN:
        raise _state(intent, "cancel")
    intent |= {
        "status": "canceled",
        "canceled_at": account.now(),
        "cancellation_reason": reason,
        "amount_capturable": 0,
    }
    account.store.put(intent)
    account.emit("payment_intent.canceled", intent)
    return intent


def update_call(account: Account, object_id: str, given: Params) -> dict[str, Any]:
    """Change what may still change: metadata and description always, the amount before confirmation."""
    amount, metadata, description = (
        given.integer("amount", low=1),
        given.metadata(),
        given.text("description"),
    )
    given.finish()
    intent = account.need("payment_intent", object_id, "intent")
    if amount is not None and intent["status"] not in ("requires_payment_method", "requires_confirmation"):
        raise _state(intent, "update the amount of")
    intent["metadata"] = {k: v for k, v in (intent["metadata"] | metadata).items() if v != ""}
    intent |= {"amount": amount or intent["amount"], "description": description or intent["description"]}
    return account.store.put(intent)


def settle(account: Account, source: str, kind: str, amount: int, currency: str) -> str:
    """Leave a balance transaction and return its id: 2.9 % and 30 on a charge, nothing on a refund."""
    fee = amount * 29 // 1000 + 30 if kind == "charge" else 0
    made = account.make(
        "txn",
        "balance_transaction",
        amount=amount,
        available_on=account.now() + 2 * 86_400,
        currency=currency,
        description=None,
        exchange_rate=None,
        fee=fee,
        fee_details=[{"amount": fee, "currency": currency, "type": "stripe_fee"}] if fee else [],
        net=amount - fee,
        reporting_category=kind,
        source=source,
        status="pending",
        type=kind,
    )
    return str(made["id"])


def _charge(account: Account, intent: dict[str, Any], card: Card, captured: bool) -> dict[str, Any]:
    paid = not card.code
    made = account.make(
        "ch",
        "charge",
        amount=intent["amount"],
        amount_captured=intent["amount"] if captured else 0,
        amount_refunded=0,
        balance_transaction=None,
        captured=captured,
        currency=intent["currency"],
        customer=None,
        description=intent["description"],
        disputed=False,
        failure_code=card.code or None,
        failure_message=card.message if card.code else None,
        metadata=intent["metadata"],
        outcome={
            "network_status": "approved_by_network" if paid else "declined_by_network",
            "reason": card.decline_code or None,
            "type": "authorized" if paid else "issuer_declined",
        },
        paid=paid,
        payment_intent=intent["id"],
        payment_method=intent["payment_method"],
        payment_method_details={"type": "card", "card": {"brand": card.brand, "last4": card.last4}},
        refunded=False,
        status="succeeded" if paid else "failed",
    )
    if captured:
        made["balance_transaction"] = settle(account, made["id"], "charge", made["amount"], made["currency"])
        account.store.put(made)
    return made


def _method(given: Params) -> str | None:
    if "payment_method_data" in given or "source" in given:
        raise invalid(
            "payment_method_data",
            "Sending credit card numbers directly to the API is unsafe. Use a test payment method or the hosted page.",
        )
    token = given.text("payment_method")
    if token is not None and by_method(token) is None:
        raise ApiError(
            400,
            "invalid_request_error",
            "No such PaymentMethod.",
            saved=False,
            code="resource_missing",
            param="payment_method",
        )
    return token


def _state(intent: dict[str, Any], verb: str) -> ApiError:
    return refused(
        "payment_intent_unexpected_state",
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
        payment_intent=intent,
    )
