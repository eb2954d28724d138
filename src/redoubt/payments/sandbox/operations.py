"""Every operation of the API by method and path, and what lists and `expand` share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import frozen

from . import intents, refunds, sessions
from .account import Account
from .errors import invalid
from .params import Params

Call = Callable[[Account, str, Params], dict[str, Any]]
_CREATED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_EXPANDS = {
    "payment_intent": "payment_intent",
    "latest_charge": "charge",
    "charge": "charge",
    "balance_transaction": "balance_transaction",
}


@frozen
class Operation:
    """One call of the API: `name` is what faults and counts go by."""

    name: str
    method: str
    path: re.Pattern[str]
    call: Call


def find(method: str, path: str) -> tuple[Operation, str] | None:
    """Return the operation of a request and the object id in its path."""
    for operation in OPERATIONS:
        match = operation.path.fullmatch(path)
        if match and operation.method == method:
            return operation, match.groupdict().get("id", "") or ""
    return None


def expand(account: Account, answer: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """Return `answer` with ids along `paths` replaced by their objects (docs.stripe.com/api/expanding_objects)."""
    for path in paths:
        steps = path.split(".")
        here = [answer]
        if steps[0] == "data":
            here, steps = answer.get("data", []), steps[1:]
        for step in steps:
            if step not in _EXPANDS or any(step not in item for item in here):
                raise invalid("expand", f"This property cannot be expanded ({path[:64]}).")
            for item in here:
                if isinstance(item[step], str):
                    item[step] = account.need(_EXPANDS[step], item[step])
            here = [item[step] for item in here if item[step] is not None]
    return answer


def _list(kind: str, path: str, *filters: str) -> Call:
    def call(account: Account, _: str, given: Params) -> dict[str, Any]:
        limit = given.integer("limit", low=1, high=100) or 10
        after, before = given.text("starting_after"), given.text("ending_before")
        created = _created(given)
        fields = {name: value for name in filters if (value := given.text(name)) is not None}
        kinds = given.texts("types") if kind == "event" else []
        given.finish()
        for name, cursor in (("starting_after", after), ("ending_before", before)):
            if cursor is not None:
                account.need(kind, cursor, name)
        if kinds:
            fields["type"] = kinds[0]
            if len(kinds) > 1:
                raise invalid("types", "One type at a time is supported here.")
        found, more = account.store.page(kind, fields, created, limit, after, before)
        if kind == "checkout.session":
            found = [sessions.current(account, item) for item in found]
        return {"object": "list", "data": found, "has_more": more, "url": path}

    return call


def _created(given: Params) -> dict[str, int]:
    if not given.is_object("created"):
        exact = given.integer("created", high=1 << 40)
        return {} if exact is None else {"=": exact}
    window = given.sub("created")
    bounds = {sign: window.integer(name, high=1 << 40) for name, sign in _CREATED.items()}
    return {sign: value for sign, value in bounds.items() if value is not None}


def _get(kind: str, param: str = "id") -> Call:
    def call(account: Account, object_id: str, given: Params) -> dict[str, Any]:
        given.finish()
        return account.need(kind, object_id, param)

    return call


def _session(account: Account, object_id: str, given: Params) -> dict[str, Any]:
    given.finish()
    return sessions.retrieve(account, object_id)


def _lines(account: Account, object_id: str, given: Params) -> dict[str, Any]:
    given.integer("limit", low=1, high=100)
    given.finish()
    lines = sessions.lines_of(account, object_id)
    return {
        "object": "list",
        "data": lines,
        "has_more": False,
        "url": f"/v1/checkout/sessions/{object_id}/line_items",
    }


def _operation(name: str, method: str, path: str, call: Call) -> Operation:
    return Operation(name, method, re.compile(path.replace("{id}", "(?P<id>[A-Za-z0-9_]{1,80})")), call)


OPERATIONS: tuple[Operation, ...] = (
    _operation("payment_intents.create", "POST", "/v1/payment_intents", lambda a, _, p: intents.create(a, p)),
    _operation(
        "payment_intents.list",
        "GET",
        "/v1/payment_intents",
        _list("payment_intent", "/v1/payment_intents", "customer"),
    ),
    _operation(
        "payment_intents.retrieve", "GET", "/v1/payment_intents/{id}", _get("payment_intent", "intent")
    ),
    _operation("payment_intents.update", "POST", "/v1/payment_intents/{id}", intents.update_call),
    _operation("payment_intents.confirm", "POST", "/v1/payment_intents/{id}/confirm", intents.confirm_call),
    _operation("payment_intents.capture", "POST", "/v1/payment_intents/{id}/capture", intents.capture_call),
    _operation("payment_intents.cancel", "POST", "/v1/payment_intents/{id}/cancel", intents.cancel_call),
    _operation(
        "checkout.sessions.create", "POST", "/v1/checkout/sessions", lambda a, _, p: sessions.create(a, p)
    ),
    _operation(
        "checkout.sessions.list",
        "GET",
        "/v1/checkout/sessions",
        _list("checkout.session", "/v1/checkout/sessions", "payment_intent", "status"),
    ),
    _operation("checkout.sessions.retrieve", "GET", "/v1/checkout/sessions/{id}", _session),
    _operation("checkout.sessions.line_items", "GET", "/v1/checkout/sessions/{id}/line_items", _lines),
    _operation("checkout.sessions.expire", "POST", "/v1/checkout/sessions/{id}/expire", sessions.expire_call),
    _operation("refunds.create", "POST", "/v1/refunds", lambda a, _, p: refunds.create(a, p)),
    _operation(
        "refunds.list", "GET", "/v1/refunds", _list("refund", "/v1/refunds", "payment_intent", "charge")
    ),
    _operation("refunds.retrieve", "GET", "/v1/refunds/{id}", _get("refund")),
    _operation(
        "charges.list", "GET", "/v1/charges", _list("charge", "/v1/charges", "payment_intent", "customer")
    ),
    _operation("charges.retrieve", "GET", "/v1/charges/{id}", _get("charge")),
    _operation(
        "balance_transactions.list",
        "GET",
        "/v1/balance_transactions",
        _list("balance_transaction", "/v1/balance_transactions", "source", "type", "currency"),
    ),
    _operation(
        "balance_transactions.retrieve", "GET", "/v1/balance_transactions/{id}", _get("balance_transaction")
    ),
    _operation("events.list", "GET", "/v1/events", _list("event", "/v1/events", "type")),
    _operation("events.retrieve", "GET", "/v1/events/{id}", _get("event")),
)
NAMES = (*(operation.name for operation in OPERATIONS), "checkout.pay")
