"""The values of a resolved Cedar schema: types, entity types, actions (Cedar schema grammar, version 4).

Names are full: `Shop::Order`, never `Order` within a namespace. Common types are gone, put in place of their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import field, frozen

from ..models import EntityUid


@frozen
class BoolType:
    """`Bool`."""


@frozen
class LongType:
    """`Long`: a whole number of 64 bits with a sign."""


@frozen
class StringType:
    """`String`."""


@frozen
class ExtensionType:
    """A type of an extension: `ipaddr`, `decimal`, `datetime` or `duration`."""

    name: str


@frozen
class EntityRef:
    """A reference to an entity of one type."""

    name: str


@frozen
class SetType:
    """A set of elements of one type."""

    element: Type


@frozen
class Attribute:
    """An attribute of a record or entity: its type, whether it is always there, its annotations."""

    type: Type
    required: bool = True
    annotations: Mapping[str, str] = field(factory=dict, eq=False)


@frozen
class RecordType:
    """A record with exactly these attributes."""

    attributes: Mapping[str, Attribute] = field(factory=dict)


Type = BoolType | LongType | StringType | ExtensionType | EntityRef | SetType | RecordType


@frozen
class EntityType:
    """A kind of entity.

    `member_of` are the types whose entities may be its direct parents; `tags` is the type of its tags' values, or
    None where it has none; `enum` holds the only ids there are, or None for a type whose ids are free.
    """

    name: str
    member_of: frozenset[str] = frozenset()
    shape: RecordType = field(factory=RecordType)
    tags: Type | None = None
    enum: tuple[str, ...] | None = None
    annotations: Mapping[str, str] = field(factory=dict, eq=False)


@frozen
class ActionType:
    """An action or a group of actions: its direct parents, and whom and what it applies to in which context."""

    uid: EntityUid
    member_of: frozenset[EntityUid] = frozenset()
    principals: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    context: RecordType = field(factory=RecordType)
    annotations: Mapping[str, str] = field(factory=dict, eq=False)


@frozen
class Environment:
    """A request's types: principal type, action, resource type."""

    principal: str
    action: EntityUid
    resource: str


@frozen
class Schema:
    """All entity types by full name and all actions by uid."""

    entities: Mapping[str, EntityType]
    actions: Mapping[EntityUid, ActionType]

    def environments(self) -> Iterator[Environment]:
        """Yield every environment that a request can have, in a stable order."""
        for uid in sorted(self.actions, key=lambda uid: (uid.type, uid.id)):
            action = self.actions[uid]
            for principal in sorted(action.principals):
                for resource in sorted(action.resources):
                    yield Environment(principal, uid, resource)

    def ancestor_types(self, name: str) -> frozenset[str]:
        """Return the types whose entities may be ancestors of an entity of the type `name`."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            known = self.entities.get(waiting.pop())
            fresh = (known.member_of if known is not None else frozenset()) - found
            found |= fresh
            waiting += fresh
        return frozenset(found)

    def action_ancestors(self, uid: EntityUid) -> frozenset[EntityUid]:
        """Return the groups that an action is in, directly or through others."""
        found: set[EntityUid] = set()
        waiting = [uid]
        while waiting:
            known = self.actions.get(waiting.pop())
            fresh = (known.member_of if known is not None else frozenset()) - found
            found |= fresh
            waiting += fresh
        return frozenset(found)
