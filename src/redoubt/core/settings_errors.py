"""Mistakes in settings as lines that say where and what is allowed, and never what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def explain(
    model: type[BaseModel], error: ValidationError, file: str, origins: Mapping[str, str]
) -> list[str]:
    """Return one line for each mistake: file (or variable), dotted key, reason, and what is allowed there.

    Values are never repeated: what stands in the wrong place may well be a secret.
    """
    lines: dict[str, None] = {}
    for item in error.errors(include_url=False, include_input=False):
        keys = [step for step in item["loc"] if not _is_tag(step)]
        dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in keys).lstrip(".")
        place = next((f"{origins[name]} (environment)" for name in _prefixes(keys) if name in origins), file)
        lines[f"{place}: {dotted + ': ' if dotted else ''}{_reason(model, item, keys)}"] = None
    return list(lines)


def _reason(model: type[BaseModel], item: Any, keys: list[str | int]) -> str:
    if item["type"] == "extra_forbidden":
        return f"unknown key; allowed here: {', '.join(_allowed(model, keys[:-1]))}"
    message = str(item["msg"])
    return message[0].lower() + message[1:]


def _allowed(model: type[BaseModel], keys: list[str | int]) -> list[str]:
    here: Any = model
    for key in keys:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = next((f for name, f in here.model_fields.items() if key in (name, f.alias)), None)
            here = field.annotation if field else None
        else:  # a dict of models: any key leads to its value type
            here = next(
                (arg for arg in get_args(here) if isinstance(arg, type) and issubclass(arg, BaseModel)), None
            )
    if not (isinstance(here, type) and issubclass(here, BaseModel)):
        return ["nothing"]
    return sorted(field.alias or name for name, field in here.model_fields.items())


def _prefixes(keys: list[str | int]) -> list[str]:
    names = [str(key) for key in keys if not isinstance(key, int)]
    return [".".join(names[:end]) for end in range(len(names), 0, -1)]


def _is_tag(step: str | int) -> bool:
    # pydantic adds the tried member of a union ("str", "function-before[...]") to the path
    return isinstance(step, str) and (
        step in ("str", "SecretRef") or step.startswith("function-") or "[" in step
    )
