"""The published JSON Schema of the spec, and what it allows at a path, in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from .model import Spec
from .yamlread import Path

SCHEMA_ID = "https://redoubt.dev/schema/spec-1.json"


@cache
def spec_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a spec file."""
    schema = Spec.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


def allowed_at(data: Any, path: Path) -> str:
    """Say in words what the schema allows at `path` of `data`."""
    node: Mapping[str, Any] | None = spec_schema()
    for part in path:
        node = _step(_choose(node, data), part) if node is not None else None
        data = _value(data, part)
    return describe(_choose(node, data)) if node is not None else "nothing of that name"


def keys_at(data: Any, path: Path) -> list[str]:
    """Return the keys that the schema knows at `path` of `data`."""
    node: Mapping[str, Any] | None = spec_schema()
    for part in path:
        node = _step(_choose(node, data), part) if node is not None else None
        data = _value(data, part)
    node = _choose(node, data) if node is not None else None
    return list(node.get("properties", {})) if node is not None else []


def sample_at(data: Any, path: Path) -> Any:
    """Return a value that the schema allows at `path`, to stand in for a broken one while the rest is checked."""
    node: Mapping[str, Any] | None = spec_schema()
    for part in path:
        node = _step(_choose(node, data), part) if node is not None else None
        data = _value(data, part)
    return _sample(_resolve(node)) if node is not None else None


def _sample(node: Mapping[str, Any]) -> Any:
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return node["enum"][0]
    if node.get("type") == "integer":
        return node.get("minimum", 1)
    if node.get("type") == "array":
        item = _sample(_resolve(node.get("items", {})))
        return None if item is None else [item]
    if node.get("type") == "string":
        words = (
            "stand_in",
            "StandIn",
            "XXX",
            "stand-in",
            "StandIn.read",
            "stand_in.read",
            "https://stand.in/",
            "env:STAND_IN",
        )
        return next((word for word in words if re.search(node.get("pattern", ""), word)), None)
    if node.get("type") == "object" and "properties" in node:
        made = {key: _sample(_resolve(node["properties"][key])) for key in node.get("required", ())}
        return None if None in made.values() else made
    return None


def describe(node: Mapping[str, Any]) -> str:
    """Say in words what one schema node allows."""
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return one_of(node["enum"])
    options = node.get("anyOf") or node.get("oneOf")
    if options:
        return " or ".join(describe(_resolve(option)) for option in options)
    kind = node.get("type")
    if kind == "integer":
        return _bounded("a whole number", node)
    if kind == "string":
        return _text(node)
    if kind == "boolean":
        return "true or false"
    if kind == "null":
        return "nothing"
    if kind == "array":
        low, high = node.get("minItems", 0), node.get("maxItems")
        count = f"a list of {low} to {high}" if high else (f"a list of at least {low}" if low else "a list")
        return f"{count}: each {describe(_resolve(node.get('items', {})))}"
    if kind == "object":
        if "properties" in node:
            return "the keys " + ", ".join(node["properties"])
        names = _resolve(node.get("propertyNames") or {})
        if not names and "patternProperties" in node:
            names = {"type": "string", "pattern": next(iter(node["patternProperties"]))}
        return f"a mapping whose keys are {describe(names) if names else 'text'}"
    return "any value"


def one_of(values: Iterable[Any]) -> str:
    """List the values that are allowed."""
    listed = ", ".join(str(value) for value in values)
    return listed or "nothing (none is declared)"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)` when a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def _resolve(node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = spec_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def _choose(node: Mapping[str, Any], data: Any) -> Mapping[str, Any]:
    """Take the branch of a union that the data's own `type` or `kind` names."""
    node = _resolve(node)
    mapping = node.get("discriminator", {})
    if mapping and isinstance(data, dict):
        tag = data.get(mapping["propertyName"])
        target = mapping["mapping"].get(tag) if isinstance(tag, str) else None
        if target:
            return _resolve({"$ref": target})
        return {"type": "object", "properties": {mapping["propertyName"]: {"enum": list(mapping["mapping"])}}}
    options = [_resolve(option) for option in node.get("anyOf", ())]
    solid = [option for option in options if option.get("type") != "null"]
    return _choose(solid[0], data) if len(solid) == 1 and data is not None else node


def _step(node: Mapping[str, Any], part: str | int) -> Mapping[str, Any] | None:
    if isinstance(part, int):
        return node.get("items")
    if part in node.get("properties", {}):
        found: Mapping[str, Any] = node["properties"][part]
        return found
    patterns = node.get("patternProperties")
    if patterns:
        first: Mapping[str, Any] = next(iter(patterns.values()))
        return first
    extra = node.get("additionalProperties")
    return extra if isinstance(extra, dict) else None


def _value(data: Any, part: str | int) -> Any:
    if isinstance(data, dict) and isinstance(part, str):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _bounded(noun: str, node: Mapping[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    if low is not None:
        return f"{noun} of at least {low}"
    return f"{noun} of at most {high}" if high is not None else noun


_PATTERNS = {
    r"^[a-z][a-z0-9_]{0,39}$": "a word of lower-case letters, digits and underscores (at most 40)",
    r"^[A-Z][A-Za-z0-9]{0,39}$": "a name like Order or ReleaseNote (at most 40 letters and digits)",
    r"^[A-Z]{3}$": "a currency code of three capitals (ISO 4217)",
    r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$": "a name of 2 to 32 lower-case letters, digits and hyphens",
}


def _text(node: Mapping[str, Any]) -> str:
    pattern = node.get("pattern", "")
    if pattern in _PATTERNS:
        return _PATTERNS[pattern]
    if "env:" in pattern:
        return "a reference to a secret: env:NAME, file:PATH, awssm:ID or vault:PATH, never the secret itself"
    if "host" in node.get("description", "").lower() and "env:" not in pattern:
        return "a host name, optionally with :port"
    if pattern:
        return f"text like {pattern}"
    low, high = node.get("minLength"), node.get("maxLength")
    return f"text of {low or 0} to {high} characters" if high else "text"
