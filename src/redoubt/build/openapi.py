"""openapi.json of an app (OpenAPI 3.1), made from the spec: the app itself serves no description of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .spec.fields import (
    AnyField,
    BooleanField,
    DateField,
    EmailField,
    EnumField,
    IntegerField,
    LinesField,
    MoneyField,
    RefField,
    StateField,
    TextField,
    UrlField,
)
from .spec.model import Entity, Spec
from .spec.names import human, plural, snake
from .spec.prices import prices_of
from .view import is_server_set

_ID = {"type": "string", "format": "uuid"}


def openapi(spec: Spec) -> dict[str, Any]:
    """Return the description of the app's JSON API, webhooks and payments."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, Any] = {}
    prices = prices_of(spec)
    if prices:
        schemas["PriceWaits"] = _WAITS
    for name, entity in spec.entities.items():
        schemas[name] = _row(entity)
        schemas[f"New{name}"] = _input(entity, new=True)
        schemas[f"{name}Changes"] = _input(entity, new=False, prices=prices.get(name, []))
        paths |= _paths(spec, name, entity)
        if name in prices:
            _priced(paths, name, f"/api/{plural(name, entity)}/{{id}}")
    if spec.payments is not None:
        paths |= _payments()
    for name, hook in spec.webhooks.incoming.items():
        operation = _operation(
            f"Take a delivery signed by the scheme {hook.scheme}", None, {"200": "Kept"}, body={}
        )
        operation["security"] = []
        paths[f"/webhooks/{name}"] = {"post": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": spec.app.title, "version": "0"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": "__Host-session"}},
        },
        "security": [{"session": []}],
    }


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def _field(field: AnyField, name: str) -> dict[str, Any]:
    title = {"title": field.title or human(name)}
    match field:
        case TextField():
            return {"type": "string", "minLength": field.min, "maxLength": field.max, **title}
        case EmailField():
            return {"type": "string", "format": "email", "maxLength": field.max, **title}
        case UrlField():
            return {"type": "string", "format": "uri", "maxLength": field.max, **title}
        case IntegerField():
            return {"type": "integer", "minimum": field.min, "maximum": field.max, **title}
        case BooleanField():
            return {"type": "boolean", **title}
        case EnumField():
            return {"type": "string", "enum": list(field.values), **title}
        case DateField():
            return {"type": "string", "format": "date", **title}
        case MoneyField():
            text = f"Minor units of {field.currency}"
            bounds = {"minimum": field.min, "maximum": field.max}
            return {"type": "integer", "description": text, **bounds, **title, "x-currency": field.currency}
        case RefField():
            return {**_ID, **title, "x-entity": field.to}
        case StateField():
            return {"type": "string", "enum": list(field.states), **title}
        case LinesField():
            return _lines(field) | title


def _lines(field: LinesField) -> dict[str, Any]:
    key = snake(field.of)
    line = {
        "type": "object",
        "additionalProperties": False,
        "required": [key, "quantity"],
        "properties": {
            key: {**_ID, "x-entity": field.of},
            "quantity": {"type": "integer", "minimum": 1, "maximum": field.max_quantity},
        },
    }
    return {"type": "array", "minItems": 1, "maxItems": field.max, "items": line}


def _row(entity: Entity) -> dict[str, Any]:
    properties: dict[str, Any] = {"id": _ID}
    for name, field in entity.fields.items():
        shown = _field(field, name)
        if isinstance(field, LinesField):
            item = shown["items"]
            copied = {
                "label": {"type": "string"},
                "price": {"type": "integer"},
                "price_version": {"type": "integer", "minimum": 1},
            }
            shown = {**shown, "items": {**item, "properties": item["properties"] | copied}}
        properties[name] = (
            shown if field.required or is_server_set(field) else {"anyOf": [shown, {"type": "null"}]}
        )
    if entity.owned:
        properties["owner"] = {"type": "string"}
    moment = {"type": "string", "format": "date-time"}
    properties |= {"version": {"type": "integer"}, "created_at": moment, "updated_at": moment}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _input(entity: Entity, *, new: bool, prices: Sequence[str] = ()) -> dict[str, Any]:
    fields = {
        name: field
        for name, field in entity.fields.items()
        if not is_server_set(field) and (new or not field.immutable)
    }
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _field(field, name) for name, field in fields.items()},
    }
    for name in prices:
        why = "Why the price changes; required with a new one"
        schema["properties"][f"{name}.reason"] = {"type": "string", "maxLength": 500, "description": why}
    required = [name for name, field in fields.items() if field.required]
    if new and required:
        schema["required"] = required
    return schema


