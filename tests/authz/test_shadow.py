"""The reference engine beside the reader that decides: where they differ, nothing is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from redoubt.authz.compiled import Answer
from redoubt.authz.compiled.policies import CompiledPolicies
from redoubt.authz.decide import Decider
from redoubt.authz.models import AuthzRequest, Caller, Entity, user_uid
from redoubt.authz.reference import Reference

from .model import policies

OWNER, STRANGER = (Caller(user_id=name, roles=frozenset({"customer"})) for name in ("u1", "u2"))


def ask(caller: Caller, action: str = "Order.read") -> AuthzRequest:
    order = Entity("Order", "o1", {"tenant": "main", "owner": user_uid("u1"), "state": "draft"})
    return AuthzRequest.of(caller.principal(), action, order, {"risk": 0, "step_up": False})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[AuthzRequest]:
    """Return the questions that were put to the reference engine."""
    seen: list[AuthzRequest] = []
    real = Reference.ask

    def ask(self: Reference, request: AuthzRequest) -> Any:
        seen.append(request)
        return real(self, request)

    monkeypatch.setattr(Reference, "ask", ask)
    return seen


def test_the_first_question_and_every_nth_is_put_to_both(asked: list[AuthzRequest]) -> None:
    decider = Decider(policies(), shadow_every=5)
    for _ in range(11):
        assert decider.decide(ask(OWNER)).allowed
    assert len(asked) == 3
    assert not decider.suspect


def test_a_reader_that_allows_too_much_is_caught_and_watched_from_then_on(
    monkeypatch: pytest.MonkeyPatch, asked: list[AuthzRequest], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(CompiledPolicies, "decide", lambda *_: Answer(True, ("Order.read:customer+own",), ()))
    decider = Decider(policies(), shadow_every=2)
    assert decider.decide(ask(OWNER)).allowed  # the first is put to both, who agree
    assert decider.decide(ask(STRANGER)).allowed  # the fault, unwatched
    caught = decider.decide(ask(STRANGER))
    assert not caught.allowed
    assert "the reference engine says deny" in caught.errors[0]
    assert "differ about Order.read" in caplog.text
    assert decider.suspect
    assert not any(decider.decide(ask(STRANGER)).allowed for _ in range(3))
    assert decider.decide(ask(OWNER)).allowed, "what both allow stays allowed"
    assert len(asked) == 6


def test_other_reasons_for_the_same_answer_are_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CompiledPolicies, "decide", lambda *_: Answer(True, ("another",), ()))
    assert not Decider(policies()).decide(ask(OWNER)).allowed


def test_a_reference_that_cannot_answer_allows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise OSError("engine down")

    monkeypatch.setattr(Reference, "ask", broken)
    decider = Decider(policies())
    for _ in range(3):
        answer = decider.decide(ask(OWNER))
        assert not answer.allowed
        assert "engine down" in answer.errors[0]
    assert Decider(policies()).decide(ask(OWNER)).digest == answer.digest
