"""A policy change is a change request: a second person's approval over its exact bytes moves the head, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from redoubt.authz import store, versions
from redoubt.authz.changes import import_version, policy_change_kind, rollback
from redoubt.authz.errors import ReviewRequired
from redoubt.authz.head import PolicyHead
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Tx
from redoubt.guard.approvals import Approvals
from redoubt.guard.errors import ApprovalError, ApprovalStale, NotEntitled, SelfApproval
from redoubt.guard.kinds import Kinds
from redoubt.guard.models import VerifiedAssertion

from .model import WIDER, policies

ANN, BOB, EVE = "ann", "bob", "eve"


class Signs:
    """Takes an assertion that repeats the challenge in hexadecimal; passkeys themselves are tested elsewhere."""

    def verify(
        self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]
    ) -> VerifiedAssertion:
        if assertion.get("id") != challenge.hex():
            raise ReviewRequired("not over these bytes")
        return VerifiedAssertion(user_id, f"key-{user_id}", True)


@pytest.fixture
def approvals(core: Core) -> Approvals:
    core.db.write_sync(lambda tx: versions.genesis(tx, core, policies()))
    kind = policy_change_kind(core, lambda tx, approval, person: person in (ANN, BOB))
    return Approvals(core, Kinds(kind), Signs())


def ask(core: Core, approvals: Approvals, ticket: str = "T-1") -> Any:
    return core.db.write_sync(
        lambda tx: import_version(tx, approvals, policies(WIDER), author=ANN, ticket=ticket)
    )


def approve(core: Core, approvals: Approvals, request: Any, person: str, signed: Any = None) -> None:
    challenge = (signed or request).challenge.hex()
    core.db.write_sync(lambda tx: approvals.approve(tx, request.id, person, {"id": challenge}))


def head(core: Core) -> str:
    found = core.db.read_sync(lambda tx: store.head(tx, "main"))
    assert found is not None
    return found.version


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


def test_a_roll_back_waits_for_a_second_person(core: Core, approvals: Approvals) -> None:
    approve(core, approvals, ask(core, approvals), BOB)
    request = core.db.write_sync(
        lambda tx: rollback(tx, approvals, policies().version, author=BOB, ticket="T-3")
    )
    assert list(request.dry_run["removed"]) == ["Order.update:support+step-up"]
    with pytest.raises(SelfApproval):
        approve(core, approvals, request, BOB)
    approve(core, approvals, request, ANN)
    assert head(core) == policies().version


def test_a_change_without_a_ticket_is_refused(core: Core, approvals: Approvals) -> None:
    with pytest.raises(ReviewRequired):
        ask(core, approvals, "  ")
