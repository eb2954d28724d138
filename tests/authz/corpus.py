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
from attrs import frozen

from redoubt.authz.models import AuthzRequest, Entity, EntityUid, Extension

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
            tuple(entity(item) for item in json.loads(files[case["entities"]])),
            case["shouldValidate"],
            case["requests"],
        )


def uid(document: Mapping[str, Any]) -> EntityUid:
    document = document.get("__entity", document)
    return EntityUid(document["type"], document["id"])


def entity(document: Mapping[str, Any]) -> Entity:
    named = uid(document["uid"])
    return Entity(
        named.type,
        named.id,
        {key: value(item) for key, item in document["attrs"].items()},
        tuple(uid(parent) for parent in document["parents"]),
        {key: value(item) for key, item in document.get("tags", {}).items()},
    )


def value(document: Any) -> Any:
    if isinstance(document, dict):
        if "__entity" in document:
            return uid(document)
        if "__extn" in document:
            inner = document["__extn"]
            args = inner["args"] if "args" in inner else [inner["arg"]]
            return Extension(inner["fn"], tuple(value(item) for item in args))
        return {key: value(item) for key, item in document.items()}
    if isinstance(document, list):
        return [value(item) for item in document]
    return document


def request(document: Mapping[str, Any], entities: tuple[Entity, ...]) -> AuthzRequest:
    return AuthzRequest(
        uid(document["principal"]),
        uid(document["action"]),
        uid(document["resource"]),
        {key: value(item) for key, item in document["context"].items()},
        entities,
    )
