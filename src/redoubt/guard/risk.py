"""The risk of a request: a pure function of what changed since its session began.

| signal | weight | why |
| --- | --- | --- |
| network: same country | 10 | a phone that leaves the Wi-Fi: common, harmless alone |
| network: other country | 25 | travel or a VPN |
| network: other continent | 45 | steps up by itself: cookies travel faster than people |
| network: unknown geography | 15 | changed, and no data about where to |
| agent: newer version | 5 | browsers update themselves |
| agent: other browser or system | 75 | a session does not move between browsers: ends it |
| device: unknown | 20 | no login with a passkey from this browser before |
| login older than 12 hours / 7 days | 5 / 10 | the longer a cookie lives, the likelier it was copied |
| failures lately, each (at most 5) | 4 | somebody is trying |
| anonymising network | 20 | |

From 40 a risky action wants a fresh passkey (`STEP_UP`), from 75 the session ends (`END`). The numbers are sums, capped
at 100, so that two small signals never outweigh one grave one by accident: see the table's tests.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from attrs import frozen

NetworkChange = Literal["none", "same-country", "unknown", "other-country", "other-continent"]
AgentChange = Literal["none", "version", "other"]
Reaction = Literal["tolerate", "step-up", "end"]

STEP_UP = 40
END = 75

_NETWORK: dict[NetworkChange, int] = {
    "none": 0, "same-country": 10, "unknown": 15, "other-country": 25, "other-continent": 45,
}  # fmt: skip
_AGENT: dict[AgentChange, int] = {"none": 0, "version": 5, "other": 75}
_UNKNOWN_DEVICE = 20
_ANONYMISER = 20
_FAILURE, _FAILURES_COUNTED = 4, 5
_LOGIN_AGE = 5
LOGIN_AGES = (timedelta(hours=12), timedelta(days=7))
"""From how old a login on a session counts for more: nothing else of its age matters."""


@frozen
class RiskSignals:
    """What differs between a request and the login that began its session."""

    network: NetworkChange = "none"
    agent: AgentChange = "none"
    known_device: bool = True
    login_age: timedelta = timedelta(0)
    recent_failures: int = 0
    anonymiser: bool = False


def score(signals: RiskSignals) -> int:
    """Return the risk of these signals from 0 (none) to 100; more or graver signals never lower it."""
    total = _NETWORK[signals.network] + _AGENT[signals.agent]
    total += 0 if signals.known_device else _UNKNOWN_DEVICE
    total += _ANONYMISER if signals.anonymiser else 0
    total += _LOGIN_AGE * sum(signals.login_age >= since for since in LOGIN_AGES)
    total += _FAILURE * max(0, min(signals.recent_failures, _FAILURES_COUNTED))
    return min(100, total)


def reaction(risk: int) -> Reaction:
    """Return what a risk calls for."""
    return "end" if risk >= END else "step-up" if risk >= STEP_UP else "tolerate"
