"""Handlers of incoming webhooks that a spec can declare: store a row, pass the payload on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.webhooks.models import Delivery, Handler
from redoubt.webhooks.outbox import emit

from . import entity_store as store
from .entities import Entities
from .fields import FieldError

_MISSING = object()


def record_row(core: Core, entities: Entities, name: str, fields: Mapping[str, str]) -> Handler:
    """Return a handler that stores a row of the entity `name`, its fields read from dotted paths of the payload.

    Each value passes its field's checks. A payload without a required value, or with one that its field refuses, is
    no such row: it is accepted, noted in the audit log and left alone.
    """
    kind = entities[name]

    def handle(tx: Tx, delivery: Delivery) -> None:
        actor = Actor(kind="service", id=f"webhook:{delivery.endpoint}")
        values, refused = _values(delivery)
        if refused:
            data = {"endpoint": delivery.endpoint, "delivery": delivery.id, "fields": refused}
            record(tx, core, Event(f"{kind.word}.ignore", "success", actor, delivery.tenant, None, data))
            return
        row = store.insert(tx, core, entities, name, values, delivery.tenant, None, by=actor)
        data = {"endpoint": delivery.endpoint, "delivery": delivery.id, "fields": sorted(values)}
        record(
            tx, core, Event(f"{kind.word}.create", "success", actor, delivery.tenant, (name, row["id"]), data)
        )
        if f"{kind.word}.created" in kind.events:
            emit(tx, core, f"{kind.word}.created", kind.to_event(row), tenant=delivery.tenant)

    def _values(delivery: Delivery) -> tuple[dict[str, Any], list[str]]:
        values: dict[str, Any] = {
            key: (
                kind.states[0] if declared.kind == "state" else False if declared.kind == "boolean" else None
            )
            for key, declared in kind.fields.items()
        }
        refused = []
        try:
            payload = delivery.json()
        except ValueError:
            return {}, sorted(fields)
        for key, path in fields.items():
            value, declared = _at(payload, path), kind.fields[key]
            if value is _MISSING or value is None:
                if declared.required:
                    refused.append(key)
                continue
            try:
                values[key] = declared.parse(value)
            except FieldError:
                refused.append(key)
        return values, refused

    return handle


def forward(core: Core, event: str) -> Handler:
    """Return a handler that sends the payload on to the targets that take `event`."""

    def handle(tx: Tx, delivery: Delivery) -> None:
        try:
            payload = delivery.json()
        except ValueError:
            payload = delivery.body.decode("utf-8", "replace")
        emit(tx, core, event, {"id": delivery.identity, "payload": payload}, tenant=delivery.tenant)

    return handle


def _at(payload: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(payload, dict) or part not in payload:
            return _MISSING
        payload = payload[part]
    return payload
