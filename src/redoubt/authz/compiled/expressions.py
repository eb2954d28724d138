"""Cedar expressions as Python's: the conditions of a policy become one function, which returns whether they hold.

Its parameters are `PARAMETERS`; it raises CedarError or, for an attribute that is not there, KeyError. A literal is a constant
of the function (`python.py`), so no policy text is ever run as Python. What an expression certainly is (a comparison is a Bool,
`principal` an entity) is known from its syntax alone, and is not checked again; nothing is concluded from a schema, so what is
decided does not rest on whether the entities keep to one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cedarpy import pst

from ..errors import UnreadablePolicy
from .extensions import CONSTRUCTORS, METHODS, METHODS_OF_TWO
from .operations import OPERATIONS
from .patterns import matcher
from .python import (
    Draft,
    all_of,
    any_of,
    attribute,
    calculated,
    call,
    choice,
    compared,
    is_a,
    item,
    let,
    load,
    negated,
    record,
    tuple_of,
)
from .values import CedarError, Ref, key

PARAMETERS = ("principal", "resource", "context", "asker", "target", "question")
"""Two references, a record, the stored entities of the references, and the whole question."""

Holds = Callable[..., bool]
Kind = type | str | None
"""What an expression certainly is: a Python type (see `values.py`), or the name of an extension type; None: anything."""

_OF_ENTITY = {"principal": "asker", "resource": "target"}
_PLAIN = (str, int, Ref)


class Part(NamedTuple):
    """An expression in Python, and what it certainly is."""

    code: ast.expr
    kind: Kind


def ref_of_node(uid: pst.EntityUid) -> Ref:
    """Return the reference that a uid in the tree names."""
    return Ref(str(uid.type), uid.id)


def compile_conditions(clauses: Sequence[pst.Clause]) -> Holds:
    """Return the function of all `clauses` together; raises UnreadablePolicy for what is not known here."""
    check_known(clauses)
    draft = Draft(OPERATIONS)
    if not clauses:
        return draft.function(PARAMETERS, draft.constant(True))
    return draft.function(PARAMETERS, all_of(*(_clause(draft, clause) for clause in clauses)))


def check_known(clauses: Sequence[pst.Clause]) -> None:
    """Raise UnreadablePolicy unless every node of `clauses` is known here."""
    waiting: list[Any] = [clause.expr for clause in clauses]
    while waiting:
        node = waiting.pop()
        children = _CHILDREN.get(type(node))
        if children is None:
            raise UnreadablePolicy(f"the policy holds {type(node).__name__}, which is not known here")
        if type(node) is pst.BinaryOp or type(node) is pst.UnaryOp:
            if node.op not in (_BINARY if type(node) is pst.BinaryOp else _UNARY):
                raise UnreadablePolicy(f"the operator {node.op!r} is not known here")
        elif type(node) is pst.Var and node.name not in _VARIABLES:
            raise UnreadablePolicy(f"the variable {node.name!r} is not known here")
        waiting += children(node)


def _clause(draft: Draft, clause: pst.Clause) -> ast.expr:
    body = _boolean(draft, _part(draft, clause.expr))
    return body if isinstance(clause, pst.When) else negated(body)


def _part(draft: Draft, node: pst.Expr) -> Part:
    match node:
        case pst.BoolLit() | pst.LongLit() | pst.StringLit():
            return Part(draft.constant(node.value), type(node.value))
        case pst.EntityLit():
            return Part(draft.constant(ref_of_node(node.value)), Ref)
        case pst.Var():
            return _VARIABLES[node.name]
        case pst.UnaryOp(arg=pst.StringLit(value=text)) if node.op in CONSTRUCTORS:
            return _constructed(draft, node.op, text)
        case pst.UnaryOp():
            return _UNARY[node.op](draft, node.op, _part(draft, node.arg))
        case pst.BinaryOp():
            return _BINARY[node.op](draft, node.op, _part(draft, node.left), _part(draft, node.right))
        case pst.GetAttr():
            return _get(draft, node)
        case pst.HasAttr():
            return _has(draft, node)
        case pst.Like():
            return _like(draft, node)
        case pst.Is():
            return _is(draft, node)
        case pst.IfThenElse():
            then, otherwise = _part(draft, node.then_expr), _part(draft, node.else_expr)
            test = _boolean(draft, _part(draft, node.cond))
            kind = then.kind if then.kind == otherwise.kind else None
            return Part(choice(test, then.code, otherwise.code), kind)
        case pst.Set():
            return _set(draft, node)
        case pst.Record():
            fields = [(draft.constant(name), _part(draft, value).code) for name, value in node.fields.items()]
            return Part(record(fields), dict)
        case _:
            raise UnreadablePolicy(f"the policy holds {type(node).__name__}, which is not known here")


def _typed(draft: Draft, part: Part, kind: type, use: Callable[[ast.expr], ast.expr]) -> ast.expr:
    """Return what `use` makes of a value that is a `kind`: `use(t) if type(t := value) is kind else refuse()`."""
    if part.kind is kind:
        return use(part.code)
    name = draft.local()
    return choice(is_a(let(name, part.code), kind.__name__), use(load(name)), call("refuse"))


def _boolean(draft: Draft, part: Part) -> ast.expr:
    return _typed(draft, part, bool, lambda value: value)


def _reference(part: Part) -> ast.expr:
    return part.code if part.kind is Ref else call("entity", part.code)


def _extension(draft: Draft, part: Part, kind: str) -> ast.expr:
    if part.kind == kind:
        return part.code
    name = draft.local()
    test = all_of(
        is_a(let(name, part.code), "Ext"),
        compared(attribute(load(name), "kind"), ast.Eq, draft.constant(kind)),
    )
    return choice(test, load(name), call("refuse"))


def _constructed(draft: Draft, op: str, text: str) -> Part:
    """Return an extension value that is written out: it is parsed once, and errs each time if it must."""
    try:
        value = CONSTRUCTORS[op](text)
    except CedarError:
        return Part(call("refuse"), None)
    return Part(draft.constant(value), value.kind)


_ENTITIES = attribute(load("question"), "entities")
_VARIABLES = {
    "principal": Part(load("principal"), Ref),
    "action": Part(attribute(load("question"), "action"), Ref),
    "resource": Part(load("resource"), Ref),
    "context": Part(load("context"), dict),
}


def _held(draft: Draft, node: pst.Expr) -> ast.expr | None:
    """Return the attributes of a variable, an empty record for an entity that is absent; None for what is no variable."""
    if type(node) is not pst.Var:
        return None
    if node.name == "context":
        return load("context")
    stored = _OF_ENTITY.get(node.name)
    return None if stored is None else attribute(load(stored), "attrs")


def _get(draft: Draft, node: pst.GetAttr) -> Part:
    name = draft.constant(node.attr)
    held = _held(draft, node.base)
    if held is not None:
        return Part(item(held, name), None)
    return Part(call("get", _part(draft, node.base).code, name, _ENTITIES), None)


def _has(draft: Draft, node: pst.HasAttr) -> Part:
    held = _held(draft, node.base)
    if held is not None and len(node.attrs) == 1:
        return Part(compared(draft.constant(node.attrs[0]), ast.In, held), bool)
    return Part(call("has", _part(draft, node.base).code, draft.constant(node.attrs), _ENTITIES), bool)


def _like(draft: Draft, node: pst.Like) -> Part:
    pattern = tuple(part.value if isinstance(part, pst.Char) else None for part in node.pattern)
    base = _part(draft, node.base)
    if len(pattern) > 1 and pattern[-1] is None and None not in pattern[:-1]:
        start = draft.constant("".join(map(str, pattern[:-1])))
        return Part(_typed(draft, base, str, lambda value: call(attribute(value, "startswith"), start)), bool)
    test = draft.constant(matcher(pattern))
    return Part(_typed(draft, base, str, lambda value: call(test, value)), bool)


def _is(draft: Draft, node: pst.Is) -> Part:
    base = _reference(_part(draft, node.base))
    name = draft.constant(str(node.entity_type))
    if node.in_expr is None:
        return Part(compared(attribute(base, "type"), ast.Eq, name), bool)
    local = draft.local()
    test = compared(attribute(let(local, base), "type"), ast.Eq, name)
    within = _part(draft, node.in_expr)
    return Part(all_of(test, call("inside", load(local), within.code, _ENTITIES)), bool)


def _set(draft: Draft, node: pst.Set) -> Part:
    literals = [_literal(element) for element in node.elements]
    if None not in literals:
        return Part(draft.constant(frozenset(literals)), frozenset)
    keys = [_key(_part(draft, element)) for element in node.elements]
    return Part(call("frozenset", tuple_of(keys)), frozenset)


def _literal(node: pst.Expr) -> Any:
    """Return what stands in a set for a value that is written out, None for any other expression."""
    match node:
        case pst.EntityLit(value=uid):
            return ref_of_node(uid)
        case pst.BoolLit() | pst.LongLit() | pst.StringLit():
            return key(node.value)
        case _:
            return None


def _key(part: Part) -> ast.expr:
    return part.code if part.kind in _PLAIN else call("key", part.code)


def _and(draft: Draft, op: str, left: Part, right: Part) -> Part:
    after = _boolean(draft, right)
    return Part(_typed(draft, left, bool, lambda value: all_of(value, after)), bool)


def _or(draft: Draft, op: str, left: Part, right: Part) -> Part:
    after = _boolean(draft, right)
    return Part(_typed(draft, left, bool, lambda value: any_of(value, after)), bool)


def _equal(draft: Draft, op: str, left: Part, right: Part) -> Part:
    return Part(_equality(draft, left, right), bool)


def _not_equal(draft: Draft, op: str, left: Part, right: Part) -> Part:
    return Part(negated(_equality(draft, left, right)), bool)


def _equality(draft: Draft, left: Part, right: Part) -> ast.expr:
    kinds = (left.kind, right.kind)
    if str in kinds or Ref in kinds:  # which equal nothing of another type
        return compared(left.code, ast.Eq, right.code)
    if bool in kinds:  # there is one of each
        return compared(left.code, ast.Is, right.code)
    return call("equal", left.code, right.code)


def _less(draft: Draft, op: str, left: Part, right: Part) -> Part:
    name = "less" if op in ("less", "greater") else "less_eq"
    if op in ("greater", "greater_eq"):
        left, right = right, left
    if int not in (left.kind, right.kind):
        return Part(call(name, left.code, right.code), bool)
    operator = ast.Lt if name == "less" else ast.LtE
    return Part(
        _typed(draft, left, int, lambda a: _typed(draft, right, int, lambda b: compared(a, operator, b))),
        bool,
    )


_ARITHMETIC: dict[str, type[ast.operator]] = {"add": ast.Add, "sub": ast.Sub, "mul": ast.Mult}


def _calculated(draft: Draft, op: str, left: Part, right: Part) -> Part:
    return Part(call("long", calculated(_integer(left), _ARITHMETIC[op], _integer(right))), int)


def _integer(part: Part) -> ast.expr:
    return part.code if part.kind is int else call("integer", part.code)


def _in(draft: Draft, op: str, left: Part, right: Part) -> Part:
    for variable, stored in _OF_ENTITY.items():
        if left is _VARIABLES[variable] and right.kind is Ref:
            local = draft.local()
            same = compared(left.code, ast.Eq, let(local, right.code))
            below = compared(load(local), ast.In, attribute(load(stored), "ancestors"))
            return Part(any_of(same, below), bool)
    return Part(call("inside", _reference(left), right.code, _ENTITIES), bool)


def _contains(draft: Draft, op: str, left: Part, right: Part) -> Part:
    if right.kind in _PLAIN:
        return Part(_typed(draft, left, frozenset, lambda whole: compared(right.code, ast.In, whole)), bool)
    return Part(call("contains", left.code, right.code), bool)


def _called(draft: Draft, op: str, left: Part, right: Part) -> Part:
    return Part(call(op, left.code, right.code), bool)


def _tag(draft: Draft, op: str, left: Part, right: Part) -> Part:
    return Part(call(op, left.code, right.code, _ENTITIES), bool if op == "has_tag" else None)


def _method_of_two(draft: Draft, op: str, left: Part, right: Part) -> Part:
    first, second, method = METHODS_OF_TWO[op]
    args = _extension(draft, left, first), _extension(draft, right, second)
    return Part(call(draft.constant(method), *args), _result(op))


def _method(draft: Draft, op: str, arg: Part) -> Part:
    kind, method = METHODS[op]
    return Part(call(draft.constant(method), _extension(draft, arg, kind)), _result(op))


def _result(op: str) -> Kind:
    return bool if op.startswith(("is_", "decimal_")) else None


def _construct(draft: Draft, op: str, arg: Part) -> Part:
    return Part(call("construct", draft.constant(op), arg.code), None)


def _not(draft: Draft, op: str, arg: Part) -> Part:
    return Part(negated(_boolean(draft, arg)), bool)


def _neg(draft: Draft, op: str, arg: Part) -> Part:
    return Part(call("long", ast.UnaryOp(ast.USub(), _integer(arg))), int)


def _is_empty(draft: Draft, op: str, arg: Part) -> Part:
    return Part(negated(call("elements", arg.code)), bool)


_UNARY: dict[str, Callable[[Draft, str, Part], Part]] = {
    **dict.fromkeys(CONSTRUCTORS, _construct),
    **dict.fromkeys(METHODS, _method),
    "not": _not,
    "neg": _neg,
    "is_empty": _is_empty,
}
_BINARY: dict[str, Callable[[Draft, str, Part, Part], Part]] = {
    "and": _and,
    "or": _or,
    "eq": _equal,
    "not_eq": _not_equal,
    **dict.fromkeys(("less", "less_eq", "greater", "greater_eq"), _less),
    **dict.fromkeys(_ARITHMETIC, _calculated),
    "in": _in,
    "contains": _contains,
    **dict.fromkeys(("contains_all", "contains_any"), _called),
    **dict.fromkeys(("get_tag", "has_tag"), _tag),
    **dict.fromkeys(METHODS_OF_TWO, _method_of_two),
}
_CHILDREN: dict[type, Callable[[Any], Sequence[pst.Expr]]] = {
    **dict.fromkeys((pst.BoolLit, pst.LongLit, pst.StringLit, pst.EntityLit, pst.Var), lambda node: ()),
    pst.UnaryOp: lambda node: (node.arg,),
    pst.BinaryOp: lambda node: (node.left, node.right),
    pst.GetAttr: lambda node: (node.base,),
    pst.HasAttr: lambda node: (node.base,),
    pst.Like: lambda node: (node.base,),
    pst.Is: lambda node: (node.base,) if node.in_expr is None else (node.base, node.in_expr),
    pst.IfThenElse: lambda node: (node.cond, node.then_expr, node.else_expr),
    pst.Set: lambda node: node.elements,
    pst.Record: lambda node: tuple(node.fields.values()),
}
"""Every node that is known here, and what lies within it."""
