"""Cedar expressions as Python closures: `compile_expression(tree)(question)` is the value, or raises CedarError.

A literal is bound into its closure as a value. No source text is built, so no policy text is ever run as Python.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from cedarpy import pst

from ..errors import UnreadablePolicy
from .entities import Store
from .extensions import CONSTRUCTORS, METHODS, METHODS_OF_TWO, long, typed
from .patterns import matcher
from .values import CedarError, Ext, Ref, equal, key

_ORDERED = ("datetime", "duration")


class Question:
    """What an expression is asked about: principal, action, resource, context, and the entities it may read."""

    __slots__ = ("action", "context", "entities", "principal", "resource")

    def __init__(
        self, principal: Ref, action: Ref, resource: Ref, context: dict[str, Any], entities: Store
    ) -> None:
        self.principal = principal
        self.action = action
        self.resource = resource
        self.context = context
        self.entities = entities


Compiled = Callable[[Question], Any]


def ref_of_node(uid: pst.EntityUid) -> Ref:
    """Return the reference that a uid in the tree names."""
    return Ref(str(uid.type), uid.id)


def compile_expression(node: pst.Expr) -> Compiled:
    """Return the closure of `node`; raises UnreadablePolicy for a node that this compiler does not know."""
    match node:
        case pst.BoolLit() | pst.LongLit() | pst.StringLit():
            return _constant(node.value)
        case pst.EntityLit():
            return _constant(ref_of_node(node.value))
        case pst.Var():
            return _variable(node.name)
        case pst.UnaryOp(arg=pst.StringLit(value=text)) if node.op in CONSTRUCTORS:
            return _constructed(node.op, text)
        case pst.UnaryOp():
            return _unary(node.op, compile_expression(node.arg))
        case pst.BinaryOp(right=pst.LongLit(value=number)) if node.op in _COMPARE:
            return _compared(_COMPARE[node.op], compile_expression(node.left), number)
        case pst.BinaryOp():
            return _binary(node.op, compile_expression(node.left), compile_expression(node.right))
        case pst.GetAttr():
            return _attribute(node)
        case pst.HasAttr():
            return _has(compile_expression(node.base), node.attrs)
        case pst.Like():
            return _like(compile_expression(node.base), node.pattern)
        case pst.Is():
            return _is(node)
        case pst.IfThenElse():
            return _choice(node)
        case pst.Set():
            return _set(tuple(compile_expression(item) for item in node.elements))
        case pst.Record():
            return _record({name: compile_expression(item) for name, item in node.fields.items()})
        case _:
            raise UnreadablePolicy(f"the policy holds {type(node).__name__}, which is not known here")


def boolean(value: Any) -> bool:
    """Return `value`, which is a Bool; raises CedarError otherwise."""
    if value is True or value is False:
        return value
    raise CedarError("not a Bool")


def _constant(value: Any) -> Compiled:
    return lambda question: value


def _variable(name: str) -> Compiled:
    match name:
        case "principal":
            return lambda question: question.principal
        case "action":
            return lambda question: question.action
        case "resource":
            return lambda question: question.resource
        case "context":
            return lambda question: question.context
        case _:
            raise UnreadablePolicy(f"the variable {name!r} is not known here")


def _unary(op: str, arg: Compiled) -> Compiled:
    if op in CONSTRUCTORS:
        return _construct(op, arg)
    if op in METHODS:
        kind, method = METHODS[op]
        return lambda question: method(typed(arg(question), kind))
    match op:
        case "not":
            return lambda question: not boolean(arg(question))
        case "neg":
            return lambda question: long(-integer(arg(question)))
        case "is_empty":
            return lambda question: not _a_set(arg(question))
        case _:
            raise UnreadablePolicy(f"the operator {op!r} is not known here")


def _constructed(op: str, text: str) -> Compiled:
    """Return the closure of an extension value that is written out: it is parsed once, and errs each time if it must."""
    try:
        value = CONSTRUCTORS[op](text)
    except CedarError as error:
        message = str(error)

        def err(question: Question) -> Any:
            raise CedarError(message)

        return err
    return lambda question: value


def _construct(op: str, arg: Compiled) -> Compiled:
    maker = CONSTRUCTORS[op]

    def run(question: Question) -> Any:
        text = arg(question)
        if type(text) is not str:
            raise CedarError("not a String")
        return maker(text)

    return run


def _binary(op: str, left: Compiled, right: Compiled) -> Compiled:
    if op in METHODS_OF_TWO:
        first, second, method = METHODS_OF_TWO[op]
        return lambda question: method(typed(left(question), first), typed(right(question), second))
    maker = _OPERATORS.get(op)
    if maker is None:
        raise UnreadablePolicy(f"the operator {op!r} is not known here")
    return maker(left, right)


def _and(left: Compiled, right: Compiled) -> Compiled:
    def run(question: Question) -> bool:
        value = left(question)
        if value is False:
            return False
        if value is not True:
            raise CedarError("not a Bool")
        return boolean(right(question))

    return run


def _or(left: Compiled, right: Compiled) -> Compiled:
    def run(question: Question) -> bool:
        value = left(question)
        if value is True:
            return True
        if value is not False:
            raise CedarError("not a Bool")
        return boolean(right(question))

    return run


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[[Compiled, Compiled], Compiled]:
    def make(left: Compiled, right: Compiled) -> Compiled:
        def run(question: Question) -> bool:
            a, b = left(question), right(question)
            if type(a) is int and type(b) is int:
                return compare(a, b)
            if type(a) is Ext and type(b) is Ext and a.kind == b.kind and a.kind in _ORDERED:
                return compare(a.value, b.value)
            raise CedarError("not ordered")

        return run

    return make


def _compared(compare: Callable[[Any, Any], bool], left: Compiled, number: int) -> Compiled:
    """Return a comparison with a number that is written out."""

    def run(question: Question) -> bool:
        value = left(question)
        if type(value) is int:
            return compare(value, number)
        raise CedarError("not ordered")

    return run


def _arithmetic(apply: Callable[[int, int], int]) -> Callable[[Compiled, Compiled], Compiled]:
    def make(left: Compiled, right: Compiled) -> Compiled:
        return lambda question: long(apply(integer(left(question)), integer(right(question))))

    return make


def integer(value: Any) -> int:
    """Return `value`, which is a Long; raises CedarError otherwise: a Bool is none."""
    if type(value) is int:
        return value
    raise CedarError("not a Long")


def _a_set(value: Any) -> frozenset[Any]:
    if type(value) is frozenset:
        return value
    raise CedarError("not a Set")


def _an_entity(value: Any) -> Ref:
    if type(value) is Ref:
        return value
    raise CedarError("not an entity")


def inside(ref: Ref, target: Any, entities: Store) -> bool:
    """Say whether `ref` is `target` or below it, where `target` is an entity or a set of entities."""
    if type(target) is Ref:
        if ref == target:
            return True
        node = entities.get(ref)
        return node is not None and target in node.ancestors
    for item in _a_set(target):
        _an_entity(item)
    if ref in target:
        return True
    node = entities.get(ref)
    return node is not None and not node.ancestors.isdisjoint(target)


def _get_tag(left: Compiled, right: Compiled) -> Compiled:
    def run(question: Question) -> Any:
        ref, name = _an_entity(left(question)), _tag_name(right(question))
        node = question.entities.get(ref)
        if node is None or name not in node.tags:
            raise CedarError("no such tag")
        return node.tags[name]

    return run


def _has_tag(left: Compiled, right: Compiled) -> Compiled:
    def run(question: Question) -> bool:
        ref, name = _an_entity(left(question)), _tag_name(right(question))
        node = question.entities.get(ref)
        return node is not None and name in node.tags

    return run


def _tag_name(value: Any) -> str:
    if type(value) is str:
        return value
    raise CedarError("not a String")


def _attributes(value: Any, question: Question) -> Mapping[str, Any] | None:
    """Return what `value` has by name, None for an absent entity; raises CedarError for what has no attributes."""
    if type(value) is dict:
        return value
    node = question.entities.get(_an_entity(value))
    return None if node is None else node.attrs


def _attribute(node: pst.GetAttr) -> Compiled:
    base, name = compile_expression(node.base), node.attr

    def run(question: Question) -> Any:
        found = _attributes(base(question), question)
        if found is None or name not in found:
            raise CedarError("no such attribute")
        return found[name]

    def of_context(question: Question) -> Any:
        try:
            return question.context[name]
        except KeyError:
            raise CedarError("no such attribute") from None

    def of_principal(question: Question) -> Any:
        found = question.entities.get(question.principal)
        if found is None or name not in found.attrs:
            raise CedarError("no such attribute")
        return found.attrs[name]

    def of_resource(question: Question) -> Any:
        found = question.entities.get(question.resource)
        if found is None or name not in found.attrs:
            raise CedarError("no such attribute")
        return found.attrs[name]

    # What nearly every condition reads takes no call for its base.
    direct = {"context": of_context, "principal": of_principal, "resource": of_resource}
    return direct.get(node.base.name, run) if isinstance(node.base, pst.Var) else run


def _has(base: Compiled, names: tuple[str, ...]) -> Compiled:
    def run(question: Question) -> bool:
        value = base(question)
        for name in names:
            found = _attributes(value, question)
            if found is None or name not in found:
                return False
            value = found[name]
        return True

    return run


def _like(base: Compiled, pattern: tuple[pst.PatternElem, ...]) -> Compiled:
    matches = matcher(tuple(item.value if isinstance(item, pst.Char) else None for item in pattern))

    def run(question: Question) -> bool:
        text = base(question)
        if type(text) is not str:
            raise CedarError("not a String")
        return matches(text)

    return run


def _is(node: pst.Is) -> Compiled:
    base, name = compile_expression(node.base), str(node.entity_type)
    if node.in_expr is None:
        return lambda question: _an_entity(base(question)).type == name
    within = compile_expression(node.in_expr)

    def run(question: Question) -> bool:
        ref = _an_entity(base(question))
        return ref.type == name and inside(ref, within(question), question.entities)

    return run


def _choice(node: pst.IfThenElse) -> Compiled:
    condition = compile_expression(node.cond)
    then, otherwise = compile_expression(node.then_expr), compile_expression(node.else_expr)
    return lambda question: then(question) if boolean(condition(question)) else otherwise(question)


def _set(items: tuple[Compiled, ...]) -> Compiled:
    return lambda question: frozenset([key(item(question)) for item in items])


def _record(items: Mapping[str, Compiled]) -> Compiled:
    pairs = tuple(items.items())
    return lambda question: {name: item(question) for name, item in pairs}


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "less": operator.lt,
    "less_eq": operator.le,
    "greater": operator.gt,
    "greater_eq": operator.ge,
}
_OPERATORS: dict[str, Callable[[Compiled, Compiled], Compiled]] = {
    "and": _and,
    "or": _or,
    "eq": lambda left, right: lambda question: equal(left(question), right(question)),
    "not_eq": lambda left, right: lambda question: not equal(left(question), right(question)),
    **{op: _comparison(compare) for op, compare in _COMPARE.items()},
    "add": _arithmetic(lambda a, b: a + b),
    "sub": _arithmetic(lambda a, b: a - b),
    "mul": _arithmetic(lambda a, b: a * b),
    "in": lambda left, right: (
        lambda question: inside(_an_entity(left(question)), right(question), question.entities)
    ),
    "contains": lambda left, right: lambda question: key(right(question)) in _a_set(left(question)),
    "contains_all": lambda left, right: lambda question: _a_set(left(question)) >= _a_set(right(question)),
    "contains_any": lambda left, right: (
        lambda question: not _a_set(left(question)).isdisjoint(_a_set(right(question)))
    ),
    "get_tag": _get_tag,
    "has_tag": _has_tag,
}
