"""What a probe reads of the audit log: all that came since it began, and nothing of before."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import pytest
from attrs import define, field

from redoubt.verify.errors import Unshown
from redoubt.verify.lab import Lab
from redoubt.verify.probe import Trial
from redoubt.verify.probes.abuse import CAP_ALERT, alerts
from redoubt.verify.probes.trail import Trail
from redoubt.verify.target import Target

PAGE = 200


@define(eq=False)
class Log:
    """A log of entries, oldest first, read by pages of 200, newest first."""

    actions: list[str] = field(factory=list)
    paged: bool = True

    def command(self, name: str, /, before: str = "") -> subprocess.CompletedProcess[str]:
        end = int(before) if before else len(self.actions)
        start = max(0, end - PAGE)
        listed = [{"id": str(at), "action": self.actions[at]} for at in reversed(range(start, end))]
        text = json.dumps({"entries": listed, "next": str(start) if start else None})
        return subprocess.CompletedProcess([name], 0, text, "")

    @property
    def target(self) -> Target:
        return Target(commands={"audit_list": ["list"], **({"audit_before": ["list"]} if self.paged else {})})

    def trail(self) -> Trail:
        return Trail(self)  # type: ignore[arg-type]  # a lab as far as a log goes


def lab() -> Lab:
    world: Any = None
    return Lab(world, 0, Trial(), random.Random(0))


def test_an_alert_of_an_earlier_attack_is_not_this_one_s() -> None:
    log = Log(["threat.alert"] * 3)
    trail = log.trail()
    log.actions += ["payment.declined"]
    assert [one["action"] for one in trail.since()] == ["payment.declined"]
    assert alerts(lab(), trail, "alert", 0) == []


def test_an_alert_is_found_under_whatever_came_after_it() -> None:
    log = Log(["a"] * 500)
    trail = log.trail()
    log.actions += ["b"] * 10 + ["threat.alert"] + ["c"] * 700
    assert alerts(lab(), trail, "alert", 0) == ["threat.alert"]
    assert len(trail.since()) == 711


def test_a_captured_payment_tells_of_no_cap() -> None:
    log = Log()
    trail = log.trail()
    log.actions += [
        "payment.captured",
        "capability.used",
        "captcha.shown",
        "tenant.escaped",
        "paymentCaptured",
    ]
    assert alerts(lab(), trail, CAP_ALERT, 0) == []
    named = [
        "refund.cap",
        "refund_cap_met",
        "RefundCapReached",
        "capped",
        "payments.velocity",
        "anomaly.refunds",
        "alert",
    ]
    log.actions += named
    assert alerts(lab(), trail, CAP_ALERT, 0) == named[::-1]


@pytest.mark.parametrize("before", [0, 1, 19, 20, 21, 199, 200, 201])
@pytest.mark.parametrize("after", [0, 1, 179, 180, 200, 201])
def test_all_that_came_since_is_read_and_nothing_else(before: int, after: int) -> None:
    log = Log(["old"] * before)
    trail = log.trail()
    log.actions += ["new"] * after
    assert [one["action"] for one in trail.since()] == ["new"] * after


def test_a_log_that_cannot_be_read_on_shows_nothing() -> None:
    log = Log(["old"] * 30, paged=False)
    trail = log.trail()
    log.actions += ["new"] * 170
    assert len(trail.since()) == 170
    log.actions += ["new"] * 100
    with pytest.raises(Unshown, match="older entries"):
        trail.since()
