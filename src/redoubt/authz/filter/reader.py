"""A whole policy set as one condition: some permit holds on the row, and no forbid does."""

from __future__ import annotations

from collections.abc import Mapping as Values
from typing import Any

import sqlalchemy as sa
from attrs import define, field, frozen
from cedarpy import pst
from sqlalchemy.sql import visitors

from ..models import AuthzRequest, Entity, EntityUid, action_uid
from ..policyset import PolicySet
from ..schema import Schema, SchemaError, read_schema
from .askable import askable
from .entities import World
from .expressions import Reader
from .extensions import Judge
from .mapping import Attribute, EntityTable, Mapping, Nested, Untranslatable
from .sql import Condition, every, negate, some
from .values import Constant, Part, Record, Scalar, constant, truth

MOST_TERMS = 50_000
_VERSIONS_KEPT = 16  # the app's own policies and those of tenants that have their own


@frozen
class Known:
    """What is known of a question about many rows: all but the resource.

    `entities` are the principal and whatever else policies may read that is in no table: roles, groups with their
    parents, actions with their groups. An entity that is neither given nor in a table does not exist.
    """

    principal: EntityUid
    action: EntityUid
    context: Values[str, Any] = field(factory=dict)
    entities: tuple[Entity, ...] = ()

    @classmethod
    def of(cls, principal: Entity, action: str, context: Values[str, Any], *more: Entity) -> Known:
        """Return what `principal` asks about the action `Type.verb`."""
        return cls(principal.uid, action_uid(action), context, (principal, *more))


@frozen(eq=False)
class ListFilter:
    """A condition over the rows of one type.

    Where `exact`, it holds on exactly the rows that the policies allow. Otherwise it holds on these and maybe more,
    and each row must be decided about; `pending` names the policies that made it so. `parts` are conditions of which
    at least one holds on a row where `condition` does: each may have an index of its own.
    """

    condition: sa.ColumnElement[bool]
    pending: tuple[str, ...] = ()
    parts: tuple[sa.ColumnElement[bool], ...] = ()

    @property
    def exact(self) -> bool:
        """Say whether the condition alone decides."""
        return not self.pending


