"""What the console's pages share: JSON for programs, pages for people, and errors as problems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from redoubt.core.problem import Problem
from redoubt.runtime.request import GuardedRequest

_MAX_FIELDS = 40


def wants_json(g: GuardedRequest) -> bool:
    """Say whether a program asks."""
    return "application/json" in g.headers.get("accept", "")


def answer(g: GuardedRequest, template: str, data: Mapping[str, Any], **more: Any) -> Response:
    """Return `data` as JSON to a program, as a page to a person."""
    if wants_json(g):
        return JSONResponse(jsonable(data))
    return g.render(f"console/{template}", **{**data, **more})


def done(g: GuardedRequest, data: Mapping[str, Any], back: str, status: int = 200) -> Response:
    """Answer an accepted change: JSON to a program, back to a page for a person."""
    if wants_json(g) or "json" in g.headers.get("content-type", ""):
        return JSONResponse(jsonable(data), status)
    return RedirectResponse(back, 303)


def fields(request: Request) -> dict[str, Any]:
    """Return what was posted, as JSON object or form; raises Problem 400 for anything else."""
    g = GuardedRequest.of(request)
    kind = g.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            found = json.loads(g.body or b"{}")
            if isinstance(found, dict):
                return found
        elif kind in ("application/x-www-form-urlencoded", ""):
            pairs = parse_qsl(g.body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
            if len(pairs) == len(dict(pairs)):
                return dict(pairs)
    except (ValueError, RecursionError):
        pass
    raise Problem(400, "bad-request", "The request cannot be understood.")


def text(given: Mapping[str, Any], name: str, *, most: int = 500, default: str | None = None) -> str:
    """Return one posted text; raises Problem 422 when it is missing, empty or too long."""
    value = given.get(name, default)
    if value == "" and default is not None:
        value = default
    if not isinstance(value, str) or len(value) > most or (default is None and not value.strip()):
        raise Problem(422, "invalid", f"{name.capitalize()} is missing or too long.")
    return value.strip()


def person(g: GuardedRequest) -> str:
    """Return the signed-in user's id; raises Problem 401."""
    if g.user_id is None:
        raise Problem(401, "unauthenticated", "Log in first.", headers={"WWW-Authenticate": "Session"})
    return g.user_id


def jsonable(value: Any) -> Any:
    """Return `value` as JSON has it: moments as ISO 8601."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    return value
