"""Our reader and Cedar's read the same out of the same schema."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from redoubt.authz.models import EntityUid
from redoubt.authz.schema import (
    BoolType,
    EntityRef,
    ExtensionType,
    LongType,
    RecordType,
    Schema,
    SchemaError,
    SetType,
    StringType,
    read_schema,
)
from redoubt.authz.schema.types import Type
from tests.authz.corpus import folder
from tests.support import cedar_wasm

EXTENSIONS = ("ipaddr", "decimal", "datetime", "duration")


def schemas(every: int) -> Iterator[tuple[str, str]]:
    """Yield the hand-written schemas and every n-th of the generated ones, each text once."""
    seen = set()
    for name, step in (("handwritten-tests", 1), ("corpus-tests", every)):
        with tarfile.open(folder() / f"{name}.tar.gz") as archive:
            # In the archive's order: going back in a compressed file starts again at its beginning.
            found = 0
            for member in archive:
                if not (member.isfile() and member.name.endswith(".cedarschema")):
                    continue
                found += 1
                if found % step:
                    continue
                extracted = archive.extractfile(member)
                assert extracted is not None
                text = extracted.read().decode()
                if text not in seen:
                    seen.add(text)
                    yield member.name, text


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cedar_wasm.install(tmp_path_factory.mktemp("cedar-wasm"))


def shown(kind: Type) -> Any:
    """Return a type of ours as plain data."""
    match kind:
        case BoolType():
            return "Bool"
        case LongType():
            return "Long"
        case StringType():
            return "String"
        case ExtensionType(name):
            return name
        case EntityRef(name):
            return {"entity": name}
        case SetType(element):
            return {"set": shown(element)}
        case RecordType(attributes):
            return {
                name: [shown(item.type), item.required, dict(item.annotations)]
                for name, item in attributes.items()
            }


def theirs(kind: dict[str, Any], commons: dict[str, Any]) -> Any:
    """Return a type of Cedar's as the same plain data."""
    name = kind["type"]
    if name == "Entity":
        return {"entity": kind["name"]}
    if name == "Set":
        return {"set": theirs(kind["element"], commons)}
    if name == "Record":
        return {
            key: [theirs(item, commons), item.get("required", True), item.get("annotations", {})]
            for key, item in kind["attributes"].items()
        }
    if name in commons:
        return theirs(commons[name], commons)
    plain = name.removeprefix("__cedar::")
    assert plain in ("Bool", "Long", "String", *EXTENSIONS)
    return plain


def assert_same(name: str, schema: Schema, peer_form: dict[str, Any]) -> None:
    def full(space: str, short: str) -> str:
        return f"{space}::{short}" if space else short

    commons = {
        full(space, short): body
        for space, part in peer_form.items()
        for short, body in part.get("commonTypes", {}).items()
    }
    empty: dict[str, Any] = {"type": "Record", "attributes": {}}
    entities = {
        full(space, short): (
            set(body.get("memberOfTypes", [])),
            theirs(body.get("shape", empty), commons),
            theirs(body["tags"], commons) if "tags" in body else None,
            tuple(body["enum"]) if "enum" in body else None,
            body.get("annotations", {}),
        )
        for space, part in peer_form.items()
        for short, body in part["entityTypes"].items()
    }
    assert {
        key: (
            set(item.member_of),
            shown(item.shape),
            None if item.tags is None else shown(item.tags),
            item.enum,
            dict(item.annotations),
        )
        for key, item in schema.entities.items()
    } == entities, name
    actions = {}
    for space, part in peer_form.items():
        for short, body in part["actions"].items():
            applies = body.get("appliesTo", {})
            actions[EntityUid(full(space, "Action"), short)] = (
                {EntityUid(item["type"], item["id"]) for item in body.get("memberOf", [])},
                set(applies.get("principalTypes", [])),
                set(applies.get("resourceTypes", [])),
                theirs(applies.get("context", empty), commons),
                body.get("annotations", {}),
            )
    assert {
        uid: (
            set(item.member_of),
            set(item.principals),
            set(item.resources),
            shown(item.context),
            dict(item.annotations),
        )
        for uid, item in schema.actions.items()
    } == actions, name


def compare(peer: Path, every: int) -> int:
    cases = list(schemas(every))
    for (name, text), peer_form in zip(
        cases, cedar_wasm.resolved(peer, [text for _, text in cases]), strict=True
    ):
        if not accepted(text):
            with pytest.raises(SchemaError):
                read_schema(text)
            continue
        assert peer_form is not None, name
        mine = read_schema(text)
        assert_same(name, mine, peer_form)
        # The JSON form that Cedar writes of it reads back as the same.
        assert read_schema(json.dumps(json_form(peer_form))) == mine, name
    return len(cases)


def json_form(peer_form: dict[str, Any]) -> dict[str, Any]:
    return {space: {"entityTypes": {}, "actions": {}, **part} for space, part in peer_form.items()}


