"""Objects in the app: made by those who may, with a canary in them, and read again to see what an attack did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field

from .browser import Answer
from .errors import LoginFailed, Unshown
from .lab import Lab
from .openapi import Resource
from .people import Person
from .samples import PRICE, sample


@define(eq=False)
class Thing:
    """One object: its kind, its id, who made it, the canary in it, and what its maker reads."""

    resource: Resource
    id: str
    owner: Person
    canary: str
    body: dict[str, Any] = field(factory=dict)

    @property
    def path(self) -> str:
        """The object's address."""
        start = self.resource.item.index("{")
        end = self.resource.item.index("}") + 1
        return self.resource.item[:start] + self.id + self.resource.item[end:]

    def reread(self) -> Answer:
        """Read it as its owner."""
        return self.owner.browser.get(self.path)


class Workshop:
    """Makes objects for one probe; what an object refers to is made by whoever may."""

    def __init__(self, lab: Lab, cast: Sequence[Person] = (), *, price: int | None = None) -> None:
        self._lab, self._price = lab, price
        self.cast = list(cast)
        self._references: dict[str, Thing | None] = {}

    def resource(self, entity: str) -> Resource | None:
        """Return the resource that keeps objects of a kind."""
        return next((one for one in self._lab.api.resources() if entity in (one.entity(), one.name)), None)

    def make(self, resource: Resource, person: Person, canary: str | None = None) -> Thing | None:
        """Make an object as `person`; None when they may not, or nothing that fits could be sent."""
        if resource.create is None:
            return None
        canary = canary or self._lab.canary()
        answer = self._send(resource, person, canary, optional=True)
        if answer.status in (400, 409, 422):
            answer = self._send(resource, person, canary, optional=False)
        if answer.status in (400, 409, 422) and self._move_references():
            answer = self._send(resource, person, canary, optional=False)
        if not answer.ok:
            return None
        body = answer.json() if isinstance(answer.json(), dict) else {}
        found = next((body[name] for name in ("id", "uuid", f"{resource.name}_id") if name in body), None)
        if found is None:
            return None
        return Thing(resource, str(found), person, canary, body)

    def anybody_makes(self, resource: Resource, canary: str | None = None) -> Thing | None:
        """Make an object as the first role that may; which one it was is remembered for the whole run."""
        maker = self._lab.world.notes.setdefault("makers", {})
        for person in sorted(self.cast, key=lambda one: one.role != maker.get(resource.item)):
            if (made := self.make(resource, person, canary)) is not None:
                return made
        known = {one.role for one in self.cast}
        roles = [role for role in self._lab.world.people.roles() if role not in known]
        for role in sorted(roles, key=lambda one: one != maker.get(resource.item)):
            try:
                person = self._lab.person(role)
            except (Unshown, LoginFailed):
                continue
            self.cast.append(person)
            if (made := self.make(resource, person, canary)) is not None:
                maker[resource.item] = role
                return made
        return None

    def refer(self, entity: str, person: Person) -> str | None:
        """Return the id of an object of that kind which `person` may refer to."""
        resource = self.resource(entity)
        if resource is None:
            return None
        key = f"{entity}:{person.name}"
        if key not in self._references:
            own = self.make(resource, person)
            if own is None and entity not in self._references:
                self._references[entity] = self.anybody_makes(resource)
            self._references[key] = own or self._references.get(entity)
        found = self._references[key]
        return found.id if found is not None else None

    def _send(self, resource: Resource, person: Person, canary: str, *, optional: bool) -> Answer:
        create = resource.create
        if create is None:
            raise Unshown(f"{resource.name} cannot be made")
        body = sample(
            self._lab.api, create.body, canary, lambda entity: self.refer(entity, person), optional=optional
        )
        if self._price is not None:
            body = {key: self._price if one == PRICE else one for key, one in body.items()}
        return person.browser.post(create.path, json=body)

    def _move_references(self) -> bool:
        """Bring what is referred to into another state: a product is published before it can be ordered."""
        moved = False
        for thing in {id(one): one for one in self._references.values() if one is not None}.values():
            for move in thing.resource.moves[:1]:
                if thing.body.get("_moved"):
                    continue
                thing.body["_moved"] = True
                moved |= thing.owner.browser.post(move.at(id=thing.id), json={}).ok
        return moved
