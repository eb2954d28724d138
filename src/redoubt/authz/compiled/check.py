"""A request held to the schema before it is decided: types of principal and resource, and the whole context."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from attrs import frozen

from ..schema import (
    BoolType,
    EntityRef,
    EntityType,
    ExtensionType,
    LongType,
    RecordType,
    Schema,
    SetType,
    StringType,
    Type,
)
from .python import (
    Draft,
    Later,
    all_of,
    any_of,
    attribute,
    calculated,
    call,
    compared,
    is_a,
    item,
    let,
    load,
    negated,
)
from .question import Question
from .values import CedarError, Ext, Ref, ref_of

Fits = Callable[[Any], bool]


class _Action(NamedTuple):
    principals: frozenset[str]
    resources: frozenset[str]
    context: Later


class RequestChecker:
    """Holds requests to one schema; immutable and safe to share between threads."""

    def __init__(self, schema: Schema) -> None:
        """Prepare the checks of every action of `schema`; each is compiled when it is first asked."""
        self._enums = {
            name: frozenset(kind.enum) for name, kind in schema.entities.items() if kind.enum is not None
        }
        self._actions = {
            ref_of(uid): _Action(
                frozenset(action.principals),
                frozenset(action.resources),
                Later(partial(fits, action.context, schema.entities)),
            )
            for uid, action in schema.actions.items()
        }

    def check(self, question: Question) -> None:
        """Raise CedarError unless the schema has this action for these types, and the context is as it says.

        As the reference engine does it: an attribute that the schema does not name is refused too.
        """
        action = self._actions.get(question.action)
        if action is None:
            raise CedarError("the schema does not know the action")
        principal, resource = question.principal, question.resource
        if principal.type not in action.principals:
            raise CedarError("the action is not for principals of this type")
        if resource.type not in action.resources:
            raise CedarError("the action is not for resources of this type")
        if self._enums:
            for ref in (principal, resource):
                ids = self._enums.get(ref.type)
                if ids is not None and ref.id not in ids:
                    raise CedarError("the schema lists no entity of this id")
        if not action.context.run(question.context):
            raise CedarError("the context is not as the schema says")


_NAMES = {
    "type": type,
    "len": len,
    "map": map,
    "all": all,
    "bool": bool,
    "int": int,
    "str": str,
    "dict": dict,
    "tuple": tuple,
    "frozenset": frozenset,
    "Ref": Ref,
    "Ext": Ext,
}


def fits(kind: Type, entities: Mapping[str, EntityType], *, keyed: bool = False) -> Fits:
    """Return the test of one type; `keyed` is for elements of a set, which are kept by their keys.

    A record has the attributes that its type names and no others, the required ones all there.
    """
    draft, value = Draft(_NAMES), load("value")
    return draft.function(("value",), _Test(draft, entities, keyed).of(kind, value, value))


@frozen
class _Test:
    """Tests of types as expressions."""

    draft: Draft
    entities: Mapping[str, EntityType]
    keyed: bool

    def of(self, kind: Type, first: ast.expr, again: ast.expr) -> ast.expr:
        """Return the test of a value: `first` is evaluated once and before `again`, which says the same."""
        match kind:
            case BoolType():
                return self._marked("bool", first, again) if self.keyed else is_a(first, "bool")
            case LongType():
                return is_a(first, "int")
            case StringType():
                return is_a(first, "str")
            case ExtensionType(name=name):
                return all_of(is_a(first, "Ext"), self._is(attribute(again, "kind"), name))
            case EntityRef(name=name):
                tests = [is_a(first, "Ref"), self._is(attribute(again, "type"), name)]
                known = self.entities.get(name)
                if known is not None and known.enum is not None:
                    ids = self.draft.constant(frozenset(known.enum))
                    tests.append(compared(attribute(again, "id"), ast.In, ids))
                return all_of(*tests)
            case SetType(element=element):
                inner = self.draft.constant(fits(element, self.entities, keyed=True))
                return all_of(is_a(first, "frozenset"), call("all", call("map", inner, again)))
            case RecordType() if self.keyed:
                record, pairs = self.draft.local(), item(again, self.draft.constant(1))
                made = is_a(let(record, call("dict", pairs)), "dict")
                return all_of(
                    self._marked("record", first, again), made, *self._attributes(kind, load(record))
                )
            case RecordType():
                return all_of(is_a(first, "dict"), *self._attributes(kind, again))

    def _is(self, value: ast.expr, text: str) -> ast.expr:
        return compared(value, ast.Eq, self.draft.constant(text))

    def _marked(self, mark: str, first: ast.expr, again: ast.expr) -> ast.expr:
        return all_of(is_a(first, "tuple"), self._is(item(again, self.draft.constant(0)), mark))

    def _attributes(self, kind: RecordType, value: ast.expr) -> Iterator[ast.expr]:
        """Yield the tests of a record: it has as many attributes as are known, and each is as it must be."""
        count = self.draft.constant(sum(one.required for one in kind.attributes.values()))
        tests = []
        for name, one in kind.attributes.items():
            key, local = self.draft.constant(name), self.draft.local()
            there = compared(key, ast.In, value)
            right = self.of(one.type, let(local, item(value, key)), load(local))
            if one.required:
                tests.append(all_of(there, right))
            else:
                count = calculated(count, ast.Add, there)
                tests.append(any_of(negated(there), right))
        yield compared(call("len", value), ast.Eq, count)
        yield from tests
