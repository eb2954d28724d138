"""Requests as they come in: AuthZEN 1.0 objects, read into values or refused with 400."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NoReturn, cast

from attrs import frozen

from redoubt.core.problem import Problem

from .sources import Party

MAX_NAME = 512
MAX_EVALUATIONS = 100
MAX_PAGE = 100
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
SEMANTICS = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")


@frozen
class Question:
    """One access evaluation request (section "Access Evaluation API")."""

    subject: Party
    action: str
    resource: Party
    context: Mapping[str, Any]


@frozen
class Batch:
    """An access evaluations request: each question, or the problem that one has."""

    items: tuple[Question | Problem, ...]
    semantic: Semantic


@frozen
class Search:
    """A search request; the part that is searched for has no id, or no name."""

    subject_type: str
    subject: Party | None
    action: str | None
    resource_type: str
    resource: Party | None
    context: Mapping[str, Any]
    token: str
    limit: int


def question(body: Mapping[str, Any]) -> Question:
    """Read an access evaluation request; raises Problem 400 that names the member which is wrong."""
    name, properties = _action(body)
    context = dict(_object(body, "context", optional=True))
    return Question(
        _party(body, "subject"), name, _party(body, "resource"), _with_action(context, properties)
    )


def batch(body: Mapping[str, Any]) -> Batch | Question:
    """Read an access evaluations request; without `evaluations` it is a single one, as the standard has it.

    What stands beside `evaluations` is each item's default; an item's own member replaces it whole. An item that
    cannot be read is denied by itself and does not spoil the others.
    """
    items = body.get("evaluations")
    if items is None or items == []:
        return question(body)
    if not isinstance(items, list):
        _refuse("evaluations is an array")
    if len(items) > MAX_EVALUATIONS:
        _refuse(f"evaluations has at most {MAX_EVALUATIONS} items")
    semantic = _object(body, "options", optional=True).get("evaluations_semantic", "execute_all")
    if semantic not in SEMANTICS:
        _refuse(f"options.evaluations_semantic is one of {', '.join(SEMANTICS)}")
    defaults = {key: body[key] for key in ("subject", "action", "resource", "context") if key in body}
    return Batch(tuple(_item(defaults, item) for item in items), cast(Semantic, semantic))


def search(body: Mapping[str, Any], wanted: Literal["subject", "resource", "action"]) -> Search:
    """Read a search request for what is `wanted`; its own id is ignored, as the standard has it."""
    context = dict(_object(body, "context", optional=True))
    action = None
    if wanted != "action":
        action, properties = _action(body)
        context = _with_action(context, properties)
    page = _object(body, "page", optional=True)
    token = page.get("token", page.get("next_token", ""))
    if not isinstance(token, str) or len(token) > 4 * MAX_NAME:
        _refuse("page.token is a string that an earlier answer gave")
    limit = page.get("limit", MAX_PAGE)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        _refuse("page.limit is a positive integer")
    return Search(
        _name(_object(body, "subject"), "subject", "type"),
        None if wanted == "subject" else _party(body, "subject"),
        action,
        _name(_object(body, "resource"), "resource", "type"),
        None if wanted == "resource" else _party(body, "resource"),
        context,
        token,
        min(limit, MAX_PAGE),
    )


def _item(defaults: Mapping[str, Any], item: Any) -> Question | Problem:
    try:
        if not isinstance(item, dict):
            _refuse("an item of evaluations is an object")
        return question({**defaults, **item})
    except Problem as problem:
        return problem


def _party(body: Mapping[str, Any], member: str) -> Party:
    found = _object(body, member)
    properties = _object(found, "properties", optional=True)
    return Party(_name(found, member, "type"), _name(found, member, "id"), properties)


def _action(body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    found = _object(body, "action")
    return _name(found, "action", "name"), _object(found, "properties", optional=True)


def _with_action(context: dict[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Put an action's properties where policies can read them; a schema that declares none makes it a denial."""
    if not properties:
        return context
    if "action" in context:
        _refuse("context.action and action.properties are both given")
    return {**context, "action": dict(properties)}


def _object(body: Mapping[str, Any], member: str, *, optional: bool = False) -> Mapping[str, Any]:
    if optional and member not in body:
        return {}
    found = body.get(member)
    if not isinstance(found, dict):
        _refuse(f"{member} is {'an' if optional else 'a required'} object")
    return found


def _name(found: Mapping[str, Any], member: str, part: str) -> str:
    value = found.get(part)
    if not isinstance(value, str) or not value or len(value) > MAX_NAME:
        _refuse(f"{member}.{part} is a required string of 1 to {MAX_NAME} characters")
    return value


def _refuse(detail: str) -> NoReturn:
    raise Problem(400, "bad-request", "The request cannot be understood.", detail=detail + ".")
