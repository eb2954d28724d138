"""Policies to terms, for one environment: typed evaluation in which an error is a condition, not an end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import z3
from attrs import frozen
from cedarpy import pst

from ..models import EntityUid
from ..schema.types import EntityRef, Environment, Schema, StringType
from .arithmetic import binary, unary
from .characters import FREE as _FREE
from .characters import stand_in
from .errors import Unsupported
from .logic import FALSE, TRUE, both, either, implies, is_false, is_true, negated
from .values import Atom, Fields, Members, Outcome, Part, Symbolic, boolean, kind_of, merged, number
from .world import World


@frozen
class Compiled:
    """A policy in one environment: where it is satisfied, and where it comes to an error."""

    satisfied: Any
    errs: Any


def text_of(value: str) -> Any:
    """Return a string constant; raises Unsupported for characters that solvers do not have and nothing stands in for."""
    if any(char >= _FREE for char in value):
        value = "".join(stand_in(char) if char >= _FREE else char for char in value)
    return z3.StringVal(
        "".join(char if " " <= char <= "~" and char != "\\" else f"\\u{{{ord(char):x}}}" for char in value)
    )


class Compiler:
    """Evaluates policies in one environment over one world, by the types of `schema`."""

    def __init__(self, world: World, schema: Schema, environment: Environment, label: str = "") -> None:
        """Evaluate by `schema`, which may be older than the world's.

        Where two requests by one principal stand in one query, `label` tells their resources and contexts apart.

        Policies of an older schema are evaluated on stores and requests that conform to the newer one, errors included.
        What they can read only under the older one (an attribute, an edge, whether something optional is there) has no
        answer there: Unsupported, so that a forbid never seems to do nothing because its schema lost what it asked for.
        """
        self.world = world
        self.schema = schema
        self.older = schema != world.schema
        self.environment = environment
        self.principal = _entity(world.unknown(EntityRef(environment.principal), ("principal",)))
        self.resource = _entity(world.unknown(EntityRef(environment.resource), ("resource", label)))
        self.action = world.literal(environment.action)
        known = world.schema.actions.get(environment.action) or schema.actions.get(environment.action)
        self.context = world.unknown(known.context, ("context", label)) if known is not None else Fields({})

    def policy(self, policy: pst.Template, slots: Mapping[str, pst.EntityUid]) -> Compiled:
        """Return where a policy is satisfied and where it errs; raises Unsupported."""
        scope = both(
            self._action(policy.action),
            self._scope(self.principal, policy.principal, slots),
            self._scope(self.resource, policy.resource, slots),
        )
        found = Outcome(boolean(scope))
        for clause in policy.clauses:
            if is_false(_bool(found)):
                break
            got = self.eval(clause.expr)
            if isinstance(clause, pst.Unless):
                got = Outcome(boolean(negated(_bool(got))), got.ok)
            found = _and(found, got)
        return Compiled(both(found.ok, _bool(found)), negated(found.ok))

    def eval(self, expr: pst.Expr) -> Outcome:
        """Evaluate one expression; raises Unsupported, also when the world's time is over."""
        self.world.tick()
        match expr:
            case pst.Var(name=name):
                return Outcome(
                    {
                        "principal": self.principal,
                        "action": self.action,
                        "resource": self.resource,
                        "context": self.context,
                    }[name]
                )
            case pst.BoolLit(value=truth):
                return Outcome(boolean(TRUE if truth else FALSE))
            case pst.LongLit(value=long):
                return Outcome(number(z3.IntVal(long)))
            case pst.StringLit(value=text):
                return Outcome(Atom(StringType(), (text_of(text),)))
            case pst.EntityLit(value=uid):
                return Outcome(self._literal(uid))
            case pst.UnaryOp(op="not", arg=arg):
                got = self.eval(arg)
                return Outcome(boolean(negated(_bool(got))), got.ok)
            case pst.UnaryOp(op="is_empty", arg=arg):
                got = self.eval(arg)
                return Outcome(boolean(negated(self.world.some(_members(got.value), lambda _: TRUE))), got.ok)
            case pst.UnaryOp():
                return unary(expr, self.eval)
            case pst.BinaryOp(op="and", left=left, right=right):
                got = self.eval(left)
                return got if is_false(_bool(got)) else _and(got, self.eval(right))
            case pst.BinaryOp(op="or", left=left, right=right):
                return self._or(left, right)
            case pst.BinaryOp():
                return self._binary(expr)
            case pst.IfThenElse():
                return self._if(expr)
            case pst.GetAttr(base=base, attr=attr):
                got = self.eval(base)
                part = self._fields(got.value).get(attr)
                if part is None:
                    raise Unsupported(f"no attribute {attr!r} by the schema")
                return Outcome(part.value, both(got.ok, part.present))
            case pst.HasAttr(base=base, attrs=attrs):
                return self._has(base, attrs)
            case pst.Like(base=base, pattern=pattern):
                got = self.eval(base)
                return Outcome(boolean(z3.InRe(_text(got.value), _regex(pattern))), got.ok)
            case pst.Is(base=base, entity_type=kind, in_expr=above):
                got = self.eval(base)
                typed = Outcome(boolean(z3.BoolVal(_entity(got.value).type == EntityRef(str(kind)))), got.ok)
                if above is None or is_false(_bool(typed)):
                    return typed
                return _and(typed, self._inside(got, self.eval(above)))
            case pst.Set(elements=items):
                return self._set(items)
            case pst.Record(fields=items):
                parts = {name: self.eval(item) for name, item in items.items()}
                return Outcome(
                    Fields({name: Part(TRUE, item.value) for name, item in parts.items()}),
                    both(*(item.ok for item in parts.values())),
                )
        raise Unsupported(f"the node {type(expr).__name__}")

    def _or(self, left: pst.Expr, right: pst.Expr) -> Outcome:
        one = self.eval(left)
        if is_true(_bool(one)):
            return one
        two = self.eval(right)
        truth = _bool(one)
        return Outcome(boolean(either(truth, _bool(two))), both(one.ok, either(truth, two.ok)))

    def _if(self, expr: pst.IfThenElse) -> Outcome:
        test = self.eval(expr.cond)
        truth = _bool(test)
        if is_true(truth) or is_false(truth):
            got = self.eval(expr.then_expr if is_true(truth) else expr.else_expr)
            return Outcome(got.value, both(test.ok, got.ok))
        one, two = self.eval(expr.then_expr), self.eval(expr.else_expr)
        fine = both(test.ok, implies(truth, one.ok), either(truth, two.ok))
        return Outcome(merged(truth, one.value, two.value), fine)

    def _has(self, base: pst.Expr, attrs: tuple[str, ...]) -> Outcome:
        got = self.eval(base)
        value, there = got.value, TRUE
        for attr in attrs:
            part = self._fields(value).get(attr)
            if self.older and (part is None or is_true(part.present)) and self._was_optional(value, attr):
                raise Unsupported(f"whether {attr!r} is there, which only the older schema leaves open")
            if part is None:
                return Outcome(boolean(FALSE), got.ok)
            there, value = both(there, part.present), part.value
        return Outcome(boolean(there), got.ok)

    def _set(self, items: tuple[pst.Expr, ...]) -> Outcome:
        found = [self.eval(item) for item in items]
        values = tuple(item.value for item in found)
        for value in values:
            self.world.pooled(value)
        kinds = {kind_of(value) for value in values}
        if len(kinds) > 1:
            raise Unsupported("a set of several types")
        return Outcome(
            Members(
                kinds.pop() if kinds else "",
                lambda item: either(*(self.world.equal(item, value) for value in values)),
                values,
            ),
            both(*(item.ok for item in found)),
        )

    def _binary(self, expr: pst.BinaryOp) -> Outcome:
        one, two = self.eval(expr.left), self.eval(expr.right)
        ok = both(one.ok, two.ok)
        world = self.world
        match expr.op:
            case "eq":
                return Outcome(boolean(world.equal(one.value, two.value)), ok)
            case "not_eq":
                return Outcome(boolean(negated(world.equal(one.value, two.value))), ok)
            case "in":
                return self._inside(one, two)
            case "contains":
                return Outcome(boolean(self._holds(_members(one.value), two.value)), ok)
            case "contains_all":
                return Outcome(boolean(world.subset(_members(two.value), _members(one.value))), ok)
            case "contains_any":
                few, many = _members(one.value), _members(two.value)
                if few.elements is None:
                    few, many = many, few
                return Outcome(boolean(world.some(few, lambda item: world.holds(many, item))), ok)
            case "has_tag" | "get_tag":
                kind, owner = self._tags(_entity(one.value))
                if kind is None:
                    if expr.op == "has_tag":
                        return Outcome(boolean(FALSE), ok)
                    raise Unsupported("a tag of a type without tags")
                args = (_entity(one.value).term, _text(two.value))
                world.named_tag(args[1])
                there = world.predicate(("tag?", owner), args)
                if expr.op == "has_tag":
                    return Outcome(boolean(there), ok)
                return Outcome(world.unknown(kind, ("tag", owner), args), both(ok, there))
        return binary(expr.op, one, two, ok)

    def _holds(self, items: Members, value: Symbolic) -> Any:
        if items.elements is not None:
            return either(*(self.world.equal(value, item) for item in items.elements))
        return self.world.holds(items, value)

    def _inside(self, one: Outcome, two: Outcome) -> Outcome:
        ok = both(one.ok, two.ok)
        low, high = _entity(one.value), two.value
        if self.older:
            self._demand_edges(low, high)
        if isinstance(high, Members):
            found = self.world.some(high, lambda item: self.world.inside(self.schema, low, _entity(item)))
        else:
            found = self.world.inside(self.schema, low, _entity(high))
        return Outcome(boolean(found), ok)

    def _was_optional(self, value: Symbolic, attr: str) -> bool:
        """Say whether the older schema has an attribute that may be missing; within records, say so to be sure."""
        if not (isinstance(value, Atom) and isinstance(value.type, EntityRef)):
            return True
        known = self.schema.entities.get(value.type.name)
        item = None if known is None else known.shape.attributes.get(attr)
        return item is not None and not item.required

    def _tags(self, owner: Atom) -> tuple[Any, str]:
        assert isinstance(owner.type, EntityRef)
        name = owner.type.name
        here, there = self.schema.entities.get(name), self.world.schema.entities.get(name)
        if here is not None and here.tags is not None and (there is None or there.tags is None):
            raise Unsupported("tags that the newer schema lacks")
        return (there.tags if there is not None else None), name

    def _fields(self, value: Symbolic) -> Mapping[str, Part]:
        if isinstance(value, Fields):
            return value.parts
        owner = _entity(value)
        assert isinstance(owner.type, EntityRef)
        known = self.world.schema.entities.get(owner.type.name)
        if known is None:
            return {}
        shape = self.world.unknown(known.shape, ("attribute", owner.type.name), (owner.term,))
        assert isinstance(shape, Fields)
        return shape.parts

    def _demand_edges(self, low: Atom, high: Symbolic) -> None:
        """Raise Unsupported where only the older schema lets an entity be below such others."""
        assert isinstance(low.type, EntityRef)
        lost = self.schema.ancestor_types(low.type.name) - self.world.schema.ancestor_types(low.type.name)
        if lost and (not isinstance(high, Atom) or _entity(high).type in {EntityRef(name) for name in lost}):
            raise Unsupported("a membership that the newer schema lacks")

    def _literal(self, uid: pst.EntityUid) -> Atom:
        named = EntityUid(str(uid.type), uid.id)
        known = self.world.schema.entities.get(named.type)
        if known is not None and known.enum is not None and named.id not in known.enum:
            raise Unsupported(f"{named}, which the schema does not list")
        return self.world.literal(named)

    def _action(self, scope: pst.ActionConstraint) -> Any:
        match scope:
            case pst.ScopeAny():
                return TRUE
            case pst.ActionEq(entity=uid):
                return z3.BoolVal(EntityUid(str(uid.type), uid.id) == self.environment.action)
            case pst.ActionIn(entities=uids):
                return either(
                    *(self.world.inside(self.schema, self.action, self._literal(uid)) for uid in uids)
                )
        raise Unsupported("an action's scope")

    def _scope(
        self, one: Atom, scope: pst.PrincipalOrResourceConstraint, slots: Mapping[str, pst.EntityUid]
    ) -> Any:
        match scope:
            case pst.ScopeAny():
                return TRUE
            case pst.ScopeEq(entity=other):
                return self.world.equal(one, self._slot(other, slots))
            case pst.ScopeIn(entity=other):
                return self._below(one, self._slot(other, slots))
            case pst.ScopeIs(entity_type=kind):
                return z3.BoolVal(one.type == EntityRef(str(kind)))
            case pst.ScopeIsIn(entity_type=kind, entity=other):
                if one.type != EntityRef(str(kind)):
                    return FALSE
                return self._below(one, self._slot(other, slots))
        raise Unsupported("a scope")

    def _below(self, one: Atom, other: Atom) -> Any:
        if self.older:
            self._demand_edges(one, other)
        return self.world.inside(self.schema, one, other)

    def _slot(self, entity: pst.EntityOrSlot, slots: Mapping[str, pst.EntityUid]) -> Atom:
        if isinstance(entity, pst.Slot):
            if entity.name not in slots:
                raise Unsupported("a template without a link")
            return self._literal(slots[entity.name])
        return self._literal(entity)


