"""Whether a question about the rows of a table can be asked at all: it conforms to the schema, or it is denied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping as Values
from typing import Any

import cedarpy

from ..models import AuthzRequest, Entity, EntityUid, value_to_json
from ..schema import RecordType, Schema
from .mapping import Attribute, Child, EntityTable, Nested, Reference, Value
from .sql import Condition, every

_NOTHING = cedarpy.PolicySet.from_str("")
_SAMPLES: dict[str, Any] = {"Bool": True, "Long": 0, "String": ""}


def askable(
    handle: Any,
    schema: Schema,
    question: AuthzRequest,
    table: EntityTable,
    row_context: Values[str, Attribute],
) -> Condition:
    """Return on which rows `question` conforms to `schema` (the engine's `handle` of it); elsewhere it is denied.

    The reference engine judges a row with all its attributes; then NULL must not stand where the schema requires one.
    """
    sample = Entity(table.type, "", _sample(table.attributes))
    context = {**question.context, **_sample(row_context)}
    entities = [entity.to_json() for entity in (*question.entities, sample)]
    try:
        asked = {
            "principal": question.principal.to_json(),
            "action": question.action.to_json(),
            "resource": sample.uid.to_json(),
            "context": value_to_json(context),
        }
        store = cedarpy.Entities.from_json_str(json.dumps(entities), schema=handle)
        answer = cedarpy.is_authorized(asked, _NOTHING, store, schema=handle)
    except ValueError:
        return False
    action, kind = schema.actions.get(question.action), schema.entities.get(table.type)
    if answer.diagnostics.errors or action is None or kind is None:
        return False
    return every(*_present(table.attributes, kind.shape), *_present(row_context, action.context))


def _present(attributes: Values[str, Attribute], shape: RecordType) -> Iterator[Condition]:
    for name, attribute in attributes.items():
        declared = shape.attributes.get(name)
        if declared is None or not declared.required:
            continue
        match attribute:
            case Value(column=column) | Reference(column=column):
                if column.nullable:
                    yield column.is_not(None)
            case Nested(fields=fields) if isinstance(declared.type, RecordType):
                yield from _present(fields, declared.type)


def _sample(attributes: Values[str, Attribute]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, attribute in attributes.items():
        match attribute:
            case Value(kind=kind):
                found[name] = _SAMPLES[kind]
            case Reference(type=kind):
                found[name] = EntityUid(kind, "")
            case Child(kind=kind, type=name_of):
                found[name] = [EntityUid(name_of or "", "") if kind == "Entity" else _SAMPLES[kind]]
            case Nested(fields=fields):
                found[name] = _sample(fields)
    return found
