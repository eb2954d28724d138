"""Cedar expressions over a row: each operator with its errors, no operator evaluated past what decides it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from attrs import define, field
from cedarpy import pst

from ..models import EntityUid
from .entities import World
from .extensions import EXTENSION_OPERATORS, Judge, uses_extensions
from .mapping import Untranslatable
from .sql import MAX_LONG, MIN_LONG, SQL, Arithmetic, Condition, Fits, Matches, every, negate, some
from .values import (
    FAILED,
    Constant,
    Failed,
    Fields,
    Listed,
    Part,
    Record,
    Rows,
    Scalar,
    Truth,
    constant,
    settled,
    there,
    truth,
    where,
)

MOST_STEPS = 20_000
_ARITHMETIC: dict[str, Any] = {"add": "+", "sub": "-", "mul": "*"}


@define(eq=False)
class Reader:
    """Reads expressions for one question: variables by name, the world, and a judge for extension values.

    Raises Untranslatable for what cannot be said, and where a condition would grow beyond `MOST_STEPS`.
    """

    world: World
    variables: dict[str, Part]
    judge: Judge
    _steps: int = field(init=False, default=0)

    def read(self, expr: pst.Expr) -> Part:
        """Return what `expr` is."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise Untranslatable("a condition of too many steps.", hint="Split or shorten the policy.")
        match expr:
            case pst.Var(name):
                return self.variables[name]
            case pst.BoolLit(value) | pst.LongLit(value) | pst.StringLit(value):
                return constant(value)
            case pst.EntityLit(uid):
                return Constant("Entity", EntityUid(str(uid.type), uid.id))
            case pst.GetAttr(base, attr):
                return self._attribute(self.read(base), attr)
            case pst.HasAttr(base, attrs):
                return settled(self._has(self.read(base), attrs))
            case pst.Like(base, pattern):
                return settled(_like(self.read(base), pattern))
            case pst.Is(base, kind, ancestor):
                return settled(self._is(base, str(kind), ancestor))
            case pst.IfThenElse(cond, then, other):
                return self._choose(truth(self.read(cond)), then, other)
            case pst.Set(elements):
                return _listed(tuple(self.read(item) for item in elements))
            case pst.Record(fields):
                return _record({name: self.read(item) for name, item in fields.items()})
            case pst.UnaryOp(op, arg):
                return self._unary(expr, op, arg)
            case pst.BinaryOp(op, left, right):
                return self._binary(expr, op, left, right)
            case _:
                raise Untranslatable(f"the expression {type(expr).__name__}.", hint="Decide row by row.")

    # Operators.

    def _unary(self, expr: pst.Expr, op: str, arg: pst.Expr) -> Part:
        if op == "not":
            return settled(~truth(self.read(arg)))
        if uses_extensions(expr):
            return self.judge.constant(expr)
        value = self.read(arg)
        if op == "neg":
            return _arithmetic("-", Constant("Long", 0), value)
        if op == "is_empty":
            return settled(_empty(value))
        raise Untranslatable(f"the operator {op}.", hint="Decide row by row.")

    def _binary(self, expr: pst.Expr, op: str, left: pst.Expr, right: pst.Expr) -> Part:
        if op in ("and", "or"):
            return self._logic(op, left, right)
        if uses_extensions(expr) and (
            op in EXTENSION_OPERATORS or not (self.judge.reads_row(expr) or self.judge.follows(expr))
        ):
            return self.judge.constant(expr)
        a, b = self.read(left), self.read(right)
        if isinstance(a, Failed) or isinstance(b, Failed):
            return FAILED
        if op in _ARITHMETIC:
            return _arithmetic(_ARITHMETIC[op], a, b)
        match op:
            case "eq":
                return settled(equal(a, b))
            case "not_eq":
                return settled(~equal(a, b))
            case "less" | "less_eq" | "greater" | "greater_eq":
                return settled(_ordered(op, a, b))
            case "in":
                return settled(self._in(a, b))
            case "contains":
                return settled(_contains(a, b))
            case "contains_all":
                return settled(_contains_all(a, b))
            case "contains_any":
                return settled(_contains_any(a, b))
            case "get_tag":
                return self.world.tag(a, b)
            case "has_tag":
                return settled(self.world.has_tag(a, b))
        raise Untranslatable(f"the operator {op}.", hint="Decide row by row.")

    def _logic(self, op: str, left: pst.Expr, right: pst.Expr) -> Part:
        first = truth(self.read(left))
        if op == "or":
            first = ~first
        if first.yes is False:  # the right side is never reached
            decided = Truth(False, first.no)
        else:
            second = truth(self.read(right))
            if op == "or":
                second = ~second
            decided = Truth(every(first.yes, second.yes), some(first.no, every(first.yes, second.no)))
        return settled(~decided if op == "or" else decided)

    def _choose(self, cond: Truth, then: pst.Expr, other: pst.Expr) -> Part:
        if cond.yes is True:
            return self.read(then)
        if cond.no is True:
            return self.read(other)
        if cond.yes is False and cond.no is False:
            return FAILED
        a, b = self.read(then), self.read(other)
        if _boolean(a) and _boolean(b):
            x, y = truth(a), truth(b)
            return settled(
                Truth(
                    some(every(cond.yes, x.yes), every(cond.no, y.yes)),
                    some(every(cond.yes, x.no), every(cond.no, y.no)),
                )
            )
        x_, y_ = _scalar(a), _scalar(b)
        if x_.kind != y_.kind or x_.type != y_.type:
            raise Untranslatable("branches of different types.", hint="Decide row by row.")
        value = sa.case((_clause(cond.yes), x_.sql), else_=y_.sql)
        sure = some(every(cond.yes, x_.there), every(cond.no, y_.there))
        return Scalar(x_.kind, value, sure, x_.type)

    def _attribute(self, base: Part, name: str) -> Part:
        if isinstance(base, Fields):
            found = base.fields.get(name)
            if found is None or there(base) is not True:
                raise Untranslatable("a field of a record whose other fields may be errors.", hint="Name it.")
            return found
        return self.world.attribute(base, name)

    def _has(self, base: Part, names: tuple[str, ...]) -> Truth:
        result = self._has_one(base, names[0])
        for place, name in enumerate(names[1:], start=1):
            if result.yes is False:
                break
            base = self._attribute(base, names[place - 1])
            more = self._has_one(base, name)
            result = Truth(every(result.yes, more.yes), some(result.no, every(result.yes, more.no)))
        return result

    def _has_one(self, base: Part, name: str) -> Truth:
        if isinstance(base, Fields):
            return where(there(base), name in base.fields)
        return self.world.has(base, name)

    def _is(self, base: pst.Expr, kind: str, ancestor: pst.Expr | None) -> Truth:
        value = self.read(base)
        match value:
            case Constant(kind="Entity", value=uid):
                result = where(True, uid.type == kind)
            case Scalar(kind="Entity", type=name, there=sure):
                result = where(sure, name == kind)
            case _:
                return Truth(False, False)
        if ancestor is None or result.yes is False:
            return result
        inside = self._in(value, self.read(ancestor))
        return Truth(every(result.yes, inside.yes), some(result.no, every(result.yes, inside.no)))

    def _in(self, left: Part, right: Part) -> Truth:
        if not (isinstance(left, Constant | Scalar) and left.kind == "Entity"):
            return Truth(False, False)
        match right:
            case Constant(kind="Entity", value=uid):
                return where(there(left), self.inside(left, uid))
            case Constant(kind="Set", value=items):
                if any(item.kind != "Entity" for item in items):
                    return Truth(False, False)
                return where(there(left), some(*(self.inside(left, item.value) for item in items)))
            case Scalar(kind="Entity"):
                return where(every(there(left), right.there), self._inside_row(left, right.type, right.sql))
            case Rows(kind="Entity", type=name, any_of=any_of):
                return where(
                    every(there(left), right.there), any_of(lambda sql: self._inside_row(left, name, sql))
                )
            case Rows():
                return where(every(there(left), right.there, negate(right.any_of(lambda sql: True))), False)
            case Listed(items=items):
                parts = [self._in(left, item) for item in items]
                if not all(isinstance(item, Constant | Scalar) and item.kind == "Entity" for item in items):
                    return Truth(False, False)
                return where(every(there(left), there(right)), some(*(part.yes for part in parts)))
        return Truth(False, False)

    def inside(self, left: Part, target: EntityUid) -> Condition:
        """Return whether an entity is `target` or below it; meant where `left` is there."""
        if isinstance(left, Scalar):
            return self.world.within(left, target)
        if not isinstance(left, Constant):
            return False
        found = self.world.ancestors(left.value)
        if target in found:
            return True
        rows = [self.world.lookup(uid) for uid in found]
        return some(*(self.world.within(row, target) for row in rows if isinstance(row, Scalar)))

    def _inside_row(self, left: Part, name: str | None, sql: SQL) -> Condition:
        if not isinstance(left, Constant):
            raise Untranslatable("whether one row is in another.", hint="Decide row by row.")
        found = self.world.ancestors(left.value)
        for uid in found:
            if isinstance(self.world.lookup(uid), Scalar) and self.world.mapping.table(uid.type).parents:
                raise Untranslatable(f"the ancestors of {uid.type} were not given.", hint="Give them.")
        ids = sorted(uid.id for uid in found if uid.type == name)
        return sql.in_(ids) if ids else False


