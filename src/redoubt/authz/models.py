"""The values of a decision: who asks, what about, in which context, and the answer (Cedar's principal, action,
resource and context)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from redoubt.core.canonical import canonical_json, sha256_hex

from .access import ANONYMOUS_TYPE, APP_TYPE, COLLECTION_TYPE, ROLE_TYPE, USER_TYPE

MIN_LONG, MAX_LONG = -(2**63), 2**63 - 1
MAX_DEPTH = 32


@frozen
class EntityUid:
    """An entity's type and id."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}::{self.id!r}"

    def to_json(self) -> dict[str, str]:
        """Return Cedar's JSON form."""
        return {"type": self.type, "id": self.id}


@frozen
class Extension:
    """A value of a Cedar extension type, by its constructor: `Extension("ip", ("10.0.0.0/8",))`."""

    fn: str
    args: tuple[Any, ...]


Value = bool | int | str | EntityUid | Extension | Sequence["Value"] | Mapping[str, "Value"]


def _uids(values: Iterable[EntityUid]) -> tuple[EntityUid, ...]:
    return tuple(values)


def uid_from_json(document: Mapping[str, Any]) -> EntityUid:
    """Read a uid in Cedar's JSON form, with or without its escape."""
    document = document.get("__entity", document)
    return EntityUid(document["type"], document["id"])


@frozen
class Entity:
    """An entity with what policies may read of it.

    `kept` is None, or where readers keep what they made of this very entity: for one that is asked about again and
    again and whose attributes nobody can change.
    """

    type: str
    id: str
    attrs: Mapping[str, Any] = field(factory=dict)
    parents: tuple[EntityUid, ...] = field(default=(), converter=_uids)
    tags: Mapping[str, Any] = field(factory=dict)
    kept: dict[Any, Any] | None = field(default=None, eq=False, repr=False)

    @property
    def uid(self) -> EntityUid:
        """Return type and id."""
        return EntityUid(self.type, self.id)

    def to_json(self) -> dict[str, Any]:
        """Return Cedar's JSON form; raises TypeError for a value that Cedar does not have."""
        result: dict[str, Any] = {
            "uid": self.uid.to_json(),
            "attrs": {name: value_to_json(value) for name, value in self.attrs.items()},
            "parents": [parent.to_json() for parent in self.parents],
        }
        if self.tags:
            result["tags"] = {name: value_to_json(value) for name, value in self.tags.items()}
        return result

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Entity:
        """Read an entity in Cedar's JSON form."""
        named = uid_from_json(document["uid"])
        return cls(
            named.type,
            named.id,
            {name: value_from_json(item) for name, item in document["attrs"].items()},
            tuple(uid_from_json(parent) for parent in document["parents"]),
            {name: value_from_json(item) for name, item in document.get("tags", {}).items()},
        )


def value_from_json(document: Any) -> Any:
    """Read a value in Cedar's JSON form: the inverse of `value_to_json`."""
    if isinstance(document, dict):
        if "__entity" in document:
            return uid_from_json(document)
        if "__extn" in document:
            inner = document["__extn"]
            args = inner["args"] if "args" in inner else [inner["arg"]]
            return Extension(inner["fn"], tuple(value_from_json(item) for item in args))
        return {name: value_from_json(item) for name, item in document.items()}
    if isinstance(document, list):
        return [value_from_json(item) for item in document]
    return document


