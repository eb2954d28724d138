"""The risk score: what a carried session, a hand-over and a stolen cookie look like."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.guard.risk import END, STEP_UP, RiskSignals, reaction, score

NETWORKS = ["none", "same-country", "unknown", "other-country", "other-continent"]
AGENTS = ["none", "version", "other"]
signals = st.builds(
    RiskSignals,
    network=st.sampled_from(NETWORKS),
    agent=st.sampled_from(AGENTS),
    known_device=st.booleans(),
    login_age=st.timedeltas(timedelta(0), timedelta(days=30)),
    recent_failures=st.integers(0, 50),
    anonymiser=st.booleans(),
)


@pytest.mark.parametrize(
    ("given_signals", "expected"),
    [
        (RiskSignals(), "tolerate"),
        (RiskSignals(network="same-country", login_age=timedelta(days=8)), "tolerate"),
        (RiskSignals(network="unknown", agent="version"), "tolerate"),
        (RiskSignals(network="other-continent"), "step-up"),
        (RiskSignals(network="other-country", known_device=False), "step-up"),
        (RiskSignals(agent="other"), "end"),
        (RiskSignals(network="other-continent", anonymiser=True, known_device=False), "end"),
    ],
)
def test_what_a_session_meets(given_signals: RiskSignals, expected: str) -> None:
    assert reaction(score(given_signals)) == expected


@given(signals)
def test_a_score_is_bounded_and_repeats(one: RiskSignals) -> None:
    assert 0 <= score(one) <= 100
    assert score(one) == score(one)


@given(
    signals,
    st.sampled_from(["network", "agent", "known_device", "login_age", "recent_failures", "anonymiser"]),
)
def test_a_graver_signal_never_lowers_the_score(one: RiskSignals, name: str) -> None:
    worst = {
        "network": "other-continent", "agent": "other", "known_device": False, "login_age": timedelta(days=30),
        "recent_failures": 50, "anonymiser": True,
    }  # fmt: skip
    assert score(attrs.evolve(one, **{name: worst[name]})) >= score(one)


def test_the_thresholds_are_ordered() -> None:
    assert 0 < STEP_UP < END <= 100
