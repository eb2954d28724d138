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

from redoubt.authz.models import AuthzRequest, Entity

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
