"""A policy set as functions behind an index: a decision looks at the policies whose scopes match, and no others.

The index is three tables in one another, by what a scope names: action, then principal, then resource, each an
entity, a type, or nothing. A request looks under its own entity, under each of its ancestors, under its type and
under nothing. Ten thousand links on one action are so one look-up.

What a policy's conditions mean is said in one place, `expressions.py`; they are compiled when they are first asked, and links of
one template share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from cedarpy import pst

from ..errors import UnreadablePolicy
from .entities import ABSENT, Node
from .expressions import check_known, compile_conditions, ref_of_node
from .python import Later
from .question import Question
from .values import CedarError, Ref

Key = Ref | str | None
_ByResource = dict[Key, list["_Policy"]]
_ByPrincipal = dict[Key, _ByResource]
_Found = TypeVar("_Found")
_Test = Callable[[Question], bool]
_KindKey = tuple[Ref, frozenset[Ref], str, frozenset[Ref], str, frozenset[Ref]]
_MAX_KINDS = 4096
_NO_VALUE = (CedarError, KeyError)
"""What conditions raise where they have no value: `expressions.py`."""


class Answer(NamedTuple):
    """A decision with its determining policies and those that met an error, each sorted by id."""

    allowed: bool
    reasons: tuple[str, ...]
    errors: tuple[str, ...]


_NOTHING_SAID = Answer(False, (), ())


class _Policy:
    """One policy or link: what of its scope the index does not say already, and its conditions."""

    __slots__ = ("allows", "conditions", "forbids", "id", "tests")

    def __init__(self, identity: str, forbids: bool, tests: tuple[_Test, ...], conditions: Later) -> None:
        self.id = identity
        self.forbids = forbids
        self.tests = tests
        self.conditions = conditions
        self.allows = Answer(True, (identity,), ())
        """The answer where this permit alone holds, which is what most answers are."""


class _Kind(NamedTuple):
    """What there is for all questions of one action, of the same types and the same ancestors.

    The policies that do not name principal or resource themselves, and the tables to look the two up in.
    """

    policies: list[_Policy]
    by_principal: list[_ByPrincipal]
    by_resource: list[_ByResource]


class CompiledPolicies:
    """A compiled set; immutable and safe to share between threads."""

    def __init__(self, tree: pst.PolicySet) -> None:
        """Compile `tree`; raises UnreadablePolicy for anything unknown, a link without its template or values."""
        self._index: dict[Key, _ByPrincipal] = {}
        self._count = 0
        self._kinds: dict[_KindKey, _Kind] = {}
        own = {identity: _conditions(policy) for identity, policy in tree.static_policies.items()}
        for identity, policy in tree.static_policies.items():
            self._add(identity, policy, {}, own[identity])
        bodies = {identity: _conditions(template) for identity, template in tree.templates.items()}
        self._conditions = (*own.values(), *bodies.values())
        for link in tree.template_links:
            template = tree.templates.get(link.template_id)
            if template is None:
                raise UnreadablePolicy(f"the link {link.new_id!r} is of no template that there is")
            self._add(link.new_id, template, link.values, bodies[link.template_id])

    def compile_all(self) -> None:
        """Compile what waits for its first question; raises UnreadablePolicy where that fails."""
        for conditions in self._conditions:
            try:
                conditions.make()
            except RuntimeError as error:
                raise UnreadablePolicy(f"a policy cannot be compiled: {error.__cause__}") from error

    def __len__(self) -> int:
        return self._count

    def decide(self, question: Question) -> Answer:
        """Return the decision: a forbid that holds denies, else a permit that holds allows, else it is denied.

        A policy that meets an error is skipped and named (Cedar, "Authorization semantics").
        """
        principal, resource, context = question.principal, question.resource, question.context
        stored = question.entities.get
        asker, target = stored(principal, ABSENT), stored(resource, ABSENT)
        permits: list[_Policy] = []
        forbids: list[_Policy] = []
        errors: list[_Policy] = []
        for policy in self._candidates(question, asker, target):
            try:
                if policy.conditions.run(principal, resource, context, asker, target, question):
                    (forbids if policy.forbids else permits).append(policy)
            except _NO_VALUE:
                errors.append(policy)
        if errors or forbids:
            return Answer(bool(permits) and not forbids, _ids(forbids or permits), _ids(errors))
        if not permits:
            return _NOTHING_SAID
        return permits[0].allows if len(permits) == 1 else Answer(True, _ids(permits), ())

    def _candidates(self, question: Question, asker: Node, target: Node) -> Sequence[_Policy]:
        """Return the policies whose scopes match: those for a question of this kind, and those that name its entities."""
        principal, action, resource = question.principal, question.action, question.resource
        key = (
            action,
            question.entities.get(action, ABSENT).ancestors,
            principal.type,
            asker.ancestors,
            resource.type,
            target.ancestors,
        )
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _MAX_KINDS:
                self._kinds.clear()
            kind = self._kinds[key] = self._kind_of(question)
        policies, by_principal, by_resource = kind
        named = [table[principal] for table in by_principal if principal in table]
        if named:
            policies = [*policies, *_of_principal(named, question)]
        for table in by_resource:
            if resource in table:
                policies = [*policies, *[one for one in table[resource] if _passes(one, question)]]
        return policies

    def _kind_of(self, question: Question) -> _Kind:
        policies: list[_Policy] = []
        by_principal, by_resource = [], []
        for of_action in _under(self._index, question.action, question, itself=True):
            if _names_entities(of_action):
                by_principal.append(of_action)
            for of_principal in _under(of_action, question.principal, question, itself=False):
                if _names_entities(of_principal):
                    by_resource.append(of_principal)
                for found in _under(of_principal, question.resource, question, itself=False):
                    policies += [one for one in found if _passes(one, question)]
        return _Kind(policies, by_principal, by_resource)

    def _add(
        self,
        identity: str,
        policy: pst.Template,
        values: Mapping[Any, pst.EntityUid],
        conditions: Later,
    ) -> None:
        principal, principal_tests = _scope("principal", policy.principal, values)
        resource, resource_tests = _scope("resource", policy.resource, values)
        for action, action_tests in _action(policy.action):
            tests = (*action_tests, *principal_tests, *resource_tests)
            compiled = _Policy(identity, policy.effect == "forbid", tests, conditions)
            by_principal = self._index.setdefault(action, {})
            by_principal.setdefault(principal, {}).setdefault(resource, []).append(compiled)
        self._count += 1


def _of_principal(tables: list[_ByResource], question: Question) -> list[_Policy]:
    return [
        one
        for table in tables
        for found in _under(table, question.resource, question, itself=True)
        for one in found
        if _passes(one, question)
    ]


def _passes(policy: _Policy, question: Question) -> bool:
    return not policy.tests or all(test(question) for test in policy.tests)


def _names_entities(table: Mapping[Key, Any]) -> bool:
    return any(type(name) is Ref for name in table)


def _ids(policies: list[_Policy]) -> tuple[str, ...]:
    if len(policies) == 1:
        return (policies[0].id,)
    # One policy can be reached by two of the actions that its scope lists.
    return tuple(sorted({policy.id for policy in policies}))


def _under(table: dict[Key, _Found], ref: Ref, question: Question, *, itself: bool) -> list[_Found]:
    """Return what `table` has for an entity's type, ancestors and, with `itself`, for the entity.

    It takes the time of the smaller of the table and the entity's keys.
    """
    ancestors = question.entities.get(ref, ABSENT).ancestors
    if len(table) < len(ancestors) + 3:
        return [
            item
            for name, item in table.items()
            if name is None or name in ancestors or name == ref.type or (itself and name == ref)
        ]
    names = (ref, ref.type, None, *ancestors) if itself else (ref.type, None, *ancestors)
    return [table[name] for name in names if name in table]


def _conditions(policy: pst.Template) -> Later:
    check_known(policy.clauses)
    return Later(partial(compile_conditions, policy.clauses))


def _entity(entity: pst.EntityOrSlot, values: Mapping[Any, pst.EntityUid]) -> Ref:
    if isinstance(entity, pst.EntityUid):
        return ref_of_node(entity)
    found = values.get(entity.name)
    if found is None:
        raise UnreadablePolicy(f"nothing is linked to the slot ?{entity.name}")
    return ref_of_node(found)


def _scope(
    variable: str, scope: pst.PrincipalOrResourceConstraint, values: Mapping[Any, pst.EntityUid]
) -> tuple[Key, tuple[_Test, ...]]:
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


def _action(scope: pst.ActionConstraint) -> Iterator[tuple[Key, tuple[_Test, ...]]]:
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


def _same(variable: str, named: Ref) -> _Test:
    match variable:
        case "principal":
            return lambda question: question.principal == named
        case "resource":
            return lambda question: question.resource == named
        case _:
            return lambda question: question.action == named


def _of_type(variable: str, name: str) -> _Test:
    if variable == "principal":
        return lambda question: question.principal.type == name
    return lambda question: question.resource.type == name
