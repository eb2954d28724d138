"""Template links: who and what a template's slots stand for (Cedar, "Policy templates").

Links lie beside the policies in `links.json`, in the form that Cedar's own command line reads:

    [{"template_id": "share", "link_id": "share-7", "args": {"?principal": "User::\\"ann\\"", "?resource": "Doc::\\"d7\\""}}]

A link is a policy like any other: it has an id of its own, is judged by proof when it comes or goes, and is part of
what a version is the hash of. Whatever reads a policy set sees it as the policy that it stands for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cedarpy
from attrs import frozen

from .models import EntityUid

LINKS_FILE = "links.json"
MAX_LINKS = 20_000
SLOTS = ("?principal", "?resource")
_MEMBERS = {"template_id", "link_id", "args"}


class BadLink(ValueError):
    """A link that says nothing sensible; the message says why, `link_id` which, where that is known."""

    def __init__(self, message: str, link_id: str | None = None) -> None:
        self.link_id = link_id
        super().__init__(message)


@frozen
class Link:
    """A link: its own id, its template's, and what stands in each slot."""

    id: str
    template: str
    values: Mapping[str, EntityUid]

    def to_json(self) -> dict[str, Any]:
        """Return the canonical form, which a version keeps."""
        return {
            "id": self.id,
            "template": self.template,
            "values": {slot: self.values[slot].to_json() for slot in sorted(self.values)},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Link:
        """Read back what `to_json` wrote; raises KeyError or TypeError for anything else."""
        values = {slot: EntityUid(item["type"], item["id"]) for slot, item in document["values"].items()}
        return cls(document["id"], document["template"], values)


def read_links(text: str) -> tuple[list[Link], list[BadLink]]:
    """Read a file of links: those that can be read, and what is wrong with the others."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [], [BadLink(f"syntax: {error}")]
    if not isinstance(items, list):
        return [], [BadLink("a list of links is expected")]
    if len(items) > MAX_LINKS:
        return [], [BadLink(f"{len(items)} links; at most {MAX_LINKS} are taken")]
    found, bad = [], []
    for number, item in enumerate(items, start=1):
        try:
            found.append(_link(item, number))
        except BadLink as error:
            bad.append(error)
    return found, bad


def _link(item: Any, number: int) -> Link:
    if not isinstance(item, dict) or not isinstance(item.get("link_id"), str) or not item["link_id"]:
        raise BadLink(f"link number {number} has no link_id")
    name = item["link_id"]
    if (
        set(item) != _MEMBERS
        or not isinstance(item["template_id"], str)
        or not isinstance(item["args"], dict)
    ):
        raise BadLink(
            'a link has template_id, link_id and args, as in {"?principal": "User::\\"ann\\""}', name
        )
    unknown = sorted(set(item["args"]) - set(SLOTS))
    if unknown:
        raise BadLink(f"no slot is called {unknown[0]!r}: there are {' and '.join(SLOTS)}", name)
    return Link(name, item["template_id"], {slot: _uid(value, name) for slot, value in item["args"].items()})


def _uid(value: Any, name: str) -> EntityUid:
    """Read an entity as Cedar writes it, by Cedar's own parser."""
    if not isinstance(value, str) or len(value) > 2048:
        raise BadLink('a slot stands for an entity, written as "Type::\\"id\\""', name)
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(f"permit (principal == {value}, action, resource);"))
    except ValueError as error:
        raise BadLink(f"{value!r} is no entity", name) from error
    policies, every = list(parsed["staticPolicies"].values()), {"op": "All"}
    if len(policies) != 1 or parsed["templates"]:
        raise BadLink(f"{value!r} is no entity", name)
    policy = policies[0]
    plain = (policy["action"], policy["resource"], policy["conditions"]) == (every, every, [])
    entity = policy["principal"].get("entity")
    if not plain or policy["principal"].keys() != {"op", "entity"} or not isinstance(entity, dict):
        raise BadLink(f"{value!r} is no entity", name)
    return EntityUid(entity["type"], entity["id"])


def instantiate(template: Mapping[str, Any], link: Link) -> dict[str, Any]:
    """Return the policy that a link stands for, in JSON form: the template with its slots filled.

    It has the link's `@id` and names its template in `@template`. Raises BadLink unless the link gives exactly the slots.
    """
    filled: set[str] = set()
    policy = {
        **template,
        "principal": _filled(template["principal"], link, filled),
        "resource": _filled(template["resource"], link, filled),
        "annotations": {**template.get("annotations", {}), "id": link.id, "template": link.template},
    }
    left = sorted(set(link.values) - filled)
    if left:
        raise BadLink(f"the template {link.template!r} has no slot {left[0]}", link.id)
    return policy


def slots(template: Mapping[str, Any]) -> frozenset[str]:
    """Return the slots of a template in JSON form."""
    ends = (template["principal"], template["resource"])
    found = (scope.get("slot") or (scope.get("in") or {}).get("slot") for scope in ends)
    return frozenset(str(slot) for slot in found if slot is not None)


def _filled(scope: Any, link: Link, filled: set[str]) -> Any:
    if not isinstance(scope, dict):
        return scope
    result = {key: _filled(item, link, filled) for key, item in scope.items() if key != "slot"}
    if "slot" in scope:
        slot = scope["slot"]
        value = link.values.get(slot)
        if value is None:
            raise BadLink(f"nothing is given for the slot {slot} of the template {link.template!r}", link.id)
        filled.add(slot)
        result["entity"] = value.to_json()
    return result
