"""A question read in one pass: its values as Cedar's, held to the schema, and its canonical JSON beside them.

What a guarded request asks is nearly always plain: entities of known types whose attributes are text, numbers, truth
values and references. Such a question is gone through once instead of three times (text, values, schema). Whatever is
not plainly right raises `NotPlain` and is read step by step, which says what is wrong with it; the outcome is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json.encoder import encode_basestring as quote
from types import MappingProxyType
from typing import Any

from attrs import frozen

from ..models import AuthzRequest, Entity, EntityUid
from ..schema import BoolType, EntityRef, EntityType, LongType, RecordType, Schema, StringType, Type
from ..written import entity_text, uid_text, value_text
from .check import fits
from .conform import Conformer
from .entities import Node
from .question import Question
from .values import MAX_LONG, MIN_LONG, Ref, ref_of, value_of

_NOTHING: dict[str, Any] = {}
_NOBODY: frozenset[Ref] = frozenset()
_ABSENT = object()

ReadValue = Callable[[Any], tuple[Any, str]]
"""Returns a value as Cedar's and in canonical JSON; raises NotPlain where it is not plainly of its type."""


class NotPlain(Exception):
    """This question is to be read step by step."""


@frozen
class _Action:
    node: Node
    text: str
    principals: frozenset[str]
    resources: frozenset[str]
    context: ReadValue


class OnePass:
    """Reads questions under one schema; immutable and safe to share between threads."""

    def __init__(self, schema: Schema, conformer: Conformer) -> None:
        """Prepare a reader for every action's context and every entity type of `schema`."""
        self._conformer = conformer
        self._actions = {
            ref_of(uid): _Action(
                Node({}, {}, frozenset(map(ref_of, schema.action_ancestors(uid)))),
                uid_text(uid),
                frozenset(action.principals),
                frozenset(action.resources),
                _record(action.context, schema.entities, 1),
            )
            for uid, action in schema.actions.items()
        }
        self._types = {
            name: _record(kind.shape, schema.entities, 0)
            for name, kind in schema.entities.items()
            if kind.enum is None
        }
        self._action_types = frozenset(uid.type for uid in schema.actions)

    def read(self, request: AuthzRequest) -> tuple[Question, str]:
        """Return the question and its canonical JSON; raises NotPlain, or anything else, where it is not plain."""
        named, asker, target = request.action, request.principal, request.resource
        action = Ref(named.type, named.id)
        known = self._actions.get(action)
        if (
            known is None
            or asker.type not in known.principals
            or target.type not in known.resources
            or asker.type not in self._types
            or target.type not in self._types
        ):
            raise NotPlain
        context, context_text = known.context(request.context)
        store: dict[Ref, Node] = {action: known.node}
        texts = []
        for entity in request.entities:
            ref = Ref(entity.type, entity.id)
            if ref in store or entity.type in self._action_types:
                raise NotPlain
            kept = entity.kept
            if kept is None:
                node, text = self._made(entity)
            elif (made := kept.get("one-pass")) is not None and made[0] is self:
                _, node, text = made
            else:
                node, text = self._conformer.node(entity), entity_text(entity)
                kept["one-pass"] = self, node, text
            store[ref] = node
            texts.append(text)
        for node in store.values():
            if not node.ancestors.isdisjoint(
                store
            ):  # a parent that may have parents: the ancestors must be closed
                raise NotPlain
        text = (
            f'{{"action":{known.text},"context":{context_text},"entities":[{",".join(texts)}],'
            f'"principal":{{"id":{quote(asker.id)},"type":{quote(asker.type)}}},'
            f'"resource":{{"id":{quote(target.id)},"type":{quote(target.type)}}}}}'
        )
        return Question(Ref(asker.type, asker.id), action, Ref(target.type, target.id), context, store), text

    def _made(self, entity: Entity) -> tuple[Node, str]:
        if entity.tags or entity.parents:
            return self._conformer.node(entity), entity_text(entity)
        read = self._types.get(entity.type)
        if read is None:
            raise NotPlain
        attrs, text = read(entity.attrs)
        uid = f'"uid":{{"id":{quote(entity.id)},"type":{quote(entity.type)}}}'
        return Node(attrs, _NOTHING, _NOBODY), f'{{"attrs":{text},"parents":[],{uid}}}'


def _record(kind: RecordType, entities: Mapping[str, EntityType], depth: int) -> ReadValue:
    """Return the reader of a record of exactly these attributes; `depth` is theirs."""
    fields = [
        (name, f"{quote(name)}:", item.required, _value(item.type, entities, depth))
        for name, item in sorted(kind.attributes.items())
        if not name.startswith("__")
    ]

    def read(record: Any) -> tuple[dict[str, Any], str]:
        if type(record) is not dict and type(record) is not MappingProxyType:
            raise NotPlain
        values: dict[str, Any] = {}
        texts = []
        for name, written, required, read_value in fields:
            item = record.get(name, _ABSENT)
            if item is _ABSENT:
                if required:
                    raise NotPlain
                continue
            values[name], text = read_value(item)
            texts.append(written + text)
        if len(values) != len(record):  # an attribute that the schema does not name
            raise NotPlain
        return values, f"{{{','.join(texts)}}}"

    return read


def _value(kind: Type, entities: Mapping[str, EntityType], depth: int) -> ReadValue:
    match kind:
        case StringType():
            return _text
        case LongType():
            return _long
        case BoolType():
            return _bool
        case EntityRef(name=name) if name in entities and entities[name].enum is None:
            return _reference(name)
    test = fits(kind, entities)

    def read(value: Any) -> tuple[Any, str]:
        found = value_of(value, depth)
        if not test(found):
            raise NotPlain
        return found, value_text(value, depth)

    return read


def _text(value: Any) -> tuple[Any, str]:
    if type(value) is not str:
        raise NotPlain
    return value, quote(value)


def _long(value: Any) -> tuple[Any, str]:
    if type(value) is not int or not MIN_LONG <= value <= MAX_LONG:
        raise NotPlain
    return value, repr(value)


def _bool(value: Any) -> tuple[Any, str]:
    if value is True:
        return True, "true"
    if value is False:
        return False, "false"
    raise NotPlain


def _reference(name: str) -> ReadValue:
    rest = f',"type":{quote(name)}}}}}'

    def read(value: Any) -> tuple[Any, str]:
        if type(value) is not EntityUid or value.type != name:
            raise NotPlain
        return Ref(name, value.id), f'{{"__entity":{{"id":{quote(value.id)}{rest}'

    return read
