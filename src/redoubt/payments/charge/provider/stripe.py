"""Stripe, through its official SDK with its own retries off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import httpx
import stripe

from ..errors import EventRefused
from ..models import Intent, Observed, State
from . import signature
from .http import EgressHttp, NothingSent
from .port import Absent, Created, Found, NotSent, ProviderEvent, Refused, Seen, Unknown

stripe.enable_telemetry = False

_LIST_PAGES = 20
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)

_PAYMENT: dict[str, State] = {"succeeded": "succeeded", "canceled": "refused"}
_REFUND: dict[str, State] = {"succeeded": "succeeded", "failed": "refused", "canceled": "refused"}


class StripeProvider:
    """Stripe's API, or a service compatible with it.

    `honours_keys` False is for doubles that ignore idempotency keys: then nothing is ever sent twice.
    """

    name = "stripe"

    def __init__(
        self,
        key: str,
        http: httpx.AsyncClient,
        *,
        base_url: str,
        secrets: Callable[[], Sequence[bytes]],
        now: Callable[[], datetime],
        honours_keys: bool = True,
        max_age: timedelta = timedelta(days=7),
        skew: timedelta = timedelta(minutes=5),
        timeout: float = 20.0,
    ) -> None:
        self.honours_keys = honours_keys
        self.key_window = timedelta(hours=23)  # Stripe keeps keys for at least 24 hours
        self._client = stripe.StripeClient(
            key,
            http_client=EgressHttp(http, timeout=timeout),
            base_addresses={"api": base_url.rstrip("/")},
            max_network_retries=0,
        )
        self._secrets, self._now, self._max_age, self._skew = secrets, now, max_age, skew

    async def create(self, intent: Intent) -> Created:
        """Make the object under the intent's key (docs.stripe.com/api/idempotent_requests)."""
        options: Any = {"idempotency_key": intent.key}
        api = self._client.v1
        params: Any
        try:
            if intent.kind == "refund":
                params = self._refund_params(intent)
                return Seen(refund_seen(_plain(await api.refunds.create_async(params, options)), "answer"))
            if intent.mode == "checkout":
                params = self._checkout_params(intent)
                return Seen(
                    session_seen(_plain(await api.checkout.sessions.create_async(params, options)), "answer")
                )
            params = self._payment_params(intent)
            return Seen(
                payment_seen(_plain(await api.payment_intents.create_async(params, options)), "answer")
            )
        except stripe.StripeError as error:
            return _failed(error, honours_keys=self.honours_keys)
        except _MALFORMED:
            return Unknown("answer-malformed")

    async def look_up(self, intent: Intent) -> Found:
        """Retrieve by id, or walk the list of what was made since the intent's first call and match its metadata."""
        try:
            found = await self._retrieve(intent) if intent.provider_object else await self._search(intent)
        except stripe.StripeError as error:
            return Unknown(_code(error))
        except _MALFORMED:
            return Unknown("answer-malformed")
        return Absent() if found is None else Seen(found)

    def read_event(self, raw: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Verify, then parse an event (docs.stripe.com/webhooks/signature)."""
        header = next((value for name, value in headers.items() if name.lower() == "stripe-signature"), None)
        signature.verify(
            raw, header, self._secrets(), now=self._now(), max_age=self._max_age, skew=self._skew
        )
        try:
            event = json.loads(raw)
            return _event(event)
        except _MALFORMED as error:
            raise EventRefused("the event is malformed.") from error

    def _metadata(self, intent: Intent) -> dict[str, str]:
        return {"redoubt_intent": intent.id, "redoubt_tenant": intent.tenant, "redoubt_op": intent.op}

    def _checkout_params(self, intent: Intent) -> dict[str, Any]:
        price = {
            "currency": intent.currency.lower(),
            "unit_amount": intent.amount,
            "product_data": {"name": intent.request["title"]},
        }
        return {
            "mode": "payment",
            "line_items": [{"quantity": 1, "price_data": price}],
            "success_url": intent.request["success_url"],
            "cancel_url": intent.request["cancel_url"],
            "client_reference_id": intent.id,
            "metadata": self._metadata(intent),
            "payment_intent_data": {"metadata": self._metadata(intent)},
        }

    def _payment_params(self, intent: Intent) -> dict[str, Any]:
        return {
            "amount": intent.amount,
            "currency": intent.currency.lower(),
            "payment_method": intent.request["payment_method"],
            "payment_method_types": ["card"],
            "confirm": True,
            "metadata": self._metadata(intent),
        }

    def _refund_params(self, intent: Intent) -> dict[str, Any]:
        return {
            "payment_intent": intent.provider_payment,
            "amount": intent.amount,
            "metadata": self._metadata(intent),
        }

    async def _retrieve(self, intent: Intent) -> Observed:
        api, object_id = self._client.v1, cast(str, intent.provider_object)
        if intent.kind == "refund":
            return refund_seen(_plain(await api.refunds.retrieve_async(object_id)), "lookup")
        if intent.mode == "checkout":
            return session_seen(_plain(await api.checkout.sessions.retrieve_async(object_id)), "lookup")
        return payment_seen(_plain(await api.payment_intents.retrieve_async(object_id)), "lookup")

    async def _search(self, intent: Intent) -> Observed | None:
        since = int((intent.first_call_at or intent.created_at).timestamp()) - 3600
        api = self._client.v1
        read: Callable[[Any, Any], Observed]
        if intent.kind == "refund":
            pages, read = (
                self._pages(api.refunds.list_async, {"payment_intent": intent.provider_payment}),
                refund_seen,
            )
        elif intent.mode == "checkout":
            pages, read = (
                self._pages(api.checkout.sessions.list_async, {"created": {"gte": since}}),
                session_seen,
            )
        else:
            pages, read = (
                self._pages(api.payment_intents.list_async, {"created": {"gte": since}}),
                payment_seen,
            )
        async for item in pages:
            if (_get(item, "metadata") or {}).get("redoubt_intent") == intent.id:
                return read(item, "lookup")
        return None

    async def _pages(self, call: Callable[..., Any], params: dict[str, Any]) -> AsyncIterator[Any]:
        """Walk a list newest first; `search` is eventually consistent and absent from doubles, lists are neither."""
        after: dict[str, Any] = {}
        for _ in range(_LIST_PAGES):
            page = await call({**params, **after, "limit": 100})
            for item in page.data:
                yield _plain(item)
            if not page.data or not page.has_more:
                return
            after = {"starting_after": page.data[-1].id}


def _plain(item: Any) -> dict[str, Any]:
    """Return the SDK's object as plain data."""
    return cast(dict[str, Any], item.to_dict())


def _get(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else None


def _id(value: Any) -> str | None:
    """Return an id whether the field is expanded to its object or not."""
    found = value if isinstance(value, str) or value is None else _get(value, "id")
    return found if isinstance(found, str) else None


def _currency(item: Any) -> str:
    return str(_get(item, "currency")).upper()


def payment_seen(item: Any, source: Any) -> Observed:
    """Read a PaymentIntent (docs.stripe.com/api/payment_intents/object) of an intent without a hosted page."""
    state = _PAYMENT.get(_get(item, "status"), "pending")
    error = _get(item, "last_payment_error")
    if _get(item, "status") == "requires_payment_method" and error:
        state = "refused"
    return Observed(
        source=source, state=state, object_id=_id(item), payment_object=_id(item), amount=_get(item, "amount"),
        currency=_currency(item), failure=str(_get(error, "code") or "declined")[:100] if state == "refused" else None,
    )  # fmt: skip


def session_seen(item: Any, source: Any) -> Observed:
    """Read a Checkout Session (docs.stripe.com/api/checkout/sessions/object)."""
    status, paid = _get(item, "status"), _get(item, "payment_status") == "paid"
    state: State = (
        "expired" if status == "expired" else "succeeded" if status == "complete" and paid else "pending"
    )
    return Observed(
        source=source, state=state, object_id=_id(item), payment_object=_id(_get(item, "payment_intent")),
        amount=_get(item, "amount_total"), currency=_currency(item), redirect_url=_get(item, "url"),
        failure="expired" if state == "expired" else None,
    )  # fmt: skip


def refund_seen(item: Any, source: Any) -> Observed:
    """Read a Refund (docs.stripe.com/api/refunds/object)."""
    state = _REFUND.get(_get(item, "status"), "pending")
    return Observed(
        source=source, state=state, object_id=_id(item), payment_object=_id(_get(item, "payment_intent")),
        amount=_get(item, "amount"), currency=_currency(item),
        failure=str(_get(item, "failure_reason") or "failed")[:100] if state == "refused" else None,
    )  # fmt: skip


def _event(event: Mapping[str, Any]) -> ProviderEvent:
    item = event["data"]["object"]
    event_id, kind = event["id"], event["type"]
    if not isinstance(item, dict) or not isinstance(event_id, str) or not isinstance(kind, str):
        raise EventRefused("the event is malformed.")
    if not 0 < len(event_id) <= 255 or len(kind) > 255:
        raise EventRefused("the event is malformed.")
    metadata = item.get("metadata") or {}
    intent, tenant = metadata.get("redoubt_intent"), metadata.get("redoubt_tenant")
    observed: Observed | None = None
    if item.get("object") == "refund":
        observed = refund_seen(item, "event")
    elif item.get("object") == "checkout.session":
        observed = session_seen(item, "event")
    elif item.get("object") == "payment_intent":
        observed = payment_seen(item, "event")
    return ProviderEvent(event_id, kind, _id(item), intent, tenant, observed)


def _failed(error: stripe.StripeError, *, honours_keys: bool) -> Created:
    if isinstance(error, NothingSent):
        return NotSent("unreachable")
    if isinstance(error, stripe.CardError):
        made = _get(_get(error.json_body, "error"), "payment_intent")
        return Refused(_code(error), _id(made))
    if isinstance(error, stripe.RateLimitError | stripe.AuthenticationError | stripe.PermissionError):
        # Turned away unread, they say; where a key would not catch a lie, only a look-up may believe it.
        return NotSent(_code(error)) if honours_keys else Unknown(_code(error))
    if isinstance(error, stripe.InvalidRequestError) and error.http_status in (400, 404):
        return Refused(_code(error))
    # Everything else, an idempotency conflict included, may stand for an effect: only a look-up can tell.
    return Unknown(_code(error))


def _code(error: stripe.StripeError) -> str:
    """Return a short stable code; never the provider's sentence, which may quote what we sent."""
    if isinstance(error, NothingSent):
        return "unreachable"
    code = getattr(error, "code", None)
    if isinstance(code, str) and code.isascii() and len(code) <= 60:
        return code
    return f"{type(error).__name__}:{error.http_status or 'none'}"
