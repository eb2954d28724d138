"""How attacks add up to the one verdict of a control."""

from __future__ import annotations

import pytest

from redoubt.controls import Evidence, Finding, Outcome, Verdict

H, B, U = Outcome.HELD, Outcome.BROKE, Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([], Verdict.NOT_SHOWN),
        ([H], Verdict.PROVEN),
        ([H, H], Verdict.PROVEN),
        ([H, U], Verdict.NOT_SHOWN),
        ([U], Verdict.NOT_SHOWN),
        ([H, B], Verdict.BROKEN),
        ([U, B], Verdict.BROKEN),
    ],
)
def test_one_success_breaks_and_one_open_question_leaves_it_not_shown(
    outcomes: list[Outcome], verdict: Verdict
) -> None:
    evidence = [Evidence(f"attack {n}", "oracle", one, "what was seen") for n, one in enumerate(outcomes)]
    finding = Finding.of("IDN-1", evidence)
    assert finding.verdict is verdict
    assert finding.reason


def test_a_proven_verdict_names_its_attacks() -> None:
    finding = Finding.of("IDN-1", [Evidence("reuse a link", "no session", H)])
    assert "reuse a link" in finding.reason


def test_a_finding_becomes_json() -> None:
    finding = Finding.of("IDN-1", [Evidence("reuse a link", "no session", B, "a session came back")])
    data = finding.as_json()
    assert data["verdict"] == "broken"
    assert data["evidence"][0]["outcome"] == "broke"