def _paths(spec: Spec, name: str, entity: Entity) -> dict[str, Any]:
    base = f"/api/{plural(name, entity)}"
    one = {"parameters": [{"name": "id", "in": "path", "required": True, "schema": _ID}]}
    ref = {"$ref": f"#/components/schemas/{name}"}
    paging = [
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        },
        {"name": "after", "in": "query", "schema": _ID},
    ]
    page = {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": {"type": "array", "items": ref}, "next": {"anyOf": [_ID, {"type": "null"}]}},
    }
    listed = _operation("List those that the caller may read", f"{name}.list", {"200": "A page"}, page)
    listed["parameters"] = paging
    made = _operation("Store a new one", f"{name}.create", {"201": "Stored"}, ref, _ref(f"New{name}"))
    paths = {
        base: {"get": listed, "post": made},
        f"{base}/{{id}}": {
            **one,
            "get": _operation("Read one", f"{name}.read", {"200": "It"}, ref),
            "patch": _operation(
                "Change one", f"{name}.update", {"200": "Changed"}, ref, _ref(f"{name}Changes")
            ),
            "delete": _operation("Remove one", f"{name}.delete", {"204": "Removed"}),
        },
    }
    for action, move in entity.actions.items():
        text = f"Move one from {' or '.join(move.from_)} to {move.to}"
        paths[f"{base}/{{id}}/{action}"] = {
            **one,
            "post": _operation(text, f"{name}.{action}", {"200": "Moved"}, ref),
        }
    if spec.payments is not None and spec.payments.charge.entity == name:
        started = {
            "type": "object",
            "required": ["payment_id", "state", "redirect_url"],
            "properties": {
                "payment_id": _ID,
                "state": {"type": "string"},
                "redirect_url": {"type": "string", "format": "uri"},
            },
        }
        text = "Start the payment; the card is entered on the provider's page"
        paths[f"{base}/{{id}}/pay"] = {
            **one,
            "post": _operation(text, f"{name}.pay", {"200": "Started"}, started),
        }
    return paths


def _priced(paths: dict[str, Any], name: str, item: str) -> None:
    """A change may wait for a second person, and says where to follow it."""
    waits = {"type": "array", "items": _ref("PriceWaits")}
    changed = {
        "type": "object",
        "required": ["row", "waiting"],
        "properties": {"row": _ref(name), "waiting": waits},
    }
    responses = paths[item]["patch"]["responses"]
    default = responses.pop("default")
    responses["202"] = {
        "description": "Everything but the price is changed; the new price waits for a second person",
        "headers": {"Location": {"schema": {"type": "string"}}},
        "content": {"application/json": {"schema": changed}},
    }
    responses["default"] = default
    told = {
        "type": "object",
        "required": ["items", "waiting"],
        "properties": {"items": {"type": "array", "items": {"type": "object"}}, "waiting": waits},
    }
    paths[f"{item}/prices"] = {
        "parameters": paths[item]["parameters"],
        "get": _operation(
            "Read what its prices were, and which changes wait", f"{name}.update", {"200": "Them"}, told
        ),
    }


_WAITS = {
    "type": "object",
    "required": ["field", "from", "to", "currency", "approval_id", "url"],
    "properties": {
        "field": {"type": "string"},
        "from": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "to": {"type": "integer"},
        "currency": {"type": "string"},
        "orders": {"type": "integer", "description": "Recorded orders that it was replayed over"},
        "affected": {"type": "integer", "description": "How many of them would come to another total"},
        "difference": {"type": "integer", "description": "What they would come to more, in minor units"},
        "approval_id": _ID,
        "url": {"type": "string"},
    },
}


def _payments() -> dict[str, Any]:
    one = {"parameters": [{"name": "id", "in": "path", "required": True, "schema": _ID}]}
    asked = {
        "type": "object",
        "additionalProperties": False,
        "required": ["amount", "currency", "reason"],
        "properties": {
            "amount": {"type": "integer", "minimum": 1},
            "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
            "reason": {"type": "string", "minLength": 1, "maxLength": 500},
        },
    }
    waiting = {"type": "object", "required": ["approval_id"], "properties": {"approval_id": _ID}}
    refund = _operation(
        "Ask for a refund; another person approves it", "Payment.refund", {"202": "Waits"}, waiting, asked
    )
    listed = {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "object"}}}}
    return {
        "/api/payments": {
            "get": _operation("List those that the caller may read", "Payment.list", {"200": "Them"}, listed)
        },
        "/api/payments/{id}": {
            **one,
            "get": _operation("Read a payment", "Payment.read", {"200": "It"}, {"type": "object"}),
        },
        "/api/payments/{id}/refunds": {**one, "post": refund},
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(
    summary: str,
    permission: str | None,
    answers: dict[str, str],
    result: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, text in answers.items():
        responses[status] = {"description": text}
        if result is not None:
            responses[status]["content"] = {"application/json": {"schema": result}}
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    responses["default"] = {"description": "Refused", "content": problem}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if permission is not None:
        operation["x-redoubt-permission"] = permission
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation
