"""Cedar's schema in its JSON form. Faults inside a well-formed document are placed by their path in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import Misread
from .raw import (
    RESERVED_TYPES,
    Kind,
    RawAction,
    RawAttribute,
    RawCommon,
    RawEntity,
    RawGroup,
    RawName,
    RawNamespace,
    RawRecord,
    RawSet,
    RawType,
    is_name,
    is_path,
)

_TOP = (1, 1)
_MAX_DEPTH = 100


def read_json(text: str) -> list[RawNamespace]:
    """Read the JSON form; raises Misread at the first fault."""
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise Misread(error.msg, (error.lineno, error.colno)) from None
    except RecursionError:
        raise Misread("nests too deep", _TOP) from None
    return [_namespace(name, body) for name, body in _object(document, "the schema").items()]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Misread("a key stands twice in one object", _TOP)
    return result


def _constant(name: str) -> Any:
    raise Misread(f"{name} is no JSON", _TOP)


def _object(value: Any, where: str, known: Iterable[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Misread(f"{where} is no object", _TOP)
    unknown = set() if known is None else value.keys() - set(known)
    if unknown:
        raise Misread(f"{where} has the unknown field {min(unknown)!r}", _TOP)
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Misread(f"{where} is no list", _TOP)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Misread(f"{where} is no string", _TOP)
    return value


def _namespace(name: str, value: Any) -> RawNamespace:
    where = name or "the outermost namespace"
    if name and not all(map(is_name, name.split("::"))):
        raise Misread(f"{name!r} is no name of a namespace", _TOP)
    body = _object(value, where, ("commonTypes", "entityTypes", "actions", "annotations"))
    for needed in ("entityTypes", "actions"):
        if needed not in body:
            raise Misread(f"{where} has no {needed}", _TOP)
    _annotations(body, where)
    space = RawNamespace(name)
    for key, item in _object(body.get("commonTypes", {}), f"{where}.commonTypes").items():
        if not is_name(key) or key in RESERVED_TYPES:
            raise Misread(f"{where}.commonTypes: no type may be called {key!r}", _TOP)
        inner = f"{where}.commonTypes.{key}"
        space.commons[key] = RawCommon(_type(item, inner, extra=("annotations",)), _TOP)
    for key, item in _object(body["entityTypes"], f"{where}.entityTypes").items():
        if not is_name(key):
            raise Misread(f"{where}.entityTypes: no type may be called {key!r}", _TOP)
        space.entities[key] = _entity(item, f"{where}.entityTypes.{key}")
    for key, item in _object(body["actions"], f"{where}.actions").items():
        space.actions[key] = _action(item, f"{where}.actions.{key}")
    return space


def _annotations(body: Mapping[str, Any], where: str) -> dict[str, str]:
    found = _object(body.get("annotations", {}), f"{where}.annotations")
    return {
        key: "" if item is None else _text(item, f"{where}.annotations.{key}") for key, item in found.items()
    }


def _names(value: Any, where: str) -> list[RawName]:
    return [_name(item, where, Kind.ENTITY) for item in _list(value, where)]


def _name(value: Any, where: str, kind: Kind) -> RawName:
    path = _text(value, where)
    if not is_path(path):
        raise Misread(f"{where}: {path!r} is no name", _TOP)
    return RawName(path, _TOP, kind)


def _entity(value: Any, where: str) -> RawEntity:
    body = _object(value, where, ("memberOfTypes", "shape", "tags", "enum", "annotations"))
    notes = _annotations(body, where)
    if "enum" in body:
        _object(body, where, ("enum", "annotations"))
        ids = tuple(_text(item, f"{where}.enum") for item in _list(body["enum"], f"{where}.enum"))
        if not ids:
            raise Misread(f"{where}.enum is empty", _TOP)
        return RawEntity(_TOP, enum=ids, annotations=notes)
    return RawEntity(
        _TOP,
        _names(body.get("memberOfTypes", []), f"{where}.memberOfTypes"),
        _type(body["shape"], f"{where}.shape") if "shape" in body else None,
        _type(body["tags"], f"{where}.tags") if body.get("tags") is not None else None,
        None,
        notes,
    )


def _action(value: Any, where: str) -> RawAction:
    body = _object(value, where, ("attributes", "appliesTo", "memberOf", "annotations"))
    if body.get("attributes"):
        raise Misread(f"{where}.attributes: attributes of actions are not supported", _TOP)
    groups = [
        _group(item, f"{where}.memberOf") for item in _list(body.get("memberOf") or [], f"{where}.memberOf")
    ]
    notes = _annotations(body, where)
    if body.get("appliesTo") is None:
        return RawAction(_TOP, groups, annotations=notes)
    inner = f"{where}.appliesTo"
    applies = _object(body["appliesTo"], inner, ("principalTypes", "resourceTypes", "context"))
    for needed in ("principalTypes", "resourceTypes"):
        if needed not in applies:
            raise Misread(f"{inner} has no {needed}", _TOP)
    return RawAction(
        _TOP,
        groups,
        _names(applies["principalTypes"], f"{inner}.principalTypes"),
        _names(applies["resourceTypes"], f"{inner}.resourceTypes"),
        _type(applies["context"], f"{inner}.context") if "context" in applies else None,
        notes,
    )


def _group(value: Any, where: str) -> RawGroup:
    body = _object(value, where, ("id", "type"))
    kind = body.get("type")
    return RawGroup(
        None if kind is None else _name(kind, where, Kind.ENTITY).path, _text(body.get("id"), where), _TOP
    )


def _type(value: Any, where: str, *, extra: Iterable[str] = (), level: int = 1) -> RawType:
    if level > _MAX_DEPTH:
        raise Misread(f"types nest deeper than {_MAX_DEPTH}", _TOP)
    body = _object(value, where)
    kind = _text(body.get("type"), f"{where}.type")

    def only(*fields: str) -> None:
        _object(body, where, ("type", *fields, *extra))
        for needed in fields:
            if needed not in body and needed != "additionalAttributes":
                raise Misread(f"{where} has no {needed}", _TOP)

    match kind:
        case "Set":
            only("element")
            return RawSet(_type(body["element"], f"{where}.element", level=level + 1))
        case "Record":
            only("attributes", "additionalAttributes")
            if body.get("additionalAttributes", False) is not False:
                raise Misread(f"{where}: open records are not supported", _TOP)
            attributes = _object(body["attributes"], f"{where}.attributes")
            return RawRecord(
                {key: _attribute(item, f"{where}.{key}", level + 1) for key, item in attributes.items()}, _TOP
            )
        case "Entity" | "EntityOrCommon":
            only("name")
            return _name(body["name"], where, Kind.ENTITY if kind == "Entity" else Kind.ANY)
        case "Extension":
            only("name")
            return RawName(f"__cedar::{_text(body['name'], where)}", _TOP, Kind.COMMON)
        case "Boolean" | "Long" | "String":
            only()
            return RawName(f"__cedar::{'Bool' if kind == 'Boolean' else kind}", _TOP, Kind.COMMON)
        case _:
            only()
            return _name(kind, where, Kind.COMMON)


def _attribute(value: Any, where: str, level: int) -> RawAttribute:
    body = _object(value, where)
    required = body.get("required", True)
    if not isinstance(required, bool):
        raise Misread(f"{where}.required is neither true nor false", _TOP)
    kind = _type(value, where, extra=("required", "annotations"), level=level)
    return RawAttribute(kind, required, _annotations(body, where))