@define(eq=False)
class Filters:
    """One policy set over one mapping, its tree read once; safe to share between threads."""

    policies: PolicySet
    mapping: Mapping
    _schema: Schema | None = field(init=False)
    _actions: tuple[Entity, ...] = field(init=False)
    _tree: tuple[tuple[pst.Template, Values[str, EntityUid]], ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Read schema and tree; raises Untranslatable where the schema cannot be read."""
        self._tree = tuple(_policies(self.policies))
        self._schema, self._actions = None, ()
        if self.policies.schema is not None:
            try:
                self._schema = read_schema(self.policies.schema_text)
            except SchemaError as error:
                raise Untranslatable(f"the schema cannot be read: {error}", hint="Correct it.") from error
            self._actions = tuple(
                Entity(uid.type, uid.id, {}, sorted(action.member_of, key=str))
                for uid, action in self._schema.actions.items()
            )

    def of(
        self,
        resource_type: str,
        known: Known,
        *,
        row_context: Values[str, Attribute] | None = None,
        post_filter: bool = False,
    ) -> ListFilter:
        """Return the condition for `SELECT … FROM` the table of `resource_type`.

        `row_context` are fields of the context that come from the row. Raises Untranslatable, before anything is
        queried, where a policy cannot be said in SQL. With `post_filter` such a permit counts as holding and such a
        forbid as not, and the caller must decide about each row that comes back. What the schema does not let be
        asked holds on no row, as when it is asked row by row.
        """
        table = self.mapping.table(resource_type)
        row = Scalar("Entity", table.id, True, resource_type, row=True)
        given = {entity.uid: entity for entity in (*self._actions, *known.entities)}
        world = World(self.mapping, given.values())
        question = AuthzRequest(
            known.principal, known.action, EntityUid(resource_type, ""), known.context, known.entities
        )
        fixed = dict(constant(dict(known.context)).value)
        extra = dict(row_context or {})
        variables: dict[str, Part] = {
            "principal": Constant("Entity", known.principal),
            "action": Constant("Entity", known.action),
            "resource": row,
            "context": Record(row, Nested(extra), True, fixed) if extra else constant(dict(known.context)),
        }
        judge = Judge(question, frozenset(extra))
        permits: list[Condition] = []
        forbids: list[Condition] = []
        pending: list[str] = []
        for policy, slots in self._tree:
            try:
                holds = _holds(policy, slots, Reader(world, variables, judge))
            except Untranslatable as error:
                name = policy.annotations.get("id", policy.id)
                if not post_filter:
                    raise Untranslatable(
                        f"policy {name!r} cannot be said in SQL: {error.message}", hint=error.hint
                    ) from error
                pending.append(name)
                holds = policy.effect == "permit"
            if holds is not False:
                (permits if policy.effect == "permit" else forbids).append(holds)
        fits = self._askable(question, table, extra)
        return _condition(permits, every(negate(some(*forbids)), fits), pending)

    def _askable(
        self, question: AuthzRequest, table: EntityTable, extra: Values[str, Attribute]
    ) -> Condition:
        """Return on which rows the question conforms to the schema: elsewhere nothing is decided but a denial."""
        if self._schema is None:
            return True
        return askable(self.policies.schema, self._schema, question, table, extra)


@define(eq=False)
class KeptFilters:
    """Policy sets over one mapping, the tree of each read once a version; safe to share between threads."""

    mapping: Mapping
    _kept: dict[str, Filters] = field(factory=dict, init=False)

    def of(self, policies: PolicySet) -> Filters:
        """Return `policies` as they are read for lists. Raises Untranslatable."""
        found = self._kept.get(policies.version)
        if found is None:
            found = Filters(policies, self.mapping)
            while len(self._kept) >= _VERSIONS_KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[policies.version] = found
        return found


def list_filter(
    policies: PolicySet, mapping: Mapping, resource_type: str, known: Known, *, post_filter: bool = False
) -> ListFilter:
    """Return the condition over the table of `resource_type`, as `Filters.of` does, for policies that are read once."""
    return Filters(policies, mapping).of(resource_type, known, post_filter=post_filter)


def _condition(permits: list[Condition], also: Condition, pending: list[str]) -> ListFilter:
    parts = [every(permit, also) for permit in ([True] if True in permits else permits)]
    whole = [sa.true() if part is True else part for part in parts if not isinstance(part, bool) or part]
    condition = sa.or_(*whole) if whole else sa.false()
    for size, _ in enumerate(visitors.iterate(condition)):
        if size > MOST_TERMS:
            raise Untranslatable("a condition of too many terms.", hint="Split or shorten the policies.")
    return ListFilter(condition, tuple(sorted(pending)), tuple(whole))


def _policies(policies: PolicySet) -> list[tuple[pst.Template, Values[str, EntityUid]]]:
    tree = policies.tree()
    found: list[tuple[pst.Template, Values[str, EntityUid]]] = [
        (policy, {}) for policy in tree.static_policies.values()
    ]
    for link in tree.template_links:
        slots: dict[str, EntityUid] = {
            name: EntityUid(str(uid.type), uid.id) for name, uid in link.values.items()
        }
        found.append((tree.templates[link.template_id], slots))
    return found


def _holds(policy: pst.Template, slots: Values[str, EntityUid], reader: Reader) -> Condition:
    """Return where the policy applies: scope and conditions true, none of them an error."""
    action = _action(policy.action, reader)
    if action is False:
        return False
    parts: list[Condition] = [
        action,
        _scope(policy.principal, "principal", slots, reader),
        _scope(policy.resource, "resource", slots, reader),
    ]
    for clause in policy.clauses:
        if any(part is False for part in parts):
            return False
        outcome = truth(reader.read(clause.expr))
        parts.append(outcome.yes if isinstance(clause, pst.When) else outcome.no)
    return every(*parts)


def _scope(scope: Any, name: str, slots: Values[str, EntityUid], reader: Reader) -> Condition:
    value = reader.variables[name]
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ScopeEq(entity):
            return _same(value, _target(entity, slots))
        case pst.ScopeIn(entity):
            return reader.inside(value, _target(entity, slots))
        case pst.ScopeIs(kind):
            return _type(value) == str(kind)
        case pst.ScopeIsIn(kind, entity):
            if _type(value) != str(kind):
                return False
            return reader.inside(value, _target(entity, slots))
    raise Untranslatable(f"the scope {type(scope).__name__}.", hint="Decide row by row.")


def _action(scope: Any, reader: Reader) -> Condition:
    value = reader.variables["action"]
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ActionEq(entity):
            return _same(value, _uid(entity))
        case pst.ActionIn(entities):
            return some(*(reader.inside(value, _uid(entity)) for entity in entities))
    raise Untranslatable(f"the scope {type(scope).__name__}.", hint="Decide row by row.")


def _same(value: Part, target: EntityUid) -> Condition:
    if isinstance(value, Scalar):
        return value.type == target.type and value.sql == target.id
    return isinstance(value, Constant) and bool(value.value == target)


def _type(value: Part) -> str | None:
    if isinstance(value, Scalar):
        return value.type
    return str(value.value.type) if isinstance(value, Constant) else None


def _target(entity: Any, slots: Values[str, EntityUid]) -> EntityUid:
    return slots[entity.name] if isinstance(entity, pst.Slot) else _uid(entity)


def _uid(entity: pst.EntityUid) -> EntityUid:
    return EntityUid(str(entity.type), entity.id)
