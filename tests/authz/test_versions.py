"""Policy versions: immutable, content-addressed, changed by two people only, on both databases."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from redoubt.authz import store, versions
from redoubt.authz.decide import Decider
from redoubt.authz.errors import (
    CorruptPolicies,
    GenesisExists,
    ReviewRequired,
    StaleBase,
    UnknownRole,
    UnknownVersion,
)
from redoubt.authz.head import PolicyHead
from redoubt.authz.models import AuthzRequest, Caller, Entity, user_uid
from redoubt.authz.roles import Roles
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock

from .model import WIDER, policies

ANN, BOB = "ann", "bob"
SUPPORT = Caller(user_id="s", roles=frozenset({"support"}), step_up=True)
ORDER = Entity("Order", "o", {"tenant": "main", "owner": user_uid("u"), "state": "draft"})
UPDATE = AuthzRequest.of(SUPPORT.principal(), "Order.update", ORDER, {"risk": 0, "step_up": True})


@pytest.fixture
def genesis(core: Core) -> str:
    return core.db.write_sync(lambda tx: versions.genesis(tx, core, policies()))


def propose(core: Core, **changes: Any) -> dict[str, Any]:
    payload = core.db.read_sync(
        lambda tx: versions.change_payload(tx, policies(WIDER), tenant="main", author=ANN, ticket="T-1")
    )
    return {**payload, **changes}


def approve(core: Core, payload: dict[str, Any], approver: str = BOB, approval_id: str = "a1") -> str:
    return core.db.write_sync(
        lambda tx: versions.activate(
            tx, core, payload, approval_id=approval_id, requester=ANN, approver=approver
        )
    )


def actions(core: Core) -> list[str]:
    rows = core.db.read_sync(lambda tx: tx.execute(sa.text("SELECT action FROM audit_entries")).all())
    return sorted(row.action for row in rows)


def test_genesis_is_recorded_once(core: Core, genesis: str) -> None:
    assert genesis == policies().version
    with pytest.raises(GenesisExists):
        core.db.write_sync(lambda tx: versions.genesis(tx, core, policies(WIDER)))
    head = core.db.read_sync(lambda tx: store.head(tx, "main"))
    assert head is not None
    assert (head.seq, head.version, head.kind) == (0, genesis, "genesis")
    assert actions(core) == ["authz.policy.genesis"]


def test_a_second_person_activates_a_change_and_its_history_says_so(core: Core, genesis: str) -> None:
    version = approve(core, propose(core))
    newest, oldest = core.db.read_sync(lambda tx: store.history(tx, "main"))
    assert (newest.version, newest.author, newest.reviewer, newest.ticket) == (version, ANN, BOB, "T-1")
    assert oldest.version == genesis
    stored = core.db.read_sync(lambda tx: store.version(tx, "main", version))
    assert stored is not None
    assert (stored.parent, stored.reviewers, stored.ticket) == (genesis, [BOB], "T-1")
    assert "authz.policy.activate" in actions(core)


@pytest.mark.parametrize(
    ("changes", "approver", "error"),
    [
        ({}, ANN, ReviewRequired),
        ({"author": "carl"}, BOB, ReviewRequired),
        ({"ticket": ""}, BOB, ReviewRequired),
        ({"base": "0" * 64}, BOB, StaleBase),
        ({"version": "0" * 64}, BOB, CorruptPolicies),
        ({"body": policies().body}, BOB, CorruptPolicies),
    ],
)
def test_a_change_that_is_not_what_was_reviewed_is_refused(
    core: Core, genesis: str, changes: dict[str, Any], approver: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        approve(core, propose(core, **changes), approver)
    head = core.db.read_sync(lambda tx: store.head(tx, "main"))
    assert head is not None
    assert head.version == genesis


def test_of_two_changes_on_one_base_the_second_is_stale(core: Core, genesis: str) -> None:
    payload = propose(core)
    approve(core, payload)
    with pytest.raises(StaleBase):
        approve(core, payload, approval_id="a2")


def test_what_runs_already_is_no_change_and_a_ticket_is_needed(core: Core, genesis: str) -> None:
    with pytest.raises(StaleBase):
        core.db.read_sync(
            lambda tx: versions.change_payload(tx, policies(), tenant="main", author=ANN, ticket="T")
        )
    with pytest.raises(ReviewRequired):
        core.db.read_sync(
            lambda tx: versions.change_payload(tx, policies(WIDER), tenant="main", author=ANN, ticket=" ")
        )


def test_a_roll_back_needs_a_second_person_too(core: Core, genesis: str) -> None:
    approve(core, propose(core))
    back = core.db.read_sync(
        lambda tx: versions.rollback_payload(tx, genesis[:10], tenant="main", author=ANN, ticket="T-2")
    )
    with pytest.raises(ReviewRequired):
        approve(core, back, approver=ANN, approval_id="a2")
    assert approve(core, back, approval_id="a2") == genesis
    kinds = [step.kind for step in core.db.read_sync(lambda tx: store.history(tx, "main"))]
    assert kinds == ["rollback", "change", "genesis"]
    with pytest.raises(UnknownVersion):
        core.db.read_sync(lambda tx: versions.load(tx, "main", "ffff"))
    with pytest.raises(UnknownVersion):
        core.db.read_sync(lambda tx: versions.load(tx, "main", ""))


HEAD = (
    "INSERT INTO policy_head (tenant, seq, version, kind, author, approval_id, reviewer, ticket, note, at)"
    " VALUES ('main', {seq}, '{version}', '{kind}', 'ann', {approval}, {reviewer}, '{ticket}', '', 1)"
)


FORGED = [
    "UPDATE policy_versions SET body = '{{}}'",
    "DELETE FROM policy_versions",
    "UPDATE policy_head SET version = version",
    "DELETE FROM policy_head",
    "REPLACE INTO policy_head SELECT * FROM policy_head",
    HEAD.format(seq=1, version="{version}", kind="change", approval="NULL", reviewer="NULL", ticket="T"),
    HEAD.format(seq=1, version="{version}", kind="change", approval="'x'", reviewer="'ann'", ticket="T"),
    HEAD.format(seq=1, version="{version}", kind="change", approval="'x'", reviewer="'bob'", ticket=""),
    HEAD.format(seq=1, version="{version}", kind="genesis", approval="NULL", reviewer="NULL", ticket=""),
    HEAD.format(seq=2, version="{version}", kind="change", approval="'x'", reviewer="'bob'", ticket="T"),
    HEAD.format(seq=1, version="0" * 64, kind="change", approval="'x'", reviewer="'bob'", ticket="T"),
]


def test_the_database_itself_refuses(core: Core, genesis: str) -> None:
    for statement in FORGED:
        with pytest.raises(DBAPIError):
            core.db.write_sync(lambda tx, text=statement: tx.execute(sa.text(text.format(version=genesis))))
        steps = core.db.read_sync(lambda tx: store.history(tx, "main"))
        assert [step.version for step in steps] == [genesis], statement


def test_an_honest_insert_passes_where_the_forged_ones_fail(core: Core, genesis: str) -> None:
    good = HEAD.format(seq=1, version=genesis, kind="change", approval="'x'", reviewer="'bob'", ticket="T")
    core.db.write_sync(lambda tx: tx.execute(sa.text(good)))
    assert len(core.db.read_sync(lambda tx: store.history(tx, "main"))) == 2


async def test_another_process_follows_the_head(core: Core, genesis: str) -> None:
    head = PolicyHead(core)
    assert not head.decider().decide(UPDATE).allowed
    assert "could not be confirmed" in str(head.problem())
    await head.refresh()
    assert head.policies() is not None
    assert not head.decider().decide(UPDATE).allowed
    version = approve(core, propose(core))
    assert not head.decider().decide(UPDATE).allowed
    await head.refresh()
    answer = head.decider().decide(UPDATE)
    assert answer.allowed
    assert answer.version == version
    assert head.decider("another tenant").decide(UPDATE).allowed


async def test_the_following_loop_swaps_the_policies_and_outlives_a_lost_database(
    core: Core, genesis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = PolicyHead(core, interval=0.01)
    failures = iter([OSError("gone")] * 3)
    true_read = core.db.read

    async def flaky(fn: Any) -> Any:
        error = next(failures, None)
        if error is not None:
            raise error
        return await true_read(fn)

    monkeypatch.setattr(core.db, "read", flaky)
    loop = asyncio.create_task(head.run())
    try:
        await _until(lambda: head.decider().version == genesis)
        version = await asyncio.to_thread(approve, core, propose(core))
        await _until(lambda: head.decider().version == version)
    finally:
        loop.cancel()


async def _until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def test_a_head_that_cannot_be_confirmed_denies(
    core: Core, genesis: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(core, propose(core))
    head = PolicyHead(core, max_age=2.0)
    await head.refresh()
    assert head.decider().decide(UPDATE).allowed
    clock.advance(timedelta(seconds=3))
    assert not head.decider().decide(UPDATE).allowed
    await head.refresh()
    assert head.decider().decide(UPDATE).allowed


async def test_what_is_enforced_is_decided_by_a_look_of_the_last_250_ms_or_by_a_new_one(
    core: Core, genesis: str, clock: ManualClock
) -> None:
    head = PolicyHead(core)
    assert not (await head.current()).decide(UPDATE).allowed
    version = approve(core, propose(core))
    clock.advance(timedelta(milliseconds=250))
    assert (await head.current()).version == genesis  # what 250 ms of staleness mean
    clock.advance(timedelta(milliseconds=1))
    assert (await head.current()).decide(UPDATE).allowed
    assert (await head.current("another tenant")).version == version


async def test_a_look_that_began_after_the_question_counts_however_long_it_took(
    core: Core, genesis: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(core, propose(core))
    head, true_read = PolicyHead(core), core.db.read

    async def slow(fn: Any) -> Any:
        found = await true_read(fn)
        clock.advance(timedelta(seconds=30))
        return found

    monkeypatch.setattr(core.db, "read", slow)
    assert (await head.current()).decide(UPDATE).allowed
    assert not head.decider().decide(UPDATE).allowed  # but it is old by now


async def test_a_head_that_cannot_be_looked_at_denies_at_once_and_recovers(
    core: Core, genesis: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(core, propose(core))
    head = PolicyHead(core)
    assert (await head.current()).decide(UPDATE).allowed
    with monkeypatch.context() as patch:

        async def gone(_fn: Any) -> Any:
            raise OSError("gone")

        patch.setattr(core.db, "read", gone)
        clock.advance(timedelta(milliseconds=251))
        answer = (await head.current()).decide(UPDATE)
        assert not answer.allowed
        assert "could not be confirmed" in answer.errors[0]
    assert (await head.current()).decide(UPDATE).allowed


def tamper(core: Core, statement: str) -> None:
    """Write as somebody who owns the database would: without its triggers."""

    def write(tx: Any) -> None:
        on = "policy_versions" if "policy_versions" in statement else "policy_head"
        for verb in ("update", "delete"):
            target = f"{on}_no_{verb}"
            tx.execute(
                sa.text(f"DROP TRIGGER {target}" + (f" ON {on}" if tx.dialect == "postgresql" else ""))
            )
        tx.execute(sa.text(statement))

    core.db.write_sync(write)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "UPDATE policy_versions SET body = replace(body, 'permit', 'forbid') WHERE note <> 'genesis'",
            "corrupt",
        ),
        ("UPDATE policy_versions SET body = substr(body, 1, 200) WHERE note <> 'genesis'", "corrupt"),
        ("UPDATE policy_versions SET body = '[]' WHERE note <> 'genesis'", "corrupt"),
    ],
)
async def test_a_corrupt_store_denies_everything_and_says_so(
    core: Core, genesis: str, statement: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    approve(core, propose(core))
    tamper(core, statement)
    head = PolicyHead(core)
    await head.refresh()
    answer = head.decider().decide(UPDATE)
    assert not answer.allowed
    assert says in answer.errors[0]
    assert "everything is denied" in caplog.text


@pytest.mark.parametrize("statement", ["DELETE FROM policy_head WHERE seq = 1", "DELETE FROM policy_head"])
async def test_a_head_that_moves_backwards_or_disappears_denies(
    core: Core, genesis: str, statement: str
) -> None:
    approve(core, propose(core))
    head = PolicyHead(core)
    await head.refresh()
    assert head.decider().decide(UPDATE).allowed
    tamper(core, statement)
    await head.refresh()
    assert not head.decider().decide(UPDATE).allowed
    assert head.problem()


async def test_without_policies_everything_is_denied(core: Core) -> None:
    head = PolicyHead(core)
    await head.refresh()
    assert head.decider().decide(UPDATE).errors == ("no policies are stored",)
    assert not isinstance(head.decider(), Decider)


def test_roles_are_given_and_taken_with_an_audit_event_each(core: Core) -> None:
    roles = Roles(core, {"customer", "support"})

    def write(tx: Any) -> frozenset[str]:
        roles.assign(tx, "main", "u", "customer", "self-sign-up")
        roles.assign(tx, "main", "u", "customer", "self-sign-up")
        roles.assign(tx, "main", "u", "support", "o")
        assert roles.revoke(tx, "main", "u", "support", "o")
        assert not roles.revoke(tx, "main", "u", "support", "o")
        assert roles.roles(tx, "elsewhere", "u") == frozenset()
        return roles.roles(tx, "main", "u")

    assert core.db.write_sync(write) == {"customer"}
    assert actions(core) == ["authz.grant", "authz.grant", "authz.revoke"]
    with pytest.raises(UnknownRole):
        core.db.write_sync(lambda tx: roles.assign(tx, "main", "u", "root", "o"))