def value_to_json(value: Any, depth: int = 0) -> Any:
    """Return the Cedar JSON of a value; raises TypeError for floats, None, numbers beyond 64 bits and escape keys.

    A record key that starts with two underscores is Cedar's escape (`__entity`, `__extn`): from data it would forge
    an entity reference, so it is refused.
    """
    if depth > MAX_DEPTH:
        raise TypeError("a value nests too deeply")
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if not MIN_LONG <= value <= MAX_LONG:
            raise TypeError("a number beyond 64 bits")
        return value
    if isinstance(value, EntityUid):
        return {"__entity": value.to_json()}
    if isinstance(value, Extension):
        args = [value_to_json(item, depth + 1) for item in value.args]
        return {
            "__extn": {"fn": value.fn, "arg": args[0]} if len(args) == 1 else {"fn": value.fn, "args": args}
        }
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) or key.startswith("__") for key in value):
            raise TypeError("a record key that is not plain text")
        return {key: value_to_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [value_to_json(item, depth + 1) for item in value]
        return sorted(items, key=canonical_json) if isinstance(value, set | frozenset) else items
    raise TypeError(f"a value of the type {type(value).__name__}")


def _roles(values: Iterable[str]) -> frozenset[str]:
    return frozenset(values)


@frozen
class Caller:
    """Who makes a request and how sure we are of it; made by the middleware from the session.

    `user_id` is None for nobody. `risk` is 0..100. `step_up` says that a passkey assertion is fresh. `amount` and
    the like come from the request itself, not from here.
    """

    user_id: str | None = None
    tenant: str = "main"
    roles: frozenset[str] = field(default=frozenset(), converter=_roles)
    risk: int = 0
    step_up: bool = False
    session_id: str | None = None
    request_id: str | None = None

    @property
    def anonymous(self) -> bool:
        """Say whether nobody is logged in."""
        return self.user_id is None

    def principal(self) -> Entity:
        """Return the principal as an entity: a user in their roles, or nobody."""
        return _principal(self.user_id, self.tenant, self.roles)


@lru_cache(4096)  # the same person asks many questions
def _principal(user_id: str | None, tenant: str, roles: frozenset[str]) -> Entity:
    attrs = MappingProxyType({"tenant": tenant})
    if user_id is None:
        return Entity(ANONYMOUS_TYPE, "anonymous", attrs, kept={})
    parents = tuple(EntityUid(ROLE_TYPE, role) for role in sorted(roles))
    return Entity(USER_TYPE, user_id, attrs, parents, kept={})


@lru_cache(4096)  # the actions of an app are few
def action_uid(name: str) -> EntityUid:
    """Return the uid of the action `Type.verb`."""
    return EntityUid("Action", name)


def user_uid(user_id: str) -> EntityUid:
    """Return the uid of a user, as owners are given."""
    return EntityUid(USER_TYPE, user_id)


def app_entity(tenant: str) -> Entity:
    """Return the app as a whole, as a resource."""
    return Entity(APP_TYPE, "app", {"tenant": tenant})


def collection_entity(type_name: str, tenant: str, owner: str | None = None) -> Entity:
    """Return the list of a type as a resource: all of a tenant's, or those that `owner` has."""
    attrs: dict[str, Any] = {"tenant": tenant}
    if owner is not None:
        attrs["owner"] = user_uid(owner)
    return Entity(COLLECTION_TYPE, type_name, attrs)


def _entities(values: Iterable[Entity]) -> tuple[Entity, ...]:
    return tuple(values)


@frozen
class AuthzRequest:
    """A question: may `principal` do `action` on `resource` in `context`, given `entities`?"""

    principal: EntityUid
    action: EntityUid
    resource: EntityUid
    context: Mapping[str, Any] = field(factory=dict)
    entities: tuple[Entity, ...] = field(default=(), converter=_entities)

    @classmethod
    def of(
        cls, principal: Entity, action: str, resource: Entity, context: Mapping[str, Any], *more: Entity
    ) -> AuthzRequest:
        """Return the question about two entities whose attributes are at hand."""
        asker, target = principal.uid, resource.uid
        if not more and asker != target:
            return cls(asker, action_uid(action), target, context, (principal, resource))
        entities = {entity.uid: entity for entity in (principal, resource, *more)}
        return cls(asker, action_uid(action), target, context, tuple(entities.values()))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> AuthzRequest:
        """Read back what `values` wrote: a recorded question."""
        return cls(
            uid_from_json(values["principal"]),
            uid_from_json(values["action"]),
            uid_from_json(values["resource"]),
            value_from_json(values["context"]),
            tuple(Entity.from_json(item) for item in values["entities"]),
        )

    def with_context(self, **changes: Any) -> AuthzRequest:
        """Return the same question in another context."""
        return evolve(self, context={**self.context, **changes})

    def values(self) -> dict[str, Any]:
        """Return all that a decision may read, as JSON: what an audit record needs to decide it again."""
        return {
            "principal": self.principal.to_json(),
            "action": self.action.to_json(),
            "resource": self.resource.to_json(),
            "context": value_to_json(self.context),
            "entities": [entity.to_json() for entity in self.entities],
        }


def values_digest(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the canonical JSON of `values`."""
    return sha256_hex(canonical_json(dict(values)))


@frozen
class Decision:
    """The answer, why, and by which policies.

    `reasons` are the @ids of the determining policies, `errors` what policies or the engine could not evaluate,
    `version` the policy set's, `written` all that could be read as canonical JSON, and `digest` the hash of that.
    """

    allowed: bool
    reasons: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    version: str = ""
    written: str = field(default="{}", repr=False)
    digest: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """Return what could be read, as `AuthzRequest.values` gives it."""
        found: dict[str, Any] = json.loads(self.written)
        return found
