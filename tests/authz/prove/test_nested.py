"""Sets of sets: those that are written out are judged, those that are stored are not."""

from __future__ import annotations

import pytest

from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.prove import compare

SCHEMA = """
entity User;
entity Doc { groups: Set<Set<Long>>, labels: Set<String> };
action read appliesTo { principal: User, resource: Doc, context: { risk: Long } };
"""


def verdict(before: str, after: str) -> str:
    old, new = (
        parse(
            PolicySource(
                SCHEMA, {"p": f'@id("p") permit (principal, action, resource) when {{ {condition} }};'}
            )
        )
        for condition in (before, after)
    )
    return compare(old, new, budget_seconds=30).verdict


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("[[1, 2], [3]].contains([2, 1])", "true", "equal"),
        ("[[1, 2], [3]].contains([2, context.risk])", "context.risk == 1", "equal"),
        ("[[1, 2], [3]].contains([2, context.risk])", "context.risk <= 1", "wider"),
        ("context.risk <= 1", "[[1, 2], [3]].contains([2, context.risk])", "narrower"),
        ("[[1], [2]] == [[2], [context.risk]]", "context.risk == 1", "equal"),
        ("[[[1]]] == [[[context.risk]]]", "context.risk == 1", "equal"),
        ("[[1], [2]].containsAll([[context.risk]])", "context.risk == 1 || context.risk == 2", "equal"),
        ("resource.groups.contains([1])", "true", "unknown"),
        ("resource.groups == [[1]]", "false", "unknown"),
        ("[[1]] == resource.groups", "false", "unknown"),
        ("resource.groups.containsAny([[1], [2]])", "false", "unknown"),
    ],
)
def test_written_out_ones_are_judged_and_stored_ones_are_not(before: str, after: str, expected: str) -> None:
    assert verdict(before, after) == expected
