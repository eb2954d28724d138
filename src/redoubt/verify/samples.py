"""Bodies that an operation takes, made from its schema, with a canary in every text that may hold one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .openapi import Api

Reference = Callable[[str], str | None]
PRICE = 1234
"""What goes into a number that is called a price or an amount, unless told otherwise."""


def sample(
    api: Api, schema: Any, canary: str, reference: Reference, *, optional: bool = False
) -> dict[str, Any]:
    """Return a body for `schema`; `reference` gives the id of an object of another kind.

    With `optional` every member is filled, else those that are required, and texts that can hold the canary.
    """
    required = set(api.required(schema))
    made = {}
    for name, one in api.properties(schema).items():
        if one.get("readOnly"):
            continue
        fits_canary = _is_text(one)
        if name in required or optional or fits_canary:
            made[name] = value(api, one, name, canary, reference)
    return {name: one for name, one in made.items() if one is not None}


def value(api: Api, schema: Any, name: str, canary: str, reference: Reference) -> Any:
    """Return one value of `schema`; None where nothing fits."""
    one = api.resolve(schema)
    if "x-entity" in one:
        return reference(str(one["x-entity"]))
    if one.get("enum"):
        return one["enum"][0]
    if "const" in one:
        return one["const"]
    kind = one.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    if kind == "string":
        return _text(one, name, canary)
    if kind in ("integer", "number"):
        low, high = one.get("minimum"), one.get("maximum")
        low = int(one.get("exclusiveMinimum", -1)) + 1 if low is None and "exclusiveMinimum" in one else low
        wanted = max(1, int(low) if low is not None else 1)
        if re.search(r"(?i)price|amount|total", name):
            wanted = max(wanted, PRICE)
        return min(wanted, int(high)) if high is not None else wanted
    if kind == "boolean":
        return False
    if kind == "array":
        item = value(api, one.get("items", {}), name, canary, reference)
        return [item] if item is not None else []
    if kind == "object" or "properties" in one:
        return sample(api, one, canary, reference)
    return canary


def _is_text(one: Mapping[str, Any]) -> bool:
    kind = one.get("type")
    text = kind == "string" or (isinstance(kind, list) and "string" in kind)
    return text and not one.get("enum") and "x-entity" not in one and int(one.get("maxLength") or 99) >= 12


def _text(one: Mapping[str, Any], name: str, canary: str) -> str:
    form = one.get("format", "")
    if form == "email" or re.search(r"(?i)e-?mail", name):
        return f"{canary}@people.example"
    if form in ("uri", "url"):
        return f"https://example.com/{canary}"
    if form == "date":
        return "2026-01-15"
    if form == "date-time":
        return "2026-01-15T12:00:00Z"
    if form == "uuid":
        return "00000000-0000-7000-8000-000000000000"
    if one.get("pattern") == "^[A-Z]{3}$":
        return "EUR"
    most = one.get("maxLength")
    text = (
        canary if int(one.get("minLength") or 0) <= len(canary) else canary.ljust(int(one["minLength"]), "x")
    )
    return text[: int(most)] if most is not None else text
