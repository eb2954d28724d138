"""What the console's pages share: JSON for programs, pages for people, and errors as problems."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from attrs import evolve
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from redoubt.authz.models import app_entity
from redoubt.core.problem import Problem
from redoubt.runtime.fields import FieldError, parse_id
from redoubt.runtime.request import GuardedRequest

_MAX_FIELDS = 40
_TABS = (
    ("/console", "Overview", "Console.view"),
    ("/console/approvals", "Approvals", "Approval.read"),
    ("/console/audit", "Audit", "Audit.read"),
    ("/console/policies", "Policies", "Policy.read"),
    ("/console/switches", "Switches", "Switch.read"),
    ("/console/enrolments", "Enrolments", "Enrolment.create"),
    ("/console/emergencies", "Break-glass", "Enrolment.create"),
)


def wants_json(g: GuardedRequest) -> bool:
    """Say whether a program asks."""
    return "application/json" in g.headers.get("accept", "")


def answer(g: GuardedRequest, template: str, data: Mapping[str, Any], **more: Any) -> Response:
    """Return `data` as JSON to a program, as a page to a person."""
    if wants_json(g):
        return JSONResponse(jsonable(data))
    return page(g, template, **{**data, **more})


def page(g: GuardedRequest, template: str, *, status: int = 200, **context: Any) -> Response:
    """Render a page of the console, with the tabs that its reader may open."""
    tabs = [(href, label) for href, label, action in _TABS if may(g, action)]
    return g.render(f"console/{template}", status=status, tabs=tabs, may=partial(may, g), **context)


def may(g: GuardedRequest, action: str) -> bool:
    """Say whether the reader may do `action`, if need be after a fresh passkey: for showing and hiding only."""
    return g.guard.services.allows(evolve(g.authz, step_up=True), action, app_entity(g.tenant), {})


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
            found = json.loads(g.body.decode() or "{}")
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
    if not isinstance(value, str) or len(value) > most or not printable(value):
        raise Problem(422, "invalid", f"{name.capitalize()} is missing or too long.")
    if default is None and not value.strip():
        raise Problem(422, "invalid", f"{name.capitalize()} is missing.")
    return value.strip()


def printable(value: str) -> bool:
    """Say whether `value` is text that a database takes: no control characters but tab and line ends."""
    return all(char in "\t\r\n" or unicodedata.category(char) not in ("Cc", "Cs") for char in value)


def path_id(request: Request) -> str:
    """Return the id of the path; raises Problem 404 for what no id looks like."""
    try:
        return str(parse_id(request.path_params["id"]))
    except FieldError:
        raise Problem(404, "not-found", "There is nothing here.") from None


def page_after(request: Request) -> str | None:
    """Return the id that a page continues after, if one is named; raises Problem 422 for what is none."""
    given = request.query_params.get("before")
    try:
        return parse_id(given) if given else None
    except FieldError:
        raise Problem(422, "invalid", "The page cannot be found.") from None


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
