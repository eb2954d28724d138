"""Decide: one question against one policy set, by the reference engine on cached handles.

Whatever goes wrong denies, and says what. Policies are sliced by (action, resource type) once: a policy whose scope
cannot match is never given to the engine, and cannot err there either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import cedarpy

from .models import AuthzRequest, Decision, EntityUid, Written, values_digest
from .policyset import PolicySet, engine_of

_MAX_SLICES, _MAX_ANSWERS = 4096, 8192
_MAX_ENTITIES_BYTES = 1024 * 1024


class Decider:
    """Decides by one immutable policy set; safe to share between threads."""

    def __init__(self, policies: PolicySet, *, check_request: bool = True) -> None:
        """Decide by `policies`; `check_request` holds requests and entities to the schema as well."""
        self.policies = policies
        self._schema = policies.schema if check_request else None
        self._slices: dict[tuple[EntityUid, str], Any] = {}
        self._answers: dict[str, tuple[bool, tuple[str, ...]]] = {}

    @property
    def version(self) -> str:
        """Return the version that decisions are made under."""
        return self.policies.version

    def decide(self, request: AuthzRequest) -> Decision:
        """Return the decision; allowed only when the engine says so, with at least one determining policy.

        The same question under the same policies has the same answer: what was answered without an error is kept,
        under the digest of all that the engine may read.
        """
        try:
            values = request.values()
            written = Written.of(values)
        except Exception as error:
            return self._denied(f"the request has no Cedar form: {_describe(error)}")
        if len(written.entities) > _MAX_ENTITIES_BYTES:
            return self._denied("the entities of the request are too large")
        known = self._answers.get(written.digest)
        if known is not None:
            return Decision(*known, (), self.version, values, written.digest)
        try:
            answer = self._ask(request, values, written)
            reasons = tuple(sorted(answer.diagnostics.reasons))
            errors = tuple(str(error) for error in answer.diagnostics.errors)
        except Exception as error:
            return self._denied(_describe(error), values, written.digest)
        allowed = answer.decision is cedarpy.Decision.Allow and bool(reasons)
        if not errors:
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.clear()
            self._answers[written.digest] = (allowed, reasons)
        return Decision(allowed, reasons, errors, self.version, values, written.digest)

    def _ask(self, request: AuthzRequest, values: Mapping[str, Any], written: Written) -> Any:
        question = {key: values[key] for key in ("principal", "action", "resource")} | {
            "context": written.context
        }
        entities = cedarpy.Entities.from_json_str(written.entities, schema=self._schema)
        return cedarpy.is_authorized(question, self._slice(request), entities, schema=self._schema)

    def _slice(self, request: AuthzRequest) -> Any:
        key = (request.action, request.resource.type)
        found = self._slices.get(key)
        if found is None:
            found = engine_of(dict(candidates(self.policies, request.action, request.resource.type)))
            if (
                len(self._slices) < _MAX_SLICES
            ):  # types and actions are the schema's; a flood of others is not kept
                self._slices[key] = found
        return found

    def _denied(self, error: str, values: Mapping[str, Any] | None = None, digest: str = "") -> Decision:
        return Decision(False, (), (error,), self.version, values or {}, digest)


class DenyAll:
    """Decides no, always, and says why: what runs where no policy set can be trusted."""

    def __init__(self, why: str, version: str = "") -> None:
        self.why = why
        self.version = version

    def decide(self, request: AuthzRequest) -> Decision:
        """Return a denial with the reason among its errors."""
        try:
            values = request.values()
            return Decision(False, (), (self.why,), self.version, values, values_digest(values))
        except Exception:
            return Decision(False, (), (self.why,), self.version)


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


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
