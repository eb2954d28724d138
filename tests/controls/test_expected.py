"""Expected verdicts: complete or refused, and only ever improved upon."""

from __future__ import annotations

from pathlib import Path

import pytest

from redoubt.controls import Evidence, Finding, Outcome, Verdict, catalogue
from redoubt.controls.expected import ExpectationInvalid, compare, load

EXAMPLES = Path(__file__).parents[2] / "examples"
P, B, A, S = Verdict.PROVEN, Verdict.BROKEN, Verdict.NOT_APPLICABLE, Verdict.NOT_SHOWN


@pytest.mark.parametrize(
    ("expected", "found", "better"),
    [(B, P, True), (S, P, True), (A, P, True), (P, B, False), (P, S, False), (P, A, False), (S, B, False)]
    + [(A, B, False), (A, S, False), (B, S, False), (B, A, False), (S, A, False)],
)
def test_only_proving_more_is_an_improvement(expected: Verdict, found: Verdict, better: bool) -> None:
    (one,) = compare({"IDN-1": expected}, [Finding("IDN-1", found, "because")])
    assert (one.control, one.expected, one.found, one.better) == ("IDN-1", expected, found, better)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_what_was_expected_is_no_departure(verdict: Verdict) -> None:
    assert compare({"IDN-1": verdict}, [Finding("IDN-1", verdict, "because")]) == []


def test_a_verdict_of_proven_comes_from_evidence() -> None:
    shown = Finding.of("IDN-1", [Evidence("reuse a link", "no session", Outcome.HELD)])
    assert compare({"IDN-1": P}, [shown]) == []


@pytest.mark.parametrize("name", ["shop", "relay"])
def test_an_example_says_what_is_expected_of_every_control(name: str) -> None:
    assert load(EXAMPLES / name / "expected.yaml").keys() == {one.id for one in catalogue()}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "verdicts: 3",
        "verdicts: {IDN-1: proven}",
        "verdicts: {IDN-1: fine}",
        "verdicts: {XYZ-1: proven}",
        "a: [",
        "- 1",
    ],
)
def test_a_file_that_leaves_something_out_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "expected.yaml").write_text(text)
    with pytest.raises(ExpectationInvalid):
        load(tmp_path / "expected.yaml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExpectationInvalid):
        load(tmp_path / "expected.yaml")