def equal(a: Part, b: Part) -> Truth:
    """Return whether two parts are equal: of different types they are not, which is no error."""
    sure = every(there(a), there(b))
    if isinstance(a, Constant) and isinstance(b, Constant):
        if _extended(a) or _extended(b):
            raise Untranslatable("an equality of extension values.", hint="Decide row by row.")
        return where(True, a == b)
    if isinstance(a, Truth) or isinstance(b, Truth):
        if not (_boolean(a) and _boolean(b)):
            return where(sure, False)
        x, y = truth(a), truth(b)
        same = some(every(x.yes, y.yes), every(x.no, y.no))
        return Truth(same, some(every(x.yes, y.no), every(x.no, y.yes)))
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Rows | Listed) and isinstance(other, Rows | Listed | Constant):
            if isinstance(other, Constant) and other.kind != "Set":
                return where(sure, False)
            forth, back = _contains_all(one, other), _contains_all(other, one)
            return where(sure, every(forth.yes, back.yes))
        if isinstance(one, Record | Fields):
            if isinstance(other, Scalar | Rows | Listed) or (
                isinstance(other, Constant) and other.kind != "Record"
            ):
                return where(sure, False)
            raise Untranslatable("an equality of records.", hint="Compare their fields.")
        if isinstance(one, Rows | Listed):
            return where(sure, False)
    if isinstance(a, Failed) or isinstance(b, Failed):
        return Truth(False, False)
    for one in (a, b):
        if isinstance(one, Constant) and one.kind not in ("Bool", "Long", "String", "Entity"):
            if one.kind == "Extension":
                raise Untranslatable("an equality with an extension value.", hint="Decide row by row.")
            return where(sure, False)
    x_, y_ = _scalar(a), _scalar(b)
    if x_.kind != y_.kind or x_.type != y_.type:
        return where(sure, False)
    return where(sure, x_.sql == y_.sql)


