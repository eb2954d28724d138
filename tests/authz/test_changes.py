"""A policy change is a change request: a second person's approval over its exact bytes moves the head, or nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from redoubt.authz import changes, store
from redoubt.authz.access import AccessModel, Action, Allow
from redoubt.authz.changes import Proposed, propose, rollback
from redoubt.authz.errors import CorruptPolicies, ReviewRequired, StaleBase
from redoubt.authz.gate import Examined, examine
from redoubt.authz.head import PolicyHead
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.guard.approvals import Approvals
from redoubt.guard.errors import ApprovalError, ApprovalStale, NotEntitled, SelfApproval

from .gate.world import ANN, BOB, EVE, actions, approve, ask, begin, head
from .model import SHOP, WIDER, policies


def changed(name: str, *allow: Allow) -> AccessModel:
    """The shop with other rules for one action."""
    return AccessModel(
        SHOP.roles,
        SHOP.resources,
        tuple(Action(a.name, a.resource, a.scope, allow) if a.name == name else a for a in SHOP.actions),
    )


NARROWER = changed("Payment.read", Allow("finance"))
LOCKED_OUT = changed("Approval.decide")


@pytest.fixture
def approvals(core: Core) -> Approvals:
    return begin(core)


def narrow(core: Core, approvals: Approvals, **options: Any) -> Proposed:
    return propose(core, approvals, policies(NARROWER), author=ANN, **options)


async def test_the_second_person_moves_the_head_everywhere(core: Core, approvals: Approvals) -> None:
    follower = PolicyHead(core)
    request = ask(core, approvals)
    assert list(request.dry_run["added"]) == ["Order.update:support+step-up"]
    assert request.dry_run["removed"] == {}
    await follower.refresh()
    assert follower.decider().version == policies().version
    approve(core, approvals, request, BOB)
    await follower.refresh()
    assert follower.decider().version == head(core) == policies(WIDER).version
    stored = core.db.read_sync(lambda tx: store.version(tx, "main", head(core)))
    assert stored is not None
    assert stored.reviewers == [BOB]


@pytest.mark.parametrize(("person", "error"), [(ANN, SelfApproval), (EVE, NotEntitled)])
def test_the_author_and_a_stranger_cannot(
    core: Core, approvals: Approvals, person: str, error: type[ApprovalError]
) -> None:
    request = ask(core, approvals)
    with pytest.raises(error):
        approve(core, approvals, request, person)
    assert head(core) == policies().version


def test_a_signature_over_other_bytes_or_too_late_moves_nothing(
    core: Core, approvals: Approvals, clock: ManualClock
) -> None:
    request, other = ask(core, approvals), ask(core, approvals, "T-2")
    with pytest.raises(ApprovalError):
        approve(core, approvals, request, BOB, signed=other)
    clock.advance(timedelta(days=2))
    with pytest.raises(ApprovalError):
        approve(core, approvals, request, BOB)
    assert head(core) == policies().version


def test_of_two_requests_on_one_base_the_second_is_stale_and_a_replay_fails(
    core: Core, approvals: Approvals
) -> None:
    first, second = ask(core, approvals), ask(core, approvals, "T-2")
    approve(core, approvals, first, BOB)
    with pytest.raises(ApprovalError):
        approve(core, approvals, first, BOB)
    with pytest.raises(ApprovalStale):
        approve(core, approvals, second, BOB)
    assert len(core.db.read_sync(lambda tx: store.history(tx, "main"))) == 2


def test_what_is_proven_to_grant_nothing_more_runs_on_its_authors_word(
    core: Core, approvals: Approvals
) -> None:
    proposed = narrow(core, approvals)
    assert (proposed.approval, proposed.version) == (None, policies(NARROWER).version)
    step = core.db.read_sync(lambda tx: store.history(tx, "main"))[0]
    assert (step.version, step.author, step.reviewer, step.approval_id) == (head(core), ANN, None, None)
    stored = core.db.read_sync(lambda tx: store.verdict(tx, "main", str(step.verdict_id)))
    assert stored == proposed.verdict
    assert (stored.verdict, stored.base) == ("narrower", policies().version)
    assert stored.evidence["environments"]["narrower"] == 1
    assert stored.evidence["solvers"]["z3-solver"] != "missing"
    assert "authz.policy.activate" in actions(core)
    assert "approval.create" not in actions(core)


def test_taking_a_narrowing_back_is_wider_and_going_back_to_it_is_not(
    core: Core, approvals: Approvals
) -> None:
    narrow(core, approvals)
    back = rollback(core, approvals, policies().version, author=ANN, ticket="T-2")
    assert back.verdict.verdict == "wider"
    assert back.approval is not None
    (finding,) = [item for item in back.approval.dry_run["evidence"]["findings"] if item["witness"]]
    assert "Payment.read" in finding["where"]
    approve(core, approvals, back.approval)
    assert head(core) == policies().version
    again = rollback(core, approvals, policies(NARROWER).version, author=ANN)
    assert again.approval is None
    kinds = [step.kind for step in core.db.read_sync(lambda tx: store.history(tx, "main"))]
    assert kinds == ["rollback", "rollback", "change", "genesis"]


def test_a_roll_back_to_wider_policies_is_not_approved_by_its_author(
    core: Core, approvals: Approvals
) -> None:
    narrow(core, approvals)
    back = rollback(core, approvals, policies().version, author=BOB, ticket="T-3")
    assert back.approval is not None
    with pytest.raises(SelfApproval):
        approve(core, approvals, back.approval, BOB)
    approve(core, approvals, back.approval, ANN)
    assert head(core) == policies().version


def test_who_decides_about_changes_is_not_shut_out_by_a_narrowing(core: Core, approvals: Approvals) -> None:
    with pytest.raises(ReviewRequired):
        propose(core, approvals, policies(LOCKED_OUT), author=ANN)
    proposed = propose(core, approvals, policies(LOCKED_OUT), author=ANN, ticket="T-1")
    assert proposed.verdict.verdict == "narrower"
    assert proposed.verdict.evidence["keepers"] == ["Approval.decide"]
    assert proposed.approval is not None
    assert head(core) == policies().version


def test_a_widening_without_a_ticket_is_refused_and_leaves_nothing(core: Core, approvals: Approvals) -> None:
    with pytest.raises(ReviewRequired):
        ask(core, approvals, "  ")
    assert core.db.read_sync(lambda tx: tx.execute(sa.select(store.policy_verdicts)).all()) == []


def test_the_prover_holds_no_transaction_and_a_head_that_moved_meanwhile_refuses_its_verdict(
    core: Core, approvals: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any, **options: Any) -> Examined:
        monkeypatch.undo()
        narrow(core, approvals)  # somebody else's change, written while the proof runs
        return examine(*arguments, **options)

    monkeypatch.setattr(changes, "examine", slow)
    with pytest.raises(StaleBase):
        propose(core, approvals, policies(WIDER), author=EVE, ticket="T-1")
    assert head(core) == policies(NARROWER).version


def test_what_cannot_be_proven_waits(
    core: Core, approvals: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("redoubt.authz.gate.judging.compare_under", broken)
    proposed = narrow(core, approvals, ticket="T-1")
    assert proposed.verdict.verdict == "unknown"
    assert proposed.approval is not None
    assert head(core) == policies().version


def test_a_request_whose_verdict_is_not_stored_cannot_be_made(core: Core, approvals: Approvals) -> None:
    payload = {**ask(core, approvals).payload, "verdict_id": "0190aaaa-0000-7000-8000-000000000001"}
    del payload["dry_run"], payload["nonce"]
    with pytest.raises(CorruptPolicies):
        core.db.write_sync(
            lambda tx: approvals.create(tx, "policy.change", payload, requester=ANN, ticket="T-1")
        )
