"""A whole policy set as one condition: some permit holds on the row, and no forbid does."""

from __future__ import annotations

from collections.abc import Mapping as Values
from typing import Any

import sqlalchemy as sa
from attrs import field, frozen
from cedarpy import pst
from sqlalchemy.sql import visitors

from ..models import AuthzRequest, Entity, EntityUid, action_uid
from ..policyset import PolicySet
from .entities import World
from .expressions import Reader
from .extensions import Judge
from .mapping import Mapping, Untranslatable
from .sql import Condition, every, negate, some
from .values import Constant, Part, Scalar, constant, truth

MOST_TERMS = 50_000


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
    and each row must be decided about; `pending` names the policies that made it so.
    """

    condition: sa.ColumnElement[bool]
    pending: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Say whether the condition alone decides."""
        return not self.pending


def list_filter(
    policies: PolicySet, mapping: Mapping, resource_type: str, known: Known, *, post_filter: bool = False
) -> ListFilter:
    """Return the condition for `SELECT … FROM` the table of `resource_type`.

    Raises Untranslatable, before anything is queried, where a policy cannot be said in SQL. With `post_filter` such a
    permit counts as holding and such a forbid as not, and the caller must decide about each row that comes back.
    """
    table = mapping.table(resource_type)
    world = World(mapping, known.entities)
    row = Scalar("Entity", table.id, True, resource_type, row=True)
    question = AuthzRequest(
        known.principal, known.action, EntityUid(resource_type, ""), known.context, known.entities
    )
    variables: dict[str, Part] = {
        "principal": Constant("Entity", known.principal),
        "action": Constant("Entity", known.action),
        "resource": row,
        "context": constant(dict(known.context)),
    }
    permits: list[Condition] = []
    forbids: list[Condition] = []
    pending: list[str] = []
    for policy, slots in _policies(policies):
        try:
            holds = _holds(policy, slots, Reader(world, variables, Judge(question)))
        except Untranslatable as error:
            if not post_filter:
                name = policy.annotations.get("id", policy.id)
                raise Untranslatable(
                    f"policy {name!r} cannot be said in SQL: {error.message}", hint=error.hint
                ) from error
            pending.append(policy.annotations.get("id", policy.id))
            holds = policy.effect == "permit"
        (permits if policy.effect == "permit" else forbids).append(holds)
    condition = every(some(*permits), negate(some(*forbids)))
    if isinstance(condition, bool):
        condition = sa.true() if condition else sa.false()
    for size, _ in enumerate(visitors.iterate(condition)):
        if size > MOST_TERMS:
            raise Untranslatable("a condition of too many terms.", hint="Split or shorten the policies.")
    return ListFilter(condition, tuple(sorted(pending)))


def _policies(policies: PolicySet) -> list[tuple[pst.Template, dict[str, EntityUid]]]:
    tree = policies.engine.to_pst()
    found: list[tuple[pst.Template, dict[str, EntityUid]]] = [
        (policy, {}) for policy in tree.static_policies.values()
    ]
    for link in tree.template_links:
        slots = {name: EntityUid(str(uid.type), uid.id) for name, uid in link.values.items()}
        found.append((tree.templates[link.template_id], slots))
    return found


def _holds(policy: pst.Template, slots: dict[str, EntityUid], reader: Reader) -> Condition:
    """Return where the policy applies: scope and conditions true, none of them an error."""
    parts: list[Condition] = [
        _scope(policy.principal, "principal", slots, reader),
        _action(policy.action, reader),
        _scope(policy.resource, "resource", slots, reader),
    ]
    for clause in policy.clauses:
        if any(part is False for part in parts):
            return False
        outcome = truth(reader.read(clause.expr))
        parts.append(outcome.yes if isinstance(clause, pst.When) else outcome.no)
    return every(*parts)


def _scope(scope: Any, name: str, slots: dict[str, EntityUid], reader: Reader) -> Condition:
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


def _target(entity: Any, slots: dict[str, EntityUid]) -> EntityUid:
    return slots[entity.name] if isinstance(entity, pst.Slot) else _uid(entity)


def _uid(entity: pst.EntityUid) -> EntityUid:
    return EntityUid(str(entity.type), entity.id)
