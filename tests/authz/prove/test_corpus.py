"""Cedar's published cases through the prover: the store asserted, its answer is the case's decision."""

from __future__ import annotations

import time
from typing import Any

import pytest
from attrs import frozen

from redoubt.authz.errors import UnreadablePolicy
from redoubt.authz.models import AuthzRequest, EntityUid
from redoubt.authz.policyset import unchecked
from redoubt.authz.prove.bounds import bound
from redoubt.authz.prove.errors import Unsupported
from redoubt.authz.schema import Environment, read_schema
from tests.authz import corpus

from .stores import answer


@frozen
class Tally:
    right: int
    outside: int
    unsupported: tuple[str, ...]
    wrong: tuple[str, ...]
    seconds: float


def _referred(request: AuthzRequest) -> set[EntityUid]:
    """The entities that attributes, tags or the context refer to."""
    waiting: list[Any] = [
        request.context,
        *(part for item in request.entities for part in (item.attrs, item.tags)),
    ]
    found: set[EntityUid] = set()
    while waiting:
        match waiting.pop():
            case EntityUid() as uid:
                found.add(uid)
            case dict() as record:
                waiting += record.values()
            case list() | tuple() | set() | frozenset() as items:
                waiting += items
    return found


def run(every: int) -> Tally:
    started = time.monotonic()
    right = outside = 0
    unsupported: list[str] = []
    wrong: list[str] = []
    for case in corpus.cases(every):
        if not case.should_validate:
            continue
        try:
            schema = read_schema(case.schema)
            checked = unchecked(case.policies, case.schema)
            items = list(bound(checked).values())
        except (ValueError, UnreadablePolicy) as error:
            unsupported.append(f"{case.name}: {error}")
            continue
        known = set(schema.environments())
        present = {entity.uid for entity in case.entities}
        seen: set[str] = set()
        for document in case.requests:
            mark = repr(
                {
                    key: value
                    for key, value in document.items()
                    if key in ("principal", "action", "resource", "context")
                }
            )
            if mark in seen:
                continue
            seen.add(mark)
            request = corpus.request(document, case.entities)
            environment = Environment(request.principal.type, request.action, request.resource.type)
            shape = schema.actions[request.action].context.attributes if environment in known else {}
            conforms = all(name in request.context for name, item in shape.items() if item.required)
            # A validated policy errs where it reads an entity that is not there, which the loader of entities rules out.
            there = {request.principal, request.resource} <= present
            there = there and not (document["errors"] and not _referred(request) <= present)
            if environment not in known or not conforms or not there:
                outside += 1
                continue
            try:
                got = answer(schema, items, request)
            except Unsupported as error:
                unsupported.append(f"{case.name}: {error}")
                continue
            if got == document["decision"]:
                right += 1
            else:
                wrong.append(f"{case.name} {document.get('description')}: {got}")
    return Tally(right, outside, tuple(unsupported), tuple(wrong), time.monotonic() - started)


def test_the_solver_decides_a_sample_of_the_published_cases_as_they_say() -> None:
    found = run(300)
    assert found.wrong == ()
    assert found.right > 50


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_solver_decides_all_published_cases_as_they_say() -> None:
    found = run(1)
    print(
        f"{found.right} right, {found.outside} outside of the assumptions, {len(found.unsupported)} unsupported"
    )
    assert found.wrong == ()
    assert len({item.split(":")[0] for item in found.unsupported}) <= 1
