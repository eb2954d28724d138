"""Grant inputs: the data on the principal's side that policies read, and which way it counts.

Proofs hold for all stores, so ordinary writes never undo them. A write to a grant input is another matter: it can give
somebody what they lacked. Attributes of resources are facts, written under their own actions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

from attrs import frozen
from cedarpy import pst

from ..policyset import PolicySet
from ..prove.scopes import action_in, type_in
from ..schema import Schema, read_schema
from ..schema.types import EntityRef, Environment, RecordType, SetType, Type

Kind = Literal["edge", "attribute", "tag"]
Polarity = Literal["permits", "forbids", "mixed"]
ANY = "*"


@frozen(order=True)
class Input:
    """One thing that policies read of entities on the principal's side.

    `of` is the type whose entities carry it; `name` the type of the ancestor, the attribute's path, or the tag (`*` for
    any). `permits`: more of it can only allow more. `forbids`: less of it can only allow more. `mixed`: any change can.
    """

    kind: Kind
    of: str
    name: str
    polarity: Polarity
    policies: tuple[str, ...]


def grant_inputs(policies: PolicySet) -> list[Input]:
    """Return the grant inputs of a checked set, over all environments that its schema has.

    An entity is on the principal's side when its type can be a principal, or an ancestor of one. Raises SchemaError.
    """
    schema = read_schema(policies.schema_text)
    found: dict[tuple[Kind, str, str], set[tuple[int, str]]] = defaultdict(set)
    side = _principal_side(schema)
    for identity, policy in policies.tree().static_policies.items():
        sign = 1 if policy.effect == "permit" else -1
        for environment in schema.environments():
            if not (
                action_in(policy.action, schema, environment)
                and type_in(policy.principal, environment.principal)
                and type_in(policy.resource, environment.resource)
            ):
                continue
            reader = _Reader(schema, environment)
            for kind, of, name, way in reader.policy(policy, sign):
                if of in side:
                    found[kind, of, name].add((way, identity))
    return sorted(
        Input(kind, of, name, _polarity({way for way, _ in ways}), tuple(sorted({who for _, who in ways})))
        for (kind, of, name), ways in found.items()
    )


def _principal_side(schema: Schema) -> frozenset[str]:
    principals = {name for action in schema.actions.values() for name in action.principals}
    return frozenset(principals.union(*(schema.ancestor_types(name) for name in principals)))


def _polarity(ways: set[int]) -> Polarity:
    if ways == {1}:
        return "permits"
    return "forbids" if ways == {-1} else "mixed"


_Read = tuple[Kind, str, str, int]


class _Reader:
    """Walks one policy in one environment: what is read, and with which sign (0 where any change may count)."""

    def __init__(self, schema: Schema, environment: Environment) -> None:
        self.schema = schema
        known = schema.actions[environment.action]
        self.variables: dict[str, Type] = {
            "principal": EntityRef(environment.principal),
            "resource": EntityRef(environment.resource),
            "action": EntityRef(environment.action.type),
            "context": known.context,
        }

    def policy(self, policy: pst.Template, sign: int) -> Iterator[_Read]:
        """Yield what the scope and the clauses read."""
        for scope, name in ((policy.principal, "principal"), (policy.resource, "resource")):
            if isinstance(scope, pst.ScopeIn | pst.ScopeIsIn) and isinstance(scope.entity, pst.EntityUid):
                yield from self._edges(self.variables[name], EntityRef(str(scope.entity.type)), sign)
        for clause in policy.clauses:
            yield from self._boolean(clause.expr, -sign if isinstance(clause, pst.Unless) else sign)

    def _boolean(self, expr: pst.Expr, sign: int) -> Iterator[_Read]:
        """Yield what is read where truth counts by `sign`: true allows more (1), less (-1), or either (0)."""
        match expr:
            case pst.UnaryOp(op="not", arg=arg):
                yield from self._boolean(arg, -sign)
            case pst.UnaryOp(op="is_empty", arg=arg):
                yield from self._value(arg, -sign)
            case pst.BinaryOp(op="and" | "or", left=left, right=right):
                yield from self._boolean(left, sign)
                yield from self._boolean(right, sign)
            case pst.BinaryOp(op="in", left=left, right=right):
                yield from self._value(left, 0)
                yield from self._value(right, sign)
                yield from self._edges(self._type(left), self._type(right), sign)
            case pst.BinaryOp(op="contains", left=left, right=right):
                yield from self._value(left, sign)
                yield from self._value(right, 0)
            case pst.BinaryOp(op="contains_all", left=left, right=right):
                yield from self._value(left, sign)
                yield from self._value(right, -sign)
            case pst.BinaryOp(op="contains_any", left=left, right=right):
                yield from self._value(left, sign)
                yield from self._value(right, sign)
            case pst.BinaryOp(op="has_tag", left=left, right=right):
                yield from self._tag(left, right, sign)
                yield from self._value(right, 0)
            case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
                yield from self._boolean(cond, 0)
                yield from self._boolean(then, sign)
                yield from self._boolean(other, sign)
            case pst.HasAttr(base=base, attrs=attrs):
                yield from self._value(self._holder(base, ())[0], 0)
                for end in range(1, len(attrs) + 1):
                    yield from self._named(base, attrs[:end], sign)
            case pst.Is(base=base, in_expr=above):
                yield from self._value(base, 0)
                if above is not None:
                    yield from self._value(above, sign)
                    yield from self._edges(self._type(base), self._type(above), sign)
            case _:
                yield from self._value(expr, sign)

    def _value(self, expr: pst.Expr, sign: int) -> Iterator[_Read]:
        """Yield what a value is read from; `sign` says how more of it counts (a set's elements, a truth)."""
        match expr:
            case pst.GetAttr(base=base, attr=attr):
                yield from self._named(base, (attr,), sign)
                yield from self._value(self._holder(base, ())[0], 0)
            case pst.BinaryOp(op="get_tag", left=left, right=right):
                yield from self._tag(left, right, sign)
                yield from self._value(right, 0)
            case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
                yield from self._boolean(cond, 0)
                yield from self._value(then, sign)
                yield from self._value(other, sign)
            case pst.Set(elements=items):
                for item in items:
                    yield from self._value(item, 0)
            case pst.Record(fields=parts):
                for item in parts.values():
                    yield from self._value(item, 0)
            case pst.Like(base=base):
                yield from self._value(base, 0)
            case pst.UnaryOp(op="not" | "is_empty") | pst.HasAttr() | pst.Is():
                yield from self._boolean(expr, sign)
            case pst.BinaryOp(
                op="and" | "or" | "in" | "contains" | "contains_all" | "contains_any" | "has_tag"
            ):
                yield from self._boolean(expr, sign)
            case pst.UnaryOp(arg=arg):
                yield from self._value(arg, 0)
            case pst.BinaryOp(left=left, right=right):
                yield from self._value(left, 0)
                yield from self._value(right, 0)

    def _named(self, base: pst.Expr, attrs: tuple[str, ...], sign: int) -> Iterator[_Read]:
        holder, path = self._holder(base, attrs)
        owner = self._type(holder)
        if isinstance(owner, EntityRef):
            yield "attribute", owner.name, ".".join(path), sign

    def _holder(self, base: pst.Expr, attrs: tuple[str, ...]) -> tuple[pst.Expr, tuple[str, ...]]:
        """Return the entity, or what else is no attribute of a record, that a path hangs on, and the path from there."""
        while isinstance(base, pst.GetAttr) and not isinstance(self._type(base), EntityRef):
            attrs = (base.attr, *attrs)
            base = base.base
        return base, attrs

    def _tag(self, base: pst.Expr, name: pst.Expr, sign: int) -> Iterator[_Read]:
        owner = self._type(base)
        if isinstance(owner, EntityRef):
            yield "tag", owner.name, name.value if isinstance(name, pst.StringLit) else ANY, sign
        yield from self._value(base, 0)

    def _edges(self, low: Type | None, high: Type | None, sign: int) -> Iterator[_Read]:
        """Yield the direct edges by which an entity of the type `low` can come below one of `high`."""
        if isinstance(high, SetType):
            high = high.element
        if not isinstance(low, EntityRef):
            return
        reach = self.schema.ancestor_types(low.name)
        for name in sorted({low.name, *reach}):
            known = self.schema.entities.get(name)
            for above in sorted(known.member_of if known is not None else ()):
                leads = {above, *self.schema.ancestor_types(above)}
                if not isinstance(high, EntityRef) or high.name in leads:
                    yield "edge", name, above, sign

    def _type(self, expr: pst.Expr) -> Type | None:
        match expr:
            case pst.Var(name=name):
                return self.variables[name]
            case pst.EntityLit(value=uid):
                return EntityRef(str(uid.type))
            case pst.GetAttr(base=base, attr=attr):
                owner = self._type(base)
                if isinstance(owner, EntityRef):
                    known = self.schema.entities.get(owner.name)
                    owner = None if known is None else known.shape
                found = owner.attributes.get(attr) if isinstance(owner, RecordType) else None
                return None if found is None else found.type
            case pst.BinaryOp(op="get_tag", left=left):
                owner = self._type(left)
                known = self.schema.entities.get(owner.name) if isinstance(owner, EntityRef) else None
                return None if known is None else known.tags
            case pst.IfThenElse(then_expr=then, else_expr=other):
                return self._type(then) or self._type(other)
            case pst.Set(elements=items):
                inner = self._type(items[0]) if items else None
                return None if inner is None else SetType(inner)
        return None