def accepted(text: str) -> bool:
    read = cedarpy.Schema.from_json_str if text.lstrip().startswith("{") else cedarpy.Schema.from_str
    try:
        read(text)
    except ValueError:
        return False
    return True


def test_schemas_of_the_corpus_read_as_cedar_reads_them(peer: Path) -> None:
    assert compare(peer, 25) > 100


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_every_schema_of_the_corpus_reads_as_cedar_reads_it(peer: Path) -> None:
    assert compare(peer, 1) > 3000


HUMAN = [
    "",
    "namespace N {}",
    "entity A; type A = Long; entity B {a: A};",
    "namespace N {entity A; type A = Long; entity B {a: A};}",
    "entity Long; entity A {i: Long};",
    "type ipaddr = Long; entity A {i: ipaddr};",
    "entity A {a: __cedar::Long, b: __cedar::ipaddr};",
    "entity String {a: Long}; type L = String; entity A {s: String};",
    "type T = A; entity A; entity B {t: T};",
    "entity type; entity namespace; entity entity; entity action; entity enum; entity tags; entity Set;",
    "entity principal, context, resource, appliesTo, attributes;",
    r'entity A {"a\nb\u{1F600}\x41\0\"": Long};',
    'entity A {"if": Long, inner: Long, entityB: Set<Set<A>>,};',
    'action ""; action Action; action x in Action;',
    'namespace N { action x in y; action z in Action::"y"; } action y;',
    'namespace N {action y in Action::"x"; action x in N::Action::"y2"; action y2;}',
    "namespace N::M {entity A;} namespace N {entity A in N::M::A;}",
    '@a("") @in @if("b") entity A in [] = {@n x?: Long} tags {a?: Long};',
    'entity E enum ["a", "b"]; entity B in E;',
    "type T = {}; entity A; action x appliesTo {principal: A, resource: [A, A], context: T,} attributes {};",
    "// words\nentity A; // more",
    "entity A {x: Long, x: String};",
]
REFUSED = [
    "entity A {b: Boolean};",
    "entity Action;",
    "entity A; action x appliesTo {principal: [], resource: A};",
    "entity A; action x appliesTo {principal: A};",
    "entity A; action x appliesTo {principal: A, principal: A, resource: A};",
    "entity A = {}; namespace N {entity A;}",
    "type A = Long; namespace N {entity A;}",
    "namespace N { action x; } action x;",
    "entity A; action x, x;",
    "entity in;",
    "entity is;",
    "entity A {if: Long};",
    "entityA;",
    "type Bool = Long;",
    "entity A; entity A;",
    "namespace N {} namespace N {}",
    "namespace __cedar {entity A;}",
    "entity __cedar;",
    "entity A enum [];",
    "@a @a entity A;",
    "entity A,;",
    "action a in b; action b in a;",
    'action x in Action::"x";',
    "type T = {a: T};",
    "type datetime = {a: datetime};",
    "type T = Long; entity A; action x appliesTo {principal: A, resource: A, context: T};",
    "type T = A; entity A; entity B in T;",
    "entity A in Action;",
    'entity A; action z in Foo::"y";',
    "entity A tags Set;",
    "entity A {x: Unknown};",
    "entity A; /* x */",
    r'action "\q";',
    r'action "\u{110000}";',
    '{"N": {"entityTypes": {}, "actions": {"x": {"appliesTo": {"principalTypes": []}}}}}',
    '{"N": {"entityTypes": {}, "actions": {"x": {"memberOf": [{"id": "x"}]}}}}',
    '{"N": {"entityTypes": {}, "actions": {"x": {"attributes": {"a": 1}}}}}',
    '{"N": {"entityTypes": {}}}',
    '{"N": {"entityTypes": {"A": {"enum": []}}, "actions": {}}}',
    '{"N": {"entityTypes": {"A": {}, "A": {}}, "actions": {}}}',
    '{"a b": {"entityTypes": {}, "actions": {}}}',
    '{"N": {"entityTypes": {"A": {"foo": 1}}, "actions": {}}}',
]


@pytest.mark.parametrize("text", HUMAN)
def test_what_cedar_accepts_reads_the_same(peer: Path, text: str) -> None:
    assert accepted(text)
    (peer_form,) = cedar_wasm.resolved(peer, [text])
    assert peer_form is not None
    assert_same(text, read_schema(text), peer_form)


@pytest.mark.parametrize("text", REFUSED)
def test_what_cedar_refuses_is_refused(text: str) -> None:
    assert not accepted(text)
    with pytest.raises(SchemaError):
        read_schema(text)


def test_faults_are_placed() -> None:
    with pytest.raises(SchemaError, match="app.cedarschema:3:3: ") as caught:
        read_schema("entity A;\n// b\n  x entity B;", "app.cedarschema")
    assert (caught.value.line, caught.value.column) == (3, 3)
