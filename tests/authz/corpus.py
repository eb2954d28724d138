"""Cedar's published conformance cases, read from the archives in memory."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from attrs import evolve, frozen

from redoubt.authz.models import AuthzRequest, Entity, EntityUid, Extension
from redoubt.authz.schema import EntityRef, ExtensionType, RecordType, SetType, Type, read_schema

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "vectors"


def folder() -> Path:
    """Return the folder of the vectors; without it fail where CI is set, else skip."""
    root = Path(os.environ.get("REDOUBT_VECTORS") or _BESIDE) / "cedar"
    if not root.is_dir():
        why = f"the Cedar vectors are not at {root}: set REDOUBT_VECTORS"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return root


@frozen
class Case:
    name: str
    policies: Mapping[str, Mapping[str, Any]]
    text: str
    schema: str
    entities: tuple[Entity, ...]
    should_validate: bool
    requests: list[dict[str, Any]]


def cases(every: int = 1) -> Iterator[Case]:
    """Yield the hand-written cases and every n-th of the generated ones."""
    yield from _archive(folder() / "handwritten-tests.tar.gz", "tests/", 1)
    yield from _archive(folder() / "corpus-tests.tar.gz", "corpus-tests/", every)


def _archive(path: Path, prefix: str, every: int) -> Iterator[Case]:
    files: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                extracted = archive.extractfile(member)
                assert extracted is not None
                files[member.name.removeprefix("./")] = extracted.read()
    names = sorted(
        name
        for name in files
        if name.startswith(prefix) and name.endswith(".json") and not name.endswith(".entities.json")
    )
    for name in names[::every]:
        case = json.loads(files[name])
        text = files[case["policies"]].decode()
        yield Case(
            name,
            json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"],
            text,
            files[case["schema"]].decode(),
            tuple(Entity.from_json(item) for item in json.loads(files[case["entities"]])),
            case["shouldValidate"],
            case["requests"],
        )


def request(document: Mapping[str, Any], entities: tuple[Entity, ...]) -> AuthzRequest:
    """Return a case's request over the entities of its case."""
    return evolve(AuthzRequest.from_values({**document, "entities": []}), entities=entities)


def with_references(case: Case) -> tuple[Entity, ...]:
    """Return the entities, with the references of the hand-written ones said: they leave that to their schema."""
    if not case.name.startswith("tests/"):
        return case.entities
    return tuple(
        evolve(entity, attrs={name: _said(value) for name, value in entity.attrs.items()})
        for entity in case.entities
    )


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"type", "id"}:
            return EntityUid(value["type"], value["id"])
        return {name: _said(item) for name, item in value.items()}
    return [_said(item) for item in value] if isinstance(value, list) else value


def typed(case: Case) -> tuple[tuple[Entity, ...], list[AuthzRequest]]:
    """Return the entities and requests with every value of its own type.

    The hand-written cases leave references and extension values to their schema, as the reference engine allows.
    """
    if not case.name.startswith("tests/"):
        return case.entities, [request(document, case.entities) for document in case.requests]
    schema = read_schema(case.schema)
    entities = tuple(
        evolve(entity, attrs=_meant(dict(entity.attrs), schema.entities[entity.type].shape))
        if entity.type in schema.entities
        else entity
        for entity in case.entities
    )
    asked = [request(document, entities) for document in case.requests]
    return entities, [
        evolve(one, context=_meant(dict(one.context), schema.actions[one.action].context))
        if one.action in schema.actions
        else one
        for one in asked
    ]


def _meant(value: Any, kind: Type) -> Any:
    if isinstance(kind, ExtensionType) and isinstance(value, str):
        return Extension("ip" if kind.name == "ipaddr" else kind.name, (value,))
    if isinstance(kind, EntityRef) and isinstance(value, dict):
        return EntityUid(value["type"], value["id"])
    if isinstance(kind, SetType):
        return [_meant(item, kind.element) for item in value]
    if isinstance(kind, RecordType) and isinstance(value, dict):
        known = kind.attributes
        return {
            name: _meant(item, known[name].type) if name in known else item for name, item in value.items()
        }
    return value
