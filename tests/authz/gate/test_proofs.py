"""A set by which somebody elevates themselves comes in by no way, and a process decides by none whose proof is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from redoubt.authz import changes, proofs, store, versions
from redoubt.authz.changes import propose, rehearse, rollback
from redoubt.authz.decide import Decider
from redoubt.authz.errors import ReviewRequired
from redoubt.authz.gate import PoliciesRefused
from redoubt.authz.head import PolicyHead
from redoubt.authz.policyset import PolicySet
from redoubt.authz.proofs import is_proven
from redoubt.core.base import Core
from redoubt.guard.errors import ApprovalStale

from .test_elevation import OTHERS, SELF, build, may
from .world import ANN, approvals_of, approve, begin, head

READ = may("read", "principal.ok")
FIRST = build(READ, user="by promote")
GOOD = build(READ, OTHERS, user="by promote")
BAD = build(READ, SELF, user="by promote")


def stored(core: Core, policies: PolicySet) -> None:
    """Have a version among the stored ones, as one that ran before there were such proofs."""
    version = store.Version("main", policies.version, None, policies.body, ANN, "", [], "", core.clock.now())
    core.db.write_sync(lambda tx: store.insert_version(tx, version))


def _propose(core: Core) -> None:
    propose(core, approvals_of(core), BAD, author=ANN, ticket="T")


def _rehearse(core: Core) -> None:
    rehearse(core, BAD)


def _rollback(core: Core) -> None:
    stored(core, BAD)
    rollback(core, approvals_of(core), BAD.version, author=ANN, ticket="T")


def _with_a_forged_proof(core: Core) -> None:
    core.db.write_sync(
        lambda tx: store.insert_proof(
            tx, store.Proof("main", BAD.version, "self-elevation", core.clock.now(), "00")
        )
    )
    _propose(core)


@pytest.mark.parametrize("way", [_propose, _rehearse, _rollback, _with_a_forged_proof])
def test_it_is_refused_before_anybody_can_approve_it(core: Core, way: Callable[[Core], None]) -> None:
    begin(core, FIRST)
    with pytest.raises(PoliciesRefused, match="User.ok"):
        way(core)
    assert head(core) == FIRST.version
    for table in ("policy_verdicts", "approvals"):
        rows = core.db.read_sync(lambda tx, of=table: tx.execute(sa.text(f"SELECT 1 FROM {of}")).all())
        assert rows == []


def test_an_app_does_not_begin_with_it(core: Core) -> None:
    with pytest.raises(PoliciesRefused):
        core.db.write_sync(lambda tx: versions.genesis(tx, core, BAD))
    assert core.db.read_sync(lambda tx: store.head(tx, "main")) is None
    core.db.write_sync(lambda tx: versions.genesis(tx, core, GOOD))
    assert head(core) == GOOD.version


def test_its_honest_twin_is_proven_kept_and_decided_by(core: Core) -> None:
    approvals = begin(core, FIRST)
    request = propose(core, approvals, GOOD, author=ANN, ticket="T").approval
    assert request is not None
    approve(core, approvals, request)
    assert head(core) == GOOD.version
    follower = PolicyHead(core)
    follower.refresh_sync()
    assert isinstance(follower.decider(), Decider)
    assert core.db.read_sync(lambda tx: is_proven(tx, core, "main", GOOD))
    assert not core.db.read_sync(lambda tx: is_proven(tx, core, "other", GOOD))


@pytest.mark.parametrize(
    "proof", ["none", "forged", "of another version", "of another tenant", "of another rule"]
)
def test_a_head_without_its_proof_decides_nothing_until_it_is_proven(core: Core, proof: str) -> None:
    core.db.write_sync(lambda tx: versions.genesis(tx, core, GOOD))
    row = core.db.read_sync(lambda tx: store.proof(tx, "main", GOOD.version, "self-elevation"))
    assert row is not None
    other = build(READ, may("promote", "principal != resource && true"), user="by promote")
    core.db.write_sync(lambda tx: versions.genesis(tx, core, GOOD, tenant="t2"))
    proofs.demand_no_elevation(other)
    core.db.write_sync(lambda tx: proofs.keep_proof(tx, core, "main", other))
    change = {
        "none": "DELETE FROM policy_proofs WHERE tenant = 'main' AND version = :version",
        "forged": "UPDATE policy_proofs SET seal = '00' WHERE version = :version",
        "of another version": "UPDATE policy_proofs SET seal = (SELECT seal FROM policy_proofs WHERE version <> :version) WHERE version = :version",
        "of another tenant": "UPDATE policy_proofs SET seal = (SELECT seal FROM policy_proofs WHERE tenant = 't2') WHERE tenant = 'main' AND version = :version",
        "of another rule": "UPDATE policy_proofs SET rule = 'another' WHERE version = :version",
    }[proof]
    core.db.write_sync(lambda tx: tx.execute(sa.text(change), {"version": GOOD.version}))
    follower = PolicyHead(core)
    follower.refresh_sync()
    assert "elevate" in str(follower.problem())
    versions.prove_running(core)
    follower.refresh_sync()
    assert isinstance(follower.decider(), Decider)


def test_a_request_from_before_there_were_proofs_is_stale(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    approvals = begin(core, FIRST)
    monkeypatch.setattr(changes, "demand_no_elevation", lambda policies, **options: None)
    monkeypatch.setattr(changes, "keep_proof", lambda *given: None)
    request = propose(core, approvals, BAD, author=ANN, ticket="T").approval
    assert request is not None
    with pytest.raises(ApprovalStale):
        approve(core, approvals, request)
    assert head(core) == FIRST.version


def test_initialising_proves_what_runs_or_refuses_it(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "demand_no_elevation", lambda policies: None)
    core.db.write_sync(lambda tx: versions.genesis(tx, core, BAD))
    monkeypatch.undo()
    core.db.write_sync(lambda tx: tx.execute(sa.text("DELETE FROM policy_proofs")))
    with pytest.raises(PoliciesRefused):
        versions.prove_running(core)
    follower = PolicyHead(core)
    follower.refresh_sync()
    assert follower.problem() is not None
    with pytest.raises(ReviewRequired):
        core.db.read_sync(lambda tx: proofs.demand_proof(tx, core, "main", BAD))


@pytest.mark.parametrize("fault", ["at the proposal", "at the step", "at the load"])
def test_a_guard_that_is_removed_lets_it_on(core: Core, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """What each guard holds, seen by taking it away; the next one still stands."""
    approvals = begin(core, FIRST)
    monkeypatch.setattr(changes, "demand_no_elevation", lambda policies, **options: None)
    monkeypatch.setattr(changes, "keep_proof", lambda *given: None)
    request = propose(core, approvals, BAD, author=ANN, ticket="T").approval
    assert request is not None
    if fault == "at the proposal":
        with pytest.raises(ApprovalStale):
            approve(core, approvals, request)
        return
    monkeypatch.setattr(versions, "demand_proof", lambda *given: None)
    approve(core, approvals, request)
    assert head(core) == BAD.version
    follower = PolicyHead(core)
    if fault == "at the load":
        monkeypatch.setattr("redoubt.authz.head.demand_proof", lambda *given: None)
    follower.refresh_sync()
    assert isinstance(follower.decider(), Decider) == (fault == "at the load")
