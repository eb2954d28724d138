"""What an action may write, and what somebody gains by such a write: values without a solver."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from ..models import AuthzRequest, Entity, EntityUid


@frozen
class Inputs:
    """What may be written of entities of one type: attributes, tags (`*` for any), edges to types of parents."""

    attributes: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    edges: frozenset[str] = frozenset()


@frozen
class Write:
    """An action, and what it may write by entity type."""

    action: EntityUid
    inputs: Mapping[str, Inputs]


@frozen
class Witness:
    """A permitted write and what it gives its doer.

    `permitted` is the request for the write. `gained` is denied with its entities, and allowed once `written`, one of
    them, took the place of what it was.
    """

    permitted: AuthzRequest
    gained: AuthzRequest
    written: tuple[Entity, ...]

    @property
    def after(self) -> AuthzRequest:
        """Return the gained request in the store after the write."""
        new = {item.uid: item for item in self.written}
        entities = tuple(new.get(item.uid, item) for item in self.gained.entities)
        return evolve(self.gained, entities=entities)


@frozen
class Elevation:
    """An action by which somebody elevates themselves, shown by `witness`; without one, why it is not ruled out."""

    write: Write
    principal: str
    reason: str = ""
    witness: Witness | None = None
