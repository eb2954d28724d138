"""A question in canonical JSON, written in one pass: what an audit record keeps of a decision, and its digest.

The text is byte for byte that of `canonical_json(request.values())`. It is put together from the parts instead of
being encoded from a tree, as every guarded request pays for it; what an entity of the caller's own says is written
once and kept with the entity.
"""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring as quote
from typing import Any

from attrs import frozen

from redoubt.core.canonical import sha256_hex

from .models import MAX_DEPTH, MAX_LONG, MIN_LONG, AuthzRequest, Entity, EntityUid, Extension


@frozen
class Written:
    """The canonical JSON of a question, and its SHA-256 in hexadecimal."""

    text: str
    digest: str

    @classmethod
    def of(cls, request: AuthzRequest) -> Written:
        """Write `request`.

        Raises TypeError for a value that Cedar does not have (see `value_to_json`), and UnicodeEncodeError for text
        without a UTF-8 form.
        """
        entities = ",".join([entity_text(entity) for entity in request.entities])
        text = (
            f'{{"action":{uid_text(request.action)},"context":{value_text(request.context)},'
            f'"entities":[{entities}],"principal":{uid_text(request.principal)},'
            f'"resource":{uid_text(request.resource)}}}'
        )
        return cls(text, sha256_hex(text.encode()))


def uid_text(uid: EntityUid) -> str:
    """Return a uid in Cedar's JSON form."""
    return f'{{"id":{quote(uid.id)},"type":{quote(uid.type)}}}'


def entity_text(entity: Entity) -> str:
    """Return an entity in Cedar's JSON form."""
    kept = entity.kept
    if kept is not None and (known := kept.get("text")) is not None:
        return str(known)
    parents = ",".join([uid_text(parent) for parent in entity.parents])
    tags = f'"tags":{_fields(entity.tags, -1)},' if entity.tags else ""
    text = (
        f'{{"attrs":{_fields(entity.attrs, -1)},"parents":[{parents}],{tags}'
        f'"uid":{{"id":{quote(entity.id)},"type":{quote(entity.type)}}}}}'
    )
    if kept is not None:
        kept["text"] = text
    return text


def value_text(value: Any, depth: int = 0) -> str:
    """Return the canonical JSON of `value_to_json(value)`; raises TypeError where that does."""
    if depth > MAX_DEPTH:
        raise TypeError("a value nests too deeply")
    kind = type(value)
    if kind is str:
        return quote(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is EntityUid:
        return f'{{"__entity":{uid_text(value)}}}'
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int):
        if not MIN_LONG <= value <= MAX_LONG:
            raise TypeError("a number beyond 64 bits")
        return int.__repr__(value)
    if isinstance(value, Extension):
        args = ",".join([value_text(item, depth + 1) for item in value.args])
        given = f'"arg":{args}' if len(value.args) == 1 else f'"args":[{args}]'
        return f'{{"__extn":{{{given},"fn":{quote(value.fn)}}}}}'
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) or key.startswith("__") for key in value):
            raise TypeError("a record key that is not plain text")
        return _fields(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        items = [value_text(item, depth + 1) for item in value]
        if isinstance(value, set | frozenset):
            items.sort()
        return f"[{','.join(items)}]"
    raise TypeError(f"a value of the type {kind.__name__}")


def _fields(record: Mapping[str, Any], depth: int) -> str:
    names = sorted(record) if len(record) > 1 else record  # a name that is no text has no order among texts
    return f"{{{','.join([f'{quote(name)}:{value_text(record[name], depth + 1)}' for name in names])}}}"
