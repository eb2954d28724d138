"""The reference engine as a decider: the judge of the reader that decides, in tests and beside it.

Policies are sliced by (action, resource type) once: a policy whose scope cannot match is never given to the engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import cedarpy

from .models import AuthzRequest, EntityUid
from .policyset import PolicySet, engine_of

_MAX_SLICES = 4096


class Reference:
    """Cedar's own engine over one immutable policy set; safe to share between threads."""

    def __init__(self, policies: PolicySet, *, check_request: bool = True) -> None:
        """Answer by `policies`; `check_request` holds requests and entities to the schema as well."""
        self._policies = policies
        self._schema = policies.schema if check_request else None
        self._slices: dict[tuple[EntityUid, str], Any] = {}

    def ask(self, request: AuthzRequest) -> tuple[bool, tuple[str, ...], bool]:
        """Return whether it is allowed, the determining policies, and whether any policy met an error.

        Raises whatever the engine raises: for a request or an entity that is not what the schema says, too.
        """
        values = request.values()
        question = {key: values[key] for key in ("principal", "action", "resource", "context")}
        entities = cedarpy.Entities.from_json_str(json.dumps(values["entities"]), schema=self._schema)
        answer = cedarpy.is_authorized(question, self._slice(request), entities, schema=self._schema)
        reasons = tuple(sorted(answer.diagnostics.reasons))
        allowed = answer.decision is cedarpy.Decision.Allow and bool(reasons)
        return allowed, reasons, bool(answer.diagnostics.errors)

    def _slice(self, request: AuthzRequest) -> Any:
        key = (request.action, request.resource.type)
        found = self._slices.get(key)
        if found is None:
            found = engine_of(dict(candidates(self._policies, request.action, request.resource.type)))
            if (
                len(self._slices) < _MAX_SLICES
            ):  # types and actions are the schema's; a flood of others is not kept
                self._slices[key] = found
        return found


def candidates(
    policies: PolicySet, action: EntityUid, resource_type: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the policies whose scope may match this action and resource type; group membership is not judged here."""
    for identity, policy in policies.policies.items():
        if _may_match_action(policy["action"], action) and _may_match_type(policy["resource"], resource_type):
            yield identity, policy


def _may_match_action(scope: Mapping[str, Any], action: EntityUid) -> bool:
    if scope["op"] != "==":
        return True  # `in` may name a group of it
    entity = _entity(scope)
    return entity is None or entity == action


def _may_match_type(scope: Mapping[str, Any], resource_type: str) -> bool:
    if scope["op"] == "is":
        return bool(scope["entity_type"] == resource_type)
    if scope["op"] == "==":
        entity = _entity(scope)
        return entity is None or entity.type == resource_type
    return True


def _entity(scope: Mapping[str, Any]) -> EntityUid | None:
    entity = scope.get("entity")
    if entity is None:
        return None
    entity = entity.get("__entity", entity)
    return EntityUid(entity["type"], entity["id"])