def _extended(part: Constant) -> bool:
    match part:
        case Constant(kind="Extension"):
            return True
        case Constant(kind="Set", value=items):
            return any(_extended(item) for item in items)
        case Constant(kind="Record", value=fields):
            return any(_extended(item) for _, item in fields)
    return False


def _like(base: Part, pattern: tuple[pst.PatternElem, ...]) -> Truth:
    parts: list[str | None] = []
    for element in pattern:
        if isinstance(element, pst.Wildcard):
            parts.append(None)
        elif parts and parts[-1] is not None:
            parts[-1] += element.value
        else:
            parts.append(element.value)
    match base:
        case Constant(kind="String", value=value):
            return where(True, _matches(value, parts))
        case Scalar(kind="String", sql=sql, there=sure):
            if any("\0" in part for part in parts if part):
                raise Untranslatable("a pattern with a NUL character.", hint="Decide row by row.")
            return where(sure, Matches(sql, tuple(parts)))
    return Truth(False, False)


def _matches(value: str, parts: list[str | None]) -> bool:
    if None not in parts:
        return value == "".join(part or "" for part in parts)
    head = parts[0] or ""
    tail = (parts[-1] or "") if len(parts) > 1 else ""
    if not value.startswith(head) or not value.endswith(tail) or len(value) < len(head) + len(tail):
        return False
    place, end = len(head), len(value) - len(tail)
    for part in parts[1:-1] if len(parts) > 1 else []:
        if part:
            found = value.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
    return True


def _ordered(op: str, a: Part, b: Part) -> Truth:
    for part in (a, b):
        if isinstance(part, Constant) and part.kind == "Extension":
            raise Untranslatable("an order of extension values.", hint="Decide row by row.")
        if not (isinstance(part, Constant | Scalar) and part.kind == "Long"):
            return Truth(False, False)
    if isinstance(a, Constant) and isinstance(b, Constant):
        x, y = a.value, b.value
    else:
        x, y = _scalar(a).sql, _scalar(b).sql
    holds = {"less": x < y, "less_eq": x <= y, "greater": x > y, "greater_eq": x >= y}[op]
    return where(every(there(a), there(b)), holds)


