"""Checkout sessions: the customer pays on the provider's own page (docs.stripe.com/api/checkout/sessions)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from .account import Account
from .cards import Card
from .errors import ApiError, invalid, refused
from .intents import charge, new
from .params import Params

_DAY = 86_400


def create(account: Account, given: Params) -> dict[str, Any]:
    """Make a session for a payment; the page is at its `url`."""
    if given.choice("mode", ("payment", "setup", "subscription"), "payment") != "payment":
        raise invalid("mode", "Only payment mode is supported here.")
    lines = [_line(item) for item in given.items("line_items")]
    if not lines:
        raise invalid("line_items", "Missing required param: line_items.", "parameter_missing")
    if len({line["currency"] for line in lines}) > 1:
        raise invalid("line_items", "All line items must have the same currency.")
    total = sum(line["amount_total"] for line in lines)
    if total > 99_999_999:
        raise invalid("line_items", "The total is too large.", "amount_too_large")
    success, cancel = _address(given, "success_url"), _address(given, "cancel_url", required=False)
    expires = given.integer("expires_at", high=1 << 40)
    if expires is not None and not account.now() + 1800 <= expires <= account.now() + _DAY:
        raise invalid("expires_at", "The expires_at timestamp must be from 30 minutes to 24 hours from now.")
    inner = given.sub("payment_intent_data")
    payment = {"metadata": inner.metadata(), "description": inner.text("description", limit=1000)}
    kinds = given.texts("payment_method_types") or ["card"]
    if set(kinds) - {"card"}:
        raise invalid("payment_method_types", "Only card is supported here.")
    reference, email = given.text("client_reference_id", limit=200), given.text("customer_email", limit=512)
    metadata = given.metadata()
    given.text("locale"), given.text("submit_type"), given.choice("ui_mode", ("hosted", "hosted_page"))
    given.finish()
    session = account.make(
        "cs_test",
        "checkout.session",
        amount_subtotal=total,
        amount_total=total,
        cancel_url=cancel,
        client_reference_id=reference,
        currency=lines[0]["currency"],
        customer=None,
        customer_email=email,
        expires_at=expires or account.now() + _DAY,
        metadata=metadata,
        mode="payment",
        payment_intent=None,
        payment_method_types=["card"],
        payment_status="unpaid",
        status="open",
        success_url=success,
        ui_mode="hosted",
        url=None,
    )
    session["url"] = f"{account.base_url}/pay/{session['id']}"
    account.make("cs_data", "_session_data", session=session["id"], lines=lines, payment=payment, intent=None)
    return account.store.put(session)


def retrieve(account: Account, object_id: str) -> dict[str, Any]:
    """Return a session; one past its time expires now."""
    return current(account, account.need("checkout.session", object_id, "session"))


def current(account: Account, session: dict[str, Any]) -> dict[str, Any]:
    """Return the session as it stands now: past its time and still open, it is expired."""
    if session["status"] == "open" and session["expires_at"] <= account.now():
        return _expire(account, session)
    return session


def expire_call(account: Account, object_id: str, given: Params) -> dict[str, Any]:
    """Expire an open session."""
    given.finish()
    session = retrieve(account, object_id)
    if session["status"] != "open":
        raise refused(
            "resource_already_exists"
            if session["status"] == "expired"
            else "checkout_session_unexpected_state",
            f'Only Checkout Sessions with a status in ["open"] can be expired. It is {session["status"]}.',
        )
    return _expire(account, session)


def lines_of(account: Account, object_id: str) -> list[dict[str, Any]]:
    """Return a session's line items."""
    retrieve(account, object_id)
    lines: list[dict[str, Any]] = account.store.find("_session_data", {"session": object_id})[0]["lines"]
    return lines


def pay(account: Account, session: dict[str, Any], card: Card) -> tuple[dict[str, Any], ApiError | None]:
    """Charge a card for an open session: the page's own button. A second success is impossible."""
    data = account.store.find("_session_data", {"session": session["id"]})[0]
    if data["intent"] is None:
        wanted = data["payment"]
        intent = new(
            account,
            session["amount_total"],
            session["currency"],
            wanted["metadata"],
            wanted["description"],
            "automatic",
        )
        account.emit("payment_intent.created", intent)
        data["intent"] = intent["id"]
        account.store.put(data)
    intent = account.need("payment_intent", data["intent"])
    if intent["status"] != "requires_payment_method":
        raise refused(
            "checkout_session_unexpected_state", "This session's payment is not waiting for a card."
        )
    intent["payment_method"] = account.new_id("pm")
    intent, error = charge(account, intent, card)
    if error is None and intent["status"] == "succeeded":
        session |= {
            "status": "complete",
            "payment_status": "paid",
            "payment_intent": intent["id"],
            "url": None,
        }
        account.store.put(session)
        account.emit("checkout.session.completed", session)
    return session, error


def _expire(account: Account, session: dict[str, Any]) -> dict[str, Any]:
    session |= {"status": "expired", "url": None}
    account.store.put(session)
    account.emit("checkout.session.expired", session)
    return session


def _line(item: Params) -> dict[str, Any]:
    quantity = item.integer("quantity", low=1, high=999_999) or 1
    price = item.sub("price_data")
    currency, amount = price.currency(), price.amount("unit_amount")
    product = price.sub("product_data")
    name = product.required("name", limit=250)
    product.text("description"), product.metadata()
    return {
        "object": "item",
        "amount_subtotal": amount * quantity,
        "amount_total": amount * quantity,
        "currency": currency,
        "description": name,
        "quantity": quantity,
    }


def _address(given: Params, name: str, *, required: bool = True) -> str | None:
    value = given.required(name, limit=5000) if required else given.text(name, limit=5000)
    if value is None:
        return None
    parts = urlsplit(value)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or any(char in value for char in " \r\n\"'<>;")
    ):
        raise invalid(name, "Not a valid URL", "url_invalid")
    return value
