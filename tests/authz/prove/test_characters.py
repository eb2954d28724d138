"""Characters that solvers do not have are told apart in a proof, and a witness shows them as they are."""

from __future__ import annotations

import pytest

from redoubt.authz.prove import compare_under
from redoubt.authz.prove.characters import FREE, read_back, stand_in
from redoubt.authz.prove.errors import Unsupported

from .docs_app import SCHEMA, policies

FAR, OTHER = "\U00030c37", "\U0010fffd"


def verdict(before: str, after: str) -> str:
    old, new = (
        policies(f'permit (principal, action == Action::"read", resource) when {{ {condition} }};')
        for condition in (before, after)
    )
    found = compare_under(old, SCHEMA, new, SCHEMA, budget_seconds=30)
    if found.verdict == "wider":
        (witness,) = {repr(item.witness) for item in found.environments if item.witness is not None}
        assert FREE not in witness
    return found.verdict


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (f'resource.org == "{FAR}"', f'resource.org == "{FAR}"', "equal"),
        (f'resource.org == "{FAR}"', f'resource.org == "{OTHER}"', "wider"),
        (f'resource.org == "a{FAR}b"', f'resource.org like "a{FAR}*"', "wider"),
        (f'resource.org like "a{FAR}*"', f'resource.org == "a{FAR}b"', "narrower"),
        (f'resource.org like "*{FAR}*"', f'resource.org like "*{FAR}*" && resource.org != ""', "equal"),
        (f'resource.org like "*{FAR}*{OTHER}*"', f'resource.org like "*{OTHER}*{FAR}*"', "wider"),
    ],
)
def test_texts_with_them_are_judged(before: str, after: str, expected: str) -> None:
    assert verdict(before, after) == expected


def test_each_has_one_of_its_own_and_comes_back() -> None:
    assert stand_in(FAR) == stand_in(FAR) != stand_in(OTHER)
    assert read_back(f"x{stand_in(FAR)}{stand_in(OTHER)}") == f"x{FAR}{OTHER}"
    with pytest.raises(Unsupported):
        stand_in(FREE)


def test_a_text_that_holds_a_stand_in_is_not_judged_wrongly() -> None:
    assert verdict(f'resource.org == "{FREE}"', f'resource.org == "{FAR}"') == "unknown"
