"""The policies of a set as the prover reads them: without annotations, each with what its slots are linked to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from attrs import field, frozen
from cedarpy import pst

from ..models import EntityUid
from ..policyset import PolicySet, engine_of, tree_of
from ..schema.types import Environment, Schema
from .scopes import action_in, type_in

_KEPT = 20_000


@frozen
class Bound:
    """A policy with what its slots are linked to; equal where the annotations alone differ."""

    policy: pst.Template
    slots: Mapping[str, pst.EntityUid]
    text: str = field(default="", eq=False)

    @property
    def key(self) -> Any:
        """Return what two policies that say the same have alike: their canonical text, where it is known."""
        return self.text or self.policy, tuple(sorted((name, str(uid)) for name, uid in self.slots.items()))

    def applies(self, schema: Schema, environment: Environment) -> bool:
        """Say whether types and action alone leave the policy in play."""
        return (
            action_in(self.policy.action, schema, environment)
            and type_in(self.policy.principal, environment.principal)
            and type_in(self.policy.resource, environment.resource)
        )


class Index:
    """Policies by the one action that they name: of a thousand, few are looked at for an environment."""

    def __init__(self, items: list[Bound]) -> None:
        """Sort `items`, which stay in the order of their set."""
        self._named: dict[EntityUid, list[tuple[int, Bound]]] = {}
        self._others: list[tuple[int, Bound]] = []
        for place, item in enumerate(items):
            scope = item.policy.action
            if isinstance(scope, pst.ActionEq):
                uid = EntityUid(str(scope.entity.type), scope.entity.id)
                self._named.setdefault(uid, []).append((place, item))
            else:
                self._others.append((place, item))
        self._of_all = frozenset(id(item) for _, item in self._others)

    def about(self, action: EntityUid) -> tuple[frozenset[int], frozenset[int]]:
        """Return which policies could be in play for an action, of whatever types: those of it, and those of any."""
        return frozenset(id(item) for _, item in self._named.get(action, ())), self._of_all

    def of(self, schema: Schema, environment: Environment) -> list[Bound]:
        """Return what types and action leave in play, in the order of the set."""
        found = sorted(
            [*self._named.get(environment.action, ()), *self._others], key=lambda placed: placed[0]
        )
        return [item for _, item in found if item.applies(schema, environment)]


_Texts = tuple[tuple[str, str], ...]
_read: dict[str, Bound] = {}
"""Policies by canonical text: two sets that are compared share nearly all, and what was read once is not read again."""


def bound(policies: PolicySet) -> Mapping[str, Bound]:
    """Return every policy and link by id; what was read of a set is kept, for the next edit is compared with it again."""
    if policies.texts and policies.texts.keys() == policies.policies.keys():
        return _of_texts(policies)
    return _of_tree(policies.engine)


def _of_texts(policies: PolicySet) -> Mapping[str, Bound]:
    texts = {name: _unannotated(text) for name, text in policies.texts.items()}
    if len(_read) > _KEPT:
        _read.clear()
    known = {
        name: _read.get(text) for name, text in texts.items()
    }  # another thread may forget them at any moment
    found = {name: item for name, item in known.items() if item is not None}
    missing = [name for name in texts if name not in found]
    if missing:
        tree = tree_of(engine_of({name: policies.policies[name] for name in missing}))
        for name, policy in tree.static_policies.items():
            item = Bound(_plain(policy), {}, texts[name])
            found[name] = _read.setdefault(item.text, item)
    return {name: found[name] for name in texts}


@lru_cache(maxsize=8)
def _of_tree(engine: Any) -> Mapping[str, Bound]:
    tree = tree_of(engine)
    found = {name: Bound(_plain(policy), {}) for name, policy in tree.static_policies.items()}
    for link in tree.template_links:
        slots = {str(name): uid for name, uid in link.values.items()}
        found[link.new_id] = Bound(_plain(tree.templates[link.template_id]), slots)
    return MappingProxyType(found)


def _unannotated(text: str) -> str:
    """Return a canonical text without its annotations, each of which has a line of its own before the policy."""
    lines = text.split("\n")
    while lines and lines[0].startswith("@"):
        del lines[0]
    return "\n".join(lines)


def _plain(policy: pst.Template) -> pst.Template:
    return pst.Template(
        "", policy.effect, policy.principal, policy.action, policy.resource, policy.clauses, pst.FrozenMap()
    )
