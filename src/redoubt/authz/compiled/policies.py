"""A policy set as closures behind an index: a decision looks at the policies whose scopes can match, and no others.

The index is three tables in one another, by what a scope names: action, then principal, then resource, each an
entity, a type, or nothing. A request looks under its own entity, under each of its ancestors, under its type and
under nothing. Ten thousand links on one action are so one look-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from attrs import frozen
from cedarpy import pst

from ..errors import UnreadablePolicy
from .entities import Store
from .expressions import Compiled, Question, boolean, compile_expression, ref_of_node
from .values import CedarError, Ref

Key = Ref | str | None
_Index = dict[Key, dict[Key, dict[Key, list["_Policy"]]]]
_Found = TypeVar("_Found")
_NO_ANCESTORS: frozenset[Ref] = frozenset()
_Kinds = tuple[Ref, frozenset[Ref], str, frozenset[Ref], str, frozenset[Ref]]
_MAX_KEPT = 4096


@frozen
class Answer:
    """A decision with its determining policies and those that met an error, each sorted by id."""

    allowed: bool
    reasons: tuple[str, ...]
    errors: tuple[str, ...]


class _Policy:
    """One policy or link: what of its scope the index does not say already, and its conditions."""

    __slots__ = ("conditions", "forbids", "id", "tests")

    def __init__(
        self, identity: str, forbids: bool, tests: tuple[Compiled, ...], conditions: tuple[Compiled, ...]
    ) -> None:
        self.id = identity
        self.forbids = forbids
        self.tests = tests
        self.conditions = conditions

    def holds(self, question: Question) -> bool:
        """Say whether the policy is satisfied; raises CedarError where it has no value."""
        for test in self.tests:
            if not test(question):
                return False
        for condition in self.conditions:
            value = condition(question)
            if value is not True:
                boolean(value)
                return False
        return True


class CompiledPolicies:
    """A compiled set; immutable and safe to share between threads."""

    def __init__(self, tree: pst.PolicySet) -> None:
        """Compile `tree`; raises UnreadablePolicy for anything unknown, a link without its template or values."""
        self._index: _Index = {}
        self._count = 0
        self._named: set[Key] = set()
        self._kept: dict[_Kinds, tuple[_Policy, ...]] = {}
        for identity, policy in tree.static_policies.items():
            self._add(identity, policy, {}, _conditions(policy))
        bodies = {identity: _conditions(template) for identity, template in tree.templates.items()}
        for link in tree.template_links:
            template = tree.templates.get(link.template_id)
            if template is None:
                raise UnreadablePolicy(f"the link {link.new_id!r} is of no template that there is")
            self._add(link.new_id, template, link.values, bodies[link.template_id])

    def __len__(self) -> int:
        return self._count

    def decide(self, question: Question) -> Answer:
        """Return the decision: a forbid that holds denies, else a permit that holds allows, else it is denied.

        A policy that meets an error is skipped and named (Cedar, "Authorization semantics").
        """
        permits: list[str] = []
        forbids: list[str] = []
        errors: list[str] = []
        for policy in self._candidates(question):
            try:
                if policy.holds(question):
                    (forbids if policy.forbids else permits).append(policy.id)
            except CedarError:
                errors.append(policy.id)
        reasons = forbids or permits
        return Answer(bool(permits) and not forbids, _sorted(reasons), _sorted(errors))

    def _candidates(self, question: Question) -> Sequence[_Policy]:
        """Return the policies whose scopes can match.

        Unless a scope names principal or resource themselves, that depends on their types and ancestors only, which
        are few: what was found for them once is kept.
        """
        principal, resource = question.principal, question.resource
        if principal in self._named or resource in self._named:
            return self._found(question)
        nodes = question.entities
        key = (
            question.action,
            _ancestors(nodes, question.action),
            principal.type,
            _ancestors(nodes, principal),
            resource.type,
            _ancestors(nodes, resource),
        )
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            kept = self._kept[key] = tuple(self._found(question))
        return kept

    def _found(self, question: Question) -> list[_Policy]:
        found: list[_Policy] = []
        for by_principal in _under(self._index, question.action, question):
            for by_resource in _under(by_principal, question.principal, question):
                for policies in _under(by_resource, question.resource, question):
                    found += policies
        return found

    def _add(
        self,
        identity: str,
        policy: pst.Template,
        values: Mapping[Any, pst.EntityUid],
        conditions: tuple[Compiled, ...],
    ) -> None:
        principal, principal_tests = _scope("principal", policy.principal, values)
        resource, resource_tests = _scope("resource", policy.resource, values)
        for action, action_tests in _action(policy.action):
            tests = (*action_tests, *principal_tests, *resource_tests)
            compiled = _Policy(identity, policy.effect == "forbid", tests, conditions)
            self._named |= {name for name in (principal, resource) if isinstance(name, Ref)}
            by_principal = self._index.setdefault(action, {})
            by_principal.setdefault(principal, {}).setdefault(resource, []).append(compiled)
        self._count += 1


def _ancestors(nodes: Store, ref: Ref) -> frozenset[Ref]:
    node = nodes.get(ref)
    return _NO_ANCESTORS if node is None else node.ancestors


def _sorted(ids: list[str]) -> tuple[str, ...]:
    # One policy can be reached by two of the actions that its scope lists.
    return tuple(ids) if len(ids) < 2 else tuple(sorted(set(ids)))


def _under(table: dict[Key, _Found], ref: Ref, question: Question) -> list[_Found]:
    """Return what `table` has for an entity, at the cost of the smaller of the table and the entity's keys."""
    ancestors = _ancestors(question.entities, ref)
    if len(table) < len(ancestors) + 3:
        return [
            item
            for name, item in table.items()
            if name is None or name in ancestors or name == ref or name == ref.type
        ]
    return [table[name] for name in (ref, ref.type, None, *ancestors) if name in table]


