"""Refund abuse, tried at a till of our own making: what the probe must bear with, and what it must not."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from redoubt.controls import Evidence, Outcome
from redoubt.verify.browser import Answer
from redoubt.verify.lab import Lab
from redoubt.verify.masking import Masker
from redoubt.verify.probe import Trial
from redoubt.verify.probes import abuse

AMOUNT = 4200


def answer(status: int, **members: Any) -> Answer:
    return Answer(status, httpx.Headers(), json.dumps(members).encode(), "", ())


class Till:
    """A shop that sells one thing, and a service that refunds what somebody approved whose key it has heard of.

    It hears of a key when it is first used: what was asked for before that stays refused.
    """

    keys_are_late = True
    refunds_are_bounded = True

    def __init__(self, lab: Lab) -> None:
        names = {"payment_id": "payment_id", "redirect": "redirect_url", "approval_id": "approval_id"}
        self.money = SimpleNamespace(
            **names, refund_by="support", resource="Order", by="customer", payment=None
        )
        self._asked: dict[str, tuple[int, bool]] = {}
        self._known = not self.keys_are_late
        self._refunds: list[dict[str, Any]] = []
        self._paid = False

    def approvals(self) -> Any:
        return SimpleNamespace(role="finance")

    def person(self, role: str, name: str) -> Any:
        key = SimpleNamespace(get=lambda options: {"signed": True})
        return SimpleNamespace(role=role, name=name, key=key, browser=SimpleNamespace())

    def order(self) -> Any:
        return SimpleNamespace(thing=SimpleNamespace(id="o1"), customer=None, amount=AMOUNT, payment="p1")

    def start(self, sale: Any) -> Answer:
        """Begin a payment; not for a stranger, nor for what is paid."""
        if getattr(sale.customer, "name", "") == "stranger" or self._paid:
            return answer(409)
        return answer(200, payment_id="p1", redirect_url=f"/pay/{sale.amount}")

    def pay_page(self, sale: Any) -> Answer:
        self._paid = True
        return answer(200)

    def is_paid(self, sale: Any) -> bool:
        return self._paid

    def charges(self, sale: Any) -> int:
        return 1 if self._paid else 0

    def ask_refund(self, sale: Any, by: Any, amount: Any) -> Answer:
        fits = isinstance(amount, int) and 0 < amount <= AMOUNT
        if not fits and (self.refunds_are_bounded or amount != AMOUNT + 1):
            return answer(422)
        self._asked[str(len(self._asked))] = (amount, self._known)
        return answer(202, approval_id=str(len(self._asked) - 1))

    def challenge(self, by: Any, approval: str) -> Answer:
        return answer(200, publicKey={})

    def approve(self, by: Any, approval: str, credential: Any) -> Answer:
        amount, in_time = self._asked[approval]
        self._known = True
        left = AMOUNT - sum(one["amount"] for one in self._refunds)
        if in_time and (amount <= left or not self.refunds_are_bounded):
            self._refunds.append({"amount": amount})
        return answer(200)

    def refunds(self, *sales: Any) -> list[dict[str, Any]]:
        return self._refunds


class AtOnce(Lab):
    """A lab in which nothing takes time, so that what is not there now is never there."""

    def wait(self, until: Any, seconds: float = 10.0, every: float = 0.1) -> Any:
        return until()

    def a_role(self) -> str:
        return "customer"


def refunds(monkeypatch: pytest.MonkeyPatch, **manner: bool) -> Evidence:
    """Run the probe of VAL-7 at such a till; return what its attack on refunds showed."""
    made: dict[str, Any] = dict(manner)
    monkeypatch.setattr(abuse, "Till", type("SuchTill", (Till,), made))
    world: Any = None
    lab = AtOnce(world, 0, Trial(), random.Random(0))
    abuse.double_submits_and_refund_abuse(lab)
    (found,) = [one for one in lab.trial.evidence(Masker()) if one.attack == "refund more than was charged"]
    return found


def test_a_key_that_is_not_known_everywhere_yet_spoils_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    found = refunds(monkeypatch, keys_are_late=True)
    assert found.outcome is Outcome.HELD, found.detail
    assert [(check.name, check.held, check.detail) for check in found.positives] == [
        ("the whole amount can be refunded", True, f"{AMOUNT} of {AMOUNT}")
    ]


def test_a_refund_of_more_than_was_charged_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = refunds(monkeypatch, keys_are_late=False, refunds_are_bounded=False)
    assert found.outcome is Outcome.BROKE
    assert f"was refunded of {AMOUNT}" in found.detail
