"""What compiled expressions call: Cedar's operations on values whose types are not known before.

Each raises CedarError where Cedar has no value, and nothing else: a KeyError within a compiled expression is a missing
attribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from .entities import Store
from .extensions import CONSTRUCTORS, long
from .values import CedarError, Ext, Ref, equal, key

_ORDERED = ("datetime", "duration")


def refuse() -> NoReturn:
    """Raise CedarError: a value is not of the type that its place needs."""
    raise CedarError("not of the type that is needed")


def entity(value: Any) -> Ref:
    """Return `value`, which is an entity."""
    if type(value) is Ref:
        return value
    raise CedarError("not an entity")


def elements(value: Any) -> frozenset[Any]:
    """Return `value`, which is a Set, as the keys of its elements."""
    if type(value) is frozenset:
        return value
    raise CedarError("not a Set")


def integer(value: Any) -> int:
    """Return `value`, which is a Long: a Bool is none."""
    if type(value) is int:
        return value
    raise CedarError("not a Long")


def text(value: Any) -> str:
    """Return `value`, which is a String."""
    if type(value) is str:
        return value
    raise CedarError("not a String")


def less(left: Any, right: Any) -> bool:
    """Say whether `left` is less: two Longs, two datetimes or two durations."""
    a, b = _ordered(left, right)
    return a < b


def less_eq(left: Any, right: Any) -> bool:
    """Say whether `left` is less or the same, as `less` does."""
    a, b = _ordered(left, right)
    return a <= b


def _ordered(left: Any, right: Any) -> tuple[int, int]:
    if type(left) is int and type(right) is int:
        return left, right
    if type(left) is Ext and type(right) is Ext and left.kind == right.kind and left.kind in _ORDERED:
        return left.value, right.value
    raise CedarError("not ordered")


def inside(ref: Ref, target: Any, entities: Store) -> bool:
    """Say whether `ref` is `target` or below it, where `target` is an entity or a set of entities."""
    node = entities.get(ref)
    if type(target) is Ref:
        return ref == target or (node is not None and target in node.ancestors)
    for item in elements(target):
        entity(item)
    return ref in target or (node is not None and not node.ancestors.isdisjoint(target))


def contains(whole: Any, value: Any) -> bool:
    """Say whether a Set has `value`."""
    if type(whole) is frozenset:
        return key(value) in whole
    raise CedarError("not a Set")


def contains_all(whole: Any, part: Any) -> bool:
    """Say whether a Set has all that another has."""
    return elements(whole) >= elements(part)


def contains_any(whole: Any, part: Any) -> bool:
    """Say whether a Set has anything that another has."""
    return not elements(whole).isdisjoint(elements(part))


def get_tag(value: Any, name: Any, entities: Store) -> Any:
    """Return an entity's tag."""
    node, known = entities.get(entity(value)), text(name)
    if node is None or known not in node.tags:
        raise CedarError("no such tag")
    return node.tags[known]


def has_tag(value: Any, name: Any, entities: Store) -> bool:
    """Say whether an entity has a tag; one that is absent has none."""
    node, known = entities.get(entity(value)), text(name)
    return node is not None and known in node.tags


def attributes(value: Any, entities: Store) -> Mapping[str, Any] | None:
    """Return what `value` has by name, None for an absent entity; raises CedarError for what has no attributes."""
    if type(value) is dict:
        return value
    node = entities.get(entity(value))
    return None if node is None else node.attrs


def get(value: Any, name: str, entities: Store) -> Any:
    """Return an attribute of a record or an entity."""
    found = attributes(value, entities)
    if found is None or name not in found:
        raise CedarError("no such attribute")
    return found[name]


def has(value: Any, names: tuple[str, ...], entities: Store) -> bool:
    """Say whether the first of `names` is there, within it the next, and so on."""
    for name in names:
        found = attributes(value, entities)
        if found is None or name not in found:
            return False
        value = found[name]
    return True


def construct(name: str, value: Any) -> Ext:
    """Return the extension value that a constructor makes of a String."""
    return CONSTRUCTORS[name](text(value))


OPERATIONS: dict[str, Any] = {
    "type": type,
    "bool": bool,
    "int": int,
    "str": str,
    "dict": dict,
    "frozenset": frozenset,
    "Ref": Ref,
    "Ext": Ext,
    "refuse": refuse,
    "entity": entity,
    "elements": elements,
    "integer": integer,
    "long": long,
    "key": key,
    "equal": equal,
    "less": less,
    "less_eq": less_eq,
    "inside": inside,
    "contains": contains,
    "contains_all": contains_all,
    "contains_any": contains_any,
    "get_tag": get_tag,
    "has_tag": has_tag,
    "get": get,
    "has": has,
    "construct": construct,
}
"""What a compiled expression may name."""
