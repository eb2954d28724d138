"""A witness before it is shown: replayed on the reference engine, and made smaller while it still shows the same."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cedarpy
from attrs import evolve

from ..models import AuthzRequest, Entity, EntityUid, value_to_json
from ..schema import SchemaError, read_schema


def allows(request: AuthzRequest, engine: Any, schema: Any, actions: tuple[Entity, ...] = ()) -> bool | None:
    """Return the reference engine's decision, None where it refuses the request.

    What groups the action is in comes from the `schema`, or from `actions` where there is none.
    """
    return _asked(request, engine, schema, actions)[0]


def answered(request: AuthzRequest, policies: Any, *, conforming: bool) -> tuple[bool | None, list[str]]:
    """Return the reference engine's decision by a checked set, and the ids of the policies that it comes from.

    `conforming`: the request is held to the set's schema; else that only says which groups the action is in.
    """
    if conforming:
        return _asked(request, policies.engine, policies.schema, ())
    return _asked(request, policies.engine, None, _groups(policies.schema_text, request.action))


def _asked(
    request: AuthzRequest, engine: Any, schema: Any, actions: tuple[Entity, ...]
) -> tuple[bool | None, list[str]]:
    try:
        entities = cedarpy.Entities.from_json_str(
            json.dumps([entity.to_json() for entity in (*request.entities, *actions)]), schema=schema
        )
        question = {
            "principal": request.principal.to_json(),
            "action": request.action.to_json(),
            "resource": request.resource.to_json(),
            "context": json.dumps(value_to_json(request.context)),
        }
        answer = cedarpy.is_authorized(question, engine, entities, schema=schema)
    except (ValueError, TypeError):
        return None, []
    decisions = {cedarpy.Decision.Allow: True, cedarpy.Decision.Deny: False}
    return decisions.get(answer.decision), list(answer.diagnostics.reasons)


def widens(request: AuthzRequest, old: Any, new: Any) -> bool:
    """Say whether `new` (a checked set) allows what `old` denies; entities are held to the schema of `new`.

    `old` is None where the older schema has no such request: it was refused before any policy was asked.
    """
    if answered(request, new, conforming=True)[0] is not True:
        return False
    return old is None or answered(request, old, conforming=False)[0] is False


@lru_cache(maxsize=256)
def _groups(schema_text: str, action: EntityUid) -> tuple[Entity, ...]:
    """Return an action and the groups that it is in by a schema, as entities."""
    try:
        schema = read_schema(schema_text)
    except SchemaError:  # then nothing was compared by it
        return ()
    known = [
        schema.actions[uid] for uid in (action, *schema.action_ancestors(action)) if uid in schema.actions
    ]
    return tuple(Entity(one.uid.type, one.uid.id, {}, tuple(sorted(one.member_of, key=str))) for one in known)


def minimised(
    request: AuthzRequest, old: Any, new: Any, *, deadline: float, tries: int = 200
) -> AuthzRequest:
    """Return a smaller request that widens all the same: without edges, optional values and entities it can miss.

    After `deadline`, on the monotonic clock, it stays as it is.
    """
    for _ in range(tries):
        for smaller in _smaller(request):
            tries -= 1
            if tries <= 0 or time.monotonic() >= deadline:
                return request
            if widens(smaller, old, new):
                request = smaller
                break
        else:
            break
    return request


def _smaller(request: AuthzRequest) -> Iterator[AuthzRequest]:
    text = repr([(item.attrs, item.parents, item.tags) for item in request.entities]) + repr(request.context)
    for entity in request.entities:
        if repr(entity.uid) not in text and entity.uid not in (request.principal, request.resource):
            rest = tuple(item for item in request.entities if item.uid != entity.uid)
            yield evolve(request, entities=rest)
    for entity in request.entities:
        for parent in entity.parents:
            yield _with(request, entity, parents=tuple(item for item in entity.parents if item != parent))
        for name in entity.attrs:
            yield _with(request, entity, attrs=_without(entity.attrs, name))
        for name in entity.tags:
            yield _with(request, entity, tags=_without(entity.tags, name))
    for name in request.context:
        yield evolve(request, context=_without(request.context, name))


def _with(request: AuthzRequest, entity: Entity, **changes: Any) -> AuthzRequest:
    entities = tuple(evolve(item, **changes) if item is entity else item for item in request.entities)
    return evolve(request, entities=entities)


def _without(items: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in items.items() if key != name}
