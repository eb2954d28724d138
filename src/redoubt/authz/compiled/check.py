"""A request held to the schema before it is decided: types of principal and resource, and the whole context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..schema import (
    ActionType,
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
from .expressions import Question
from .values import CedarError, Ext, Ref, ref_of

Fits = Callable[[Any], bool]


class RequestChecker:
    """Holds requests to one schema; immutable and safe to share between threads."""

    def __init__(self, schema: Schema) -> None:
        """Prepare the checks of every action of `schema`."""
        self._enums = {
            name: frozenset(kind.enum) for name, kind in schema.entities.items() if kind.enum is not None
        }
        self._actions = {
            ref_of(uid): (action, record_fits(action.context, schema.entities))
            for uid, action in schema.actions.items()
        }

    def check(self, question: Question) -> None:
        """Raise CedarError unless the schema has this action for these types, and the context is as it says.

        As the reference engine does it: an attribute that the schema does not name is refused too.
        """
        found: tuple[ActionType, Fits] | None = self._actions.get(question.action)
        if found is None:
            raise CedarError("the schema does not know the action")
        action, context = found
        if question.principal.type not in action.principals:
            raise CedarError("the action is not for principals of this type")
        if question.resource.type not in action.resources:
            raise CedarError("the action is not for resources of this type")
        for ref in (question.principal, question.resource):
            ids = self._enums.get(ref.type)
            if ids is not None and ref.id not in ids:
                raise CedarError("the schema lists no entity of this id")
        if not context(question.context):
            raise CedarError("the context is not as the schema says")


def fits(kind: Type, entities: Mapping[str, EntityType], *, keyed: bool = False) -> Fits:
    """Return the test of one type; `keyed` is for elements of a set, which are kept by their keys."""
    match kind:
        case BoolType():
            if keyed:
                return lambda value: type(value) is tuple and value[0] == "bool"
            return lambda value: value is True or value is False
        case LongType():
            return lambda value: type(value) is int
        case StringType():
            return lambda value: type(value) is str
        case ExtensionType(name=name):
            return lambda value: type(value) is Ext and value.kind == name
        case EntityRef(name=name):
            known = entities.get(name)
            ids = None if known is None or known.enum is None else frozenset(known.enum)
            return lambda value: (
                type(value) is Ref and value.type == name and (ids is None or value.id in ids)
            )
        case SetType(element=element):
            inner = fits(element, entities, keyed=True)
            return lambda value: type(value) is frozenset and all(map(inner, value))
        case RecordType():
            return record_fits(kind, entities, keyed=keyed)


def record_fits(kind: RecordType, entities: Mapping[str, EntityType], *, keyed: bool = False) -> Fits:
    """Return the test of a record: the attributes that its type names, the required ones all there."""
    tests = {name: fits(item.type, entities, keyed=keyed) for name, item in kind.attributes.items()}
    required = frozenset(name for name, item in kind.attributes.items() if item.required)

    def run(value: Any) -> bool:
        if keyed:
            if type(value) is not tuple or value[0] != "record":
                return False
            value = dict(value[1])
        elif type(value) is not dict:
            return False
        if not required <= value.keys():
            return False
        for name, item in value.items():
            test = tests.get(name)
            if test is None or not test(item):
                return False
        return True

    return run