def _arithmetic(op: Any, a: Part, b: Part) -> Part:
    for part in (a, b):
        if not (isinstance(part, Constant | Scalar) and part.kind == "Long"):
            return FAILED
    if isinstance(a, Constant) and isinstance(b, Constant):
        value = {"+": a.value + b.value, "-": a.value - b.value, "*": a.value * b.value}[op]
        return Constant("Long", value) if MIN_LONG <= value <= MAX_LONG else FAILED
    x, y = _scalar(a), _scalar(b)
    result = Arithmetic(op, x.sql, y.sql)
    return Scalar("Long", result, every(x.there, y.there, Fits(result)))


def _contains(a: Part, b: Part) -> Truth:
    sure = every(there(a), there(b))
    match a:
        case Constant(kind="Set", value=items):
            return where(sure, _among(b, tuple(items)))
        case Listed(items=items):
            return where(sure, _among(b, items))
        case Rows(kind=kind, type=name, any_of=any_of):
            return where(sure, any_of(lambda sql: equal(Scalar(kind, sql, True, name), b).yes))
    return Truth(False, False)


def _among(value: Part, items: tuple[Part, ...]) -> Condition:
    constants = [item for item in items if isinstance(item, Constant)]
    if isinstance(value, Scalar) and len(constants) == len(items):
        plain = [item for item in constants if item.kind == value.kind]
        if value.kind == "Entity":
            ids = [item.value.id for item in plain if item.value.type == value.type]
            return value.sql.in_(sorted(ids)) if ids else False
        if value.kind in ("Long", "String"):
            texts = sorted(item.value for item in plain)
            return value.sql.in_(texts) if texts else False
    return some(*(equal(value, item).yes for item in items))


def _elements(part: Part) -> tuple[Part, ...] | None:
    if isinstance(part, Constant) and part.kind == "Set":
        return tuple(part.value)
    return part.items if isinstance(part, Listed) else None


def _contains_all(a: Part, b: Part) -> Truth:
    if not (_set(a) and _set(b)):
        return Truth(False, False)
    sure = every(there(a), there(b))
    wanted = _elements(b)
    if wanted is not None:
        return where(sure, every(*(_contains(a, item).yes for item in wanted)))
    assert isinstance(b, Rows)
    missing = b.any_of(lambda sql: negate(_contains(a, Scalar(b.kind, sql, True, b.type)).yes))
    return where(sure, negate(missing))


def _contains_any(a: Part, b: Part) -> Truth:
    if not (_set(a) and _set(b)):
        return Truth(False, False)
    sure = every(there(a), there(b))
    wanted = _elements(b)
    if wanted is None:
        assert isinstance(b, Rows)
        return where(sure, b.any_of(lambda sql: _contains(a, Scalar(b.kind, sql, True, b.type)).yes))
    return where(sure, some(*(_contains(a, item).yes for item in wanted)))


def _empty(value: Part) -> Truth:
    match value:
        case Constant(kind="Set", value=items):
            return where(True, not items)
        case Listed(items=items):
            return where(there(value), not items)
        case Rows(any_of=any_of, there=sure):
            return where(sure, negate(any_of(lambda sql: True)))
    return Truth(False, False)


def _set(part: Part) -> bool:
    return isinstance(part, Rows | Listed) or (isinstance(part, Constant) and part.kind == "Set")


def _boolean(part: Part) -> bool:
    return isinstance(part, Truth | Failed) or (isinstance(part, Constant | Scalar) and part.kind == "Bool")


def _scalar(part: Part) -> Scalar:
    match part:
        case Scalar():
            return part
        case Constant(kind="Entity", value=uid):
            return Scalar("Entity", sa.literal(uid.id, sa.String()), True, uid.type)
        case Constant(kind="Long", value=value):
            return Scalar("Long", sa.literal(value, sa.BigInteger()), True)
        case Constant(kind="String", value=value):
            return Scalar("String", sa.literal(value, sa.String()), True)
        case Constant(kind="Bool", value=value):
            return Scalar("Bool", sa.true() if value else sa.false(), True)
    raise Untranslatable("a value that is neither a column's nor plain.", hint="Decide row by row.")


def _listed(items: tuple[Part, ...]) -> Part:
    if any(isinstance(item, Failed) for item in items):
        return FAILED
    if all(isinstance(item, Constant) for item in items):
        return Constant("Set", frozenset(items))
    return Listed(items)


def _record(fields: dict[str, Part]) -> Part:
    if any(isinstance(item, Failed) for item in fields.values()):
        return FAILED
    plain = [(name, item) for name, item in sorted(fields.items()) if isinstance(item, Constant)]
    return Constant("Record", tuple(plain)) if len(plain) == len(fields) else Fields(fields)


def _clause(condition: Condition) -> Any:
    return sa.literal(condition) if isinstance(condition, bool) else condition