def _conditions(policy: pst.Template) -> tuple[Compiled, ...]:
    return tuple(_clause(clause) for clause in policy.clauses)


def _clause(clause: pst.Clause) -> Compiled:
    body = compile_expression(clause.expr)
    if isinstance(clause, pst.When):
        return body
    return lambda question: not boolean(body(question))


def _entity(entity: pst.EntityOrSlot, values: Mapping[Any, pst.EntityUid]) -> Ref:
    if isinstance(entity, pst.EntityUid):
        return ref_of_node(entity)
    found = values.get(entity.name)
    if found is None:
        raise UnreadablePolicy(f"nothing is linked to the slot ?{entity.name}")
    return ref_of_node(found)


def _scope(
    variable: str, scope: pst.PrincipalOrResourceConstraint, values: Mapping[Any, pst.EntityUid]
) -> tuple[Key, tuple[Compiled, ...]]:
    """Return the key that a scope stands under, and the tests that are left once it was found there."""
    match scope:
        case pst.ScopeAny():
            return None, ()
        case pst.ScopeEq():
            named = _entity(scope.entity, values)
            return named, (_same(variable, named),)
        case pst.ScopeIn():
            return _entity(scope.entity, values), ()
        case pst.ScopeIs():
            return str(scope.entity_type), ()
        case pst.ScopeIsIn():
            return _entity(scope.entity, values), (_of_type(variable, str(scope.entity_type)),)
        case _:
            raise UnreadablePolicy(f"the scope {type(scope).__name__} is not known here")


def _action(scope: pst.ActionConstraint) -> Iterator[tuple[Key, tuple[Compiled, ...]]]:
    match scope:
        case pst.ScopeAny():
            yield None, ()
        case pst.ActionEq():
            named = ref_of_node(scope.entity)
            yield named, (_same("action", named),)
        case pst.ActionIn():
            for entity in dict.fromkeys(scope.entities):
                yield ref_of_node(entity), ()
        case _:
            raise UnreadablePolicy(f"the scope {type(scope).__name__} is not known here")


def _same(variable: str, named: Ref) -> Compiled:
    match variable:
        case "principal":
            return lambda question: question.principal == named
        case "resource":
            return lambda question: question.resource == named
        case _:
            return lambda question: question.action == named


def _of_type(variable: str, name: str) -> Compiled:
    if variable == "principal":
        return lambda question: question.principal.type == name
    return lambda question: question.resource.type == name
