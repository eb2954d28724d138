"""Who may do what, as typed values: the closed set of access rules that a spec can say.

A model holds roles, resource types and actions; each action lists what allows it. What is not listed is denied.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from attrs import field, frozen

from .errors import AccessModelError

Scope = Literal["object", "collection", "app"]
AttributeType = Literal["String", "Long", "Bool"]

PUBLIC = "public"
"""Everybody, also nobody (a request without a session)."""
AUTHENTICATED = "authenticated"
"""Everybody with a session, whatever their roles."""

ANONYMOUS_TYPE = "Anonymous"
USER_TYPE = "User"
ROLE_TYPE = "Role"
APP_TYPE = "App"
COLLECTION_TYPE = "Collection"
BUILT_IN_TYPES = frozenset({ANONYMOUS_TYPE, USER_TYPE, ROLE_TYPE, APP_TYPE, COLLECTION_TYPE, "Action"})
STANDARD_ATTRIBUTES = frozenset({"tenant", "owner", "state"})

MAX_LONG = 2**63 - 1
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_RESERVED = frozenset(
    {"true", "false", "if", "then", "else", "in", "like", "has", "is", "when", "unless", "permit", "forbid"}
    | {
        "principal",
        "action",
        "resource",
        "context",
        "entity",
        "type",
        "namespace",
        "appliesTo",
        "tags",
        "enum",
    }
    | {"Bool", "Boolean", "Long", "String", "Set", "Record", "Entity", "Extension", "__cedar"}
)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def is_identifier(name: str) -> bool:
    """Say whether `name` can stand as a type or attribute name in Cedar text without quotes."""
    return bool(_IDENTIFIER.match(name)) and name not in _RESERVED


@frozen
class Allow:
    """One thing that allows an action: all of its conditions must hold.

    `role` is a declared role, `public` or `authenticated`. `owner`: only on resources that the caller owns.
    `tenant`: only within the caller's tenant (switch it off for nothing but operators of all tenants).
    `risk_max`: the session's risk score (0..100) is at most this. `step_up`: a fresh passkey assertion.
    `amount_max`: the request's amount in minor units is at most this. `states`: the resource is in one of them.
    """

    role: str
    owner: bool = False
    tenant: bool = True
    risk_max: int | None = None
    step_up: bool = False
    amount_max: int | None = None
    states: tuple[str, ...] = field(default=(), converter=_texts)


def _allows(values: Iterable[Allow]) -> tuple[Allow, ...]:
    return tuple(values)


@frozen
class Action:
    """Something that can be done, named `Type.verb`, and what allows it.

    `scope`: `object` is one resource (or, for a create, the one to be), `collection` the list of a type, `app` the
    app as a whole (a console page, a kill switch).
    """

    name: str
    resource: str = APP_TYPE
    scope: Scope = "object"
    allow: tuple[Allow, ...] = field(default=(), converter=_allows)


@frozen
class ResourceType:
    """A kind of resource: whether somebody owns it, the states it can be in, further attributes that rules may read."""

    name: str
    owner: bool = False
    states: tuple[str, ...] = field(default=(), converter=_texts)
    attributes: Mapping[str, AttributeType] = field(factory=dict)


def _resources(values: Iterable[ResourceType]) -> tuple[ResourceType, ...]:
    return tuple(values)


def _actions(values: Iterable[Action]) -> tuple[Action, ...]:
    return tuple(values)


@frozen
class AccessModel:
    """Roles, resource types and actions of one app.

    `check` says what is wrong with it, all at once.
    """

    roles: tuple[str, ...] = field(converter=_texts)
    resources: tuple[ResourceType, ...] = field(converter=_resources)
    actions: tuple[Action, ...] = field(converter=_actions)

    def resource(self, name: str) -> ResourceType | None:
        """Return the resource type of that name."""
        return next((item for item in self.resources if item.name == name), None)

    def check(self) -> None:
        """Raise AccessModelError naming every contradiction, or return."""
        problems = list(_problems(self))
        if problems:
            raise AccessModelError("; ".join(problems) + ".", hint="Correct the access rules.")


def _problems(model: AccessModel) -> Iterable[str]:
    for what, names in (
        ("role", [*model.roles]),
        ("resource type", [item.name.casefold() for item in model.resources]),
        ("action", [item.name for item in model.actions]),
    ):
        yield from (f"{what} {name!r} is declared twice" for name in _twice(names))
    for role in model.roles:
        if role in (PUBLIC, AUTHENTICATED) or not role:
            yield f"role {role!r} is a reserved name"
    for resource in model.resources:
        yield from _resource_problems(resource)
    for action in model.actions:
        yield from _action_problems(model, action)


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _resource_problems(resource: ResourceType) -> Iterable[str]:
    if not is_identifier(resource.name) or resource.name in BUILT_IN_TYPES:
        yield f"resource type {resource.name!r} is not a name that Cedar leaves free"
    for name, kind in resource.attributes.items():
        if not is_identifier(name) or name in STANDARD_ATTRIBUTES:
            yield f"attribute {name!r} of {resource.name!r} is not a free name"
        if kind not in ("String", "Long", "Bool"):
            yield f"attribute {name!r} of {resource.name!r} has the unknown type {kind!r}"


def _action_problems(model: AccessModel, action: Action) -> Iterable[str]:
    name = repr(action.name)
    if not action.name:
        yield "an action has no name"
    if action.scope not in ("object", "collection", "app"):
        yield f"action {name} has the unknown scope {action.scope!r}"
    resource = model.resource(action.resource)
    if action.scope == "app":
        if action.resource != APP_TYPE:
            yield f"action {name} is about the app as a whole, so its resource is {APP_TYPE}"
    elif resource is None:
        yield f"action {name} is about the unknown resource type {action.resource!r}"
    for allow in action.allow:
        for problem in _allow_problems(model, action, resource, allow):
            yield f"action {name}, allow {allow.role!r}: {problem}"


def _allow_problems(
    model: AccessModel, action: Action, resource: ResourceType | None, allow: Allow
) -> Iterable[str]:
    if allow.role not in model.roles and allow.role not in (PUBLIC, AUTHENTICATED):
        yield "the role is not declared"
    if allow.role == PUBLIC and (allow.owner or allow.step_up):
        yield "nobody owns nothing and has no passkey: owner and step_up need a session"
    if allow.owner and (action.scope == "app" or (resource is not None and not resource.owner)):
        yield "the resource has no owner"
    for label, value in (("risk_max", allow.risk_max), ("amount_max", allow.amount_max)):
        if value is not None and (isinstance(value, bool) or not 0 <= value <= MAX_LONG):
            yield f"{label} is a whole number from 0"
    if allow.states and action.scope != "object":
        yield "only an object has a state"
    elif allow.states and resource is not None:
        for state in allow.states:
            if state not in resource.states:
                yield f"{resource.name} has no state {state!r}"