def _and(one: Outcome, two: Outcome) -> Outcome:
    truth = _bool(one)
    return Outcome(boolean(both(truth, _bool(two))), both(one.ok, implies(truth, two.ok)))


def _bool(got: Outcome) -> Any:
    if not isinstance(got.value, Atom) or got.value.term.sort() != z3.BoolSort() or len(got.value.terms) > 1:
        raise Unsupported("what should be a boolean is none")
    return got.value.term


def _entity(value: Symbolic) -> Atom:
    if not (isinstance(value, Atom) and isinstance(value.type, EntityRef)):
        raise Unsupported("what should be an entity is none")
    return value


def _text(value: Symbolic) -> Any:
    if not (isinstance(value, Atom) and isinstance(value.type, StringType)):
        raise Unsupported("what should be text is none")
    return value.term


def _members(value: Symbolic) -> Members:
    if not isinstance(value, Members):
        raise Unsupported("what should be a set is none")
    return value


def _regex(pattern: tuple[pst.PatternElem, ...]) -> Any:
    anything = z3.Star(z3.AllChar(z3.ReSort(z3.StringSort())))
    parts: list[Any] = []
    run = ""
    for item in pattern:
        if isinstance(item, pst.Char):
            run += item.value
            continue
        if run:
            parts.append(z3.Re(text_of(run)))
        run = ""
        parts.append(anything)
    if run or not parts:
        parts.append(z3.Re(text_of(run)))
    return z3.Concat(*parts) if len(parts) > 1 else parts[0]
