"""Where attributes come from: the decision point's own knowledge first, the caller's word only where that is agreed."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import field, frozen

from ..models import Entity, EntityUid


@frozen
class Party:
    """A subject or resource as a caller names it; `properties` are claims, not facts."""

    type: str
    id: str
    properties: Mapping[str, Any] = field(factory=dict)


class EntitySource(Protocol):
    """Gives the entities that a decision reads; everything is about one tenant."""

    async def load(self, tenant: str, party: Party) -> Sequence[Entity]:
        """Return the entity that `party` names and after it what policies reach from it; nothing when unknown."""
        ...

    async def page(self, tenant: str, kind: str, after: str, limit: int) -> Sequence[str]:
        """Return at most `limit` ids of the type `kind` above `after`, ascending by code point; "" begins."""
        ...

    async def actions(self, tenant: str, resource_type: str) -> Sequence[str]:
        """Return the actions there are on a type of resource, in the order in which they are shown."""
        ...


class MemorySource:
    """Entities of one tenant in memory: for fixed directories, and for tests.

    `claims` names, by type, the properties that are believed when a caller sends them: they never replace what is
    known. `open_types` are types whose entities need not be known here.
    """

    def __init__(
        self,
        entities: Iterable[Entity],
        actions: Mapping[str, Sequence[str]],
        *,
        tenant: str = "main",
        claims: Mapping[str, Iterable[str]] | None = None,
        open_types: Iterable[str] = (),
    ) -> None:
        self._tenant = tenant
        self._entities = {entity.uid: entity for entity in entities}
        self._actions = {kind: tuple(names) for kind, names in actions.items()}
        self._claims = {kind: frozenset(names) for kind, names in (claims or {}).items()}
        self._open = frozenset(open_types)
        self._ids: dict[str, list[str]] = {}
        for uid in self._entities:
            bisect.insort(self._ids.setdefault(uid.type, []), uid.id)

    async def load(self, tenant: str, party: Party) -> Sequence[Entity]:
        """Return the entity and all of its ancestors that are known."""
        known = self._entities.get(EntityUid(party.type, party.id)) if tenant == self._tenant else None
        if known is None and (party.type not in self._open or tenant != self._tenant):
            return ()
        believed = self._claims.get(party.type, frozenset())
        claimed = {name: value for name, value in party.properties.items() if name in believed}
        attrs = {**claimed, **(known.attrs if known else {})}
        first = Entity(
            party.type, party.id, attrs, known.parents if known else (), known.tags if known else {}
        )
        return (first, *self._ancestors(first))

    async def page(self, tenant: str, kind: str, after: str, limit: int) -> Sequence[str]:
        """Return the next ids of a type."""
        ids = self._ids.get(kind, []) if tenant == self._tenant else []
        start = bisect.bisect_right(ids, after) if after else 0
        return ids[start : start + limit]

    async def actions(self, tenant: str, resource_type: str) -> Sequence[str]:
        """Return the actions given for the type."""
        return self._actions.get(resource_type, ()) if tenant == self._tenant else ()

    def _ancestors(self, entity: Entity) -> Iterable[Entity]:
        seen: dict[EntityUid, Entity] = {}
        waiting = list(entity.parents)
        while waiting:
            found = self._entities.get(waiting.pop())
            if found is not None and found.uid not in seen:
                seen[found.uid] = found
                waiting += found.parents
        return seen.values()
