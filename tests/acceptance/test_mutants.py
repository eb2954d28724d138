"""Remove a guard, and verify says broken: a verdict of proven is worth as much as this."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import ALL, PROVEN, Mutant, quick
from tests.mutants.harness import Bench

pytestmark = pytest.mark.xdist_group("acceptance")


@pytest.fixture(scope="module")
def bench(built_shop: Path, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(built_shop, tmp_path_factory.mktemp("mutants"), postgres_url)


def named(mutants: list[Mutant]) -> list[object]:
    return [pytest.param(one, id=one.id) for one in mutants]


def test_every_proven_control_has_a_mutant() -> None:
    assert {one.control for one in ALL} == set(PROVEN)
    assert len({one.id for one in ALL}) == len(ALL)


@pytest.mark.parametrize("mutant", named(list(ALL)))
def test_a_mutant_changes_what_it_says(bench: Bench, mutant: Mutant) -> None:
    bench.fits(mutant)


@pytest.fixture(scope="module")
def proven(bench: Bench) -> Bench:
    """The bench once the quick mutants' controls are proven where nothing is mutated: a probe that always cries proves nothing."""
    for postgresql in (False, True):
        bench.prove(
            sorted({one.control for one in quick() if one.postgresql == postgresql}), postgresql=postgresql
        )
    return bench


@pytest.mark.timeout(900)
def test_what_the_quick_mutants_break_is_proven_without_them(proven: Bench) -> None:
    """Least privilege among it, on SQLite and on PostgreSQL, where each process has a role of its own."""
    found = proven.found
    assert {one: found[one]["reason"] for one in found if found[one]["verdict"] != "proven"} == {}
    assert ("AUZ-5", True) in found
    (evidence,) = [
        one for one in found["AUZ-5", True]["evidence"] if one["attack"].startswith("compare what app")
    ]
    assert "SQLite" not in evidence["attack"]


@pytest.mark.timeout(900)  # the first of them also proves the controls where nothing is mutated
@pytest.mark.parametrize("mutant", named(quick()))
def test_verify_sees_that_a_guard_is_gone(proven: Bench, mutant: Mutant) -> None:
    result = proven.run(mutant)
    assert result.state == "killed", result.reason


@pytest.fixture(scope="module")
def all_proven(bench: Bench) -> Bench:
    bench.prove(PROVEN)
    bench.prove(sorted({one.control for one in ALL if one.postgresql}), postgresql=True)
    return bench


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", named([one for one in ALL if not one.quick]))
def test_verify_sees_that_any_guard_is_gone(all_proven: Bench, mutant: Mutant) -> None:
    result = all_proven.run(mutant)
    assert result.state == "killed", result.reason
