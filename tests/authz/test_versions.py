"""Policy versions: immutable, content-addressed, changed by two people only, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from sqlalchemy.exc import DBAPIError

from redoubt.authz import store, versions
from redoubt.authz.decide import Decider
from redoubt.authz.errors import (
    CorruptPolicies,
    GenesisExists,
    ReviewRequired,
    UnknownRole,
    UnknownVersion,
)
from redoubt.authz.head import PolicyHead
from redoubt.authz.models import AuthzRequest, Caller, Entity, user_uid
from redoubt.authz.roles import Roles
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock

from .gate.world import ANN, BOB, actions, approvals_of, ask, begin, head, widened
from .model import WIDER, policies

SUPPORT = Caller(user_id="s", roles=frozenset({"support"}), step_up=True)
ORDER = Entity("Order", "o", {"tenant": "main", "owner": user_uid("u"), "state": "draft"})
UPDATE = AuthzRequest.of(SUPPORT.principal(), "Order.update", ORDER, {"risk": 0, "step_up": True})


@pytest.fixture
def genesis(core: Core) -> str:
    begin(core)
    return policies().version


def test_genesis_is_recorded_once(core: Core, genesis: str) -> None:
    assert genesis == policies().version
    with pytest.raises(GenesisExists):
        core.db.write_sync(lambda tx: versions.genesis(tx, core, policies(WIDER)))
    step = core.db.read_sync(lambda tx: store.head(tx, "main"))
    assert step is not None
    assert (step.seq, step.version, step.kind) == (0, genesis, "genesis")
    assert actions(core) == ["authz.policy.genesis"]


def test_a_tenants_own_history_begins_with_what_decides_for_it(core: Core, genesis: str) -> None:
    with pytest.raises(ReviewRequired):
        core.db.write_sync(lambda tx: versions.genesis(tx, core, policies(WIDER), tenant="acme"))
    core.db.write_sync(lambda tx: versions.genesis(tx, core, policies(), tenant="acme"))
    assert core.db.read_sync(lambda tx: store.heads(tx)) == {"main": (0, genesis), "acme": (0, genesis)}


def test_a_second_person_activates_a_change_and_its_history_says_so(core: Core, genesis: str) -> None:
    version = widened(core)
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
        ({"base": "0" * 64}, BOB, CorruptPolicies),
        ({"version": "0" * 64}, BOB, CorruptPolicies),
        ({"body": policies().body}, BOB, CorruptPolicies),
        ({"verdict": "narrower"}, BOB, CorruptPolicies),
        ({"verdict_id": "0190aaaa-0000-7000-8000-000000000001"}, BOB, CorruptPolicies),
        ({"kind": "rollback"}, BOB, CorruptPolicies),
    ],
)
def test_a_change_that_is_not_what_was_reviewed_is_refused(
    core: Core, genesis: str, changes: dict[str, Any], approver: str, error: type[Exception]
) -> None:
    request = ask(core, approvals_of(core))
    payload = {**request.payload, **changes}
    with pytest.raises(error):
        core.db.write_sync(
            lambda tx: versions.activate(
                tx, core, payload, approval_id=request.id, requester=ANN, approver=approver
            )
        )
    assert head(core) == genesis


def test_a_version_is_found_by_an_unambiguous_beginning(core: Core, genesis: str) -> None:
    assert core.db.read_sync(lambda tx: versions.load(tx, "main", genesis[:10])).version == genesis
    for unknown in ("ffff", ""):
        with pytest.raises(UnknownVersion):
            core.db.read_sync(lambda tx, text=unknown: versions.load(tx, "main", text))


def forge(core: Core, **changes: Any) -> None:
    """Write a step of the head with SQL, as somebody would who has the app's database role and none of its keys."""
    row = {
        "tenant": "main", "seq": 1, "version": policies(WIDER).version, "kind": "change", "author": ANN,
        "approval_id": None, "reviewer": None, "ticket": "T", "note": "", "at": 1, "verdict_id": None,
        "seal": "00" * 32, **changes,
    }  # fmt: skip
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    statement = sa.text(f"INSERT INTO policy_head ({names}) VALUES ({values})")
    core.db.write_sync(lambda tx: tx.execute(statement, row))


def keep(core: Core, model: Any, **changes: Any) -> str:
    """Store a version and a verdict about it with SQL, whatever a proof would say; return the verdict's id."""
    new, now = policies(model), core.clock.now()

    def write(tx: Any) -> str:
        if store.version(tx, "main", new.version) is None:
            store.insert_version(
                tx, store.Version("main", new.version, policies().version, new.body, ANN, "T", [], "", now)
            )
        verdict = store.Verdict(
            core.ids.uuid7(),
            "main",
            policies().version,
            0,
            new.version,
            "change",
            ANN,
            "equal",
            True,
            {},
            now,
        )
        store.insert_verdict(tx, evolve(verdict, **changes))
        return verdict.id

    return core.db.write_sync(write)


def micros(core: Core) -> int:
    return (core.clock.now() - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


FORGED = [
    "UPDATE policy_versions SET body = '{}'",
    "DELETE FROM policy_versions",
    "UPDATE policy_head SET version = version",
    "DELETE FROM policy_head",
    "REPLACE INTO policy_head SELECT * FROM policy_head",
    "UPDATE policy_verdicts SET passes = 1, verdict = 'equal'",
    "DELETE FROM policy_verdicts",
]


def test_the_database_itself_refuses_to_rewrite(core: Core, genesis: str) -> None:
    keep(core, WIDER, verdict="wider", passes=False)
    for statement in FORGED:
        with pytest.raises(DBAPIError):
            core.db.write_sync(lambda tx, text=statement: tx.execute(sa.text(text)))
        steps = core.db.read_sync(lambda tx: store.history(tx, "main"))
        assert [step.version for step in steps] == [genesis], statement


@pytest.mark.parametrize(
    ("verdict", "step"),
    [
        ({}, {"verdict_id": None}),
        ({}, {"seal": None}),
        ({}, {"seal": ""}),
        ({}, {"seq": 2}),
        ({}, {"kind": "rollback"}),
        ({}, {"kind": "genesis"}),
        ({}, {"author": BOB}),
        ({}, {"version": policies().version}),
        ({}, {"version": "0" * 64}),
        ({}, {"reviewer": BOB}),
        ({}, {"approval_id": "x", "reviewer": BOB}),
        ({}, {"tenant": "acme", "seq": 0, "kind": "genesis"}),
        ({"passes": False}, {}),
        ({"verdict": "wider", "passes": False}, {}),
        ({"base_seq": 1}, {}),
        ({"kind": "rollback"}, {}),
        ({"judged_at": datetime(2025, 1, 1, tzinfo=UTC)}, {}),
        ({"judged_at": datetime(2030, 1, 1, tzinfo=UTC)}, {}),
    ],
)
def test_the_database_itself_refuses_a_step_without_its_verdict(
    core: Core, genesis: str, verdict: dict[str, Any], step: dict[str, Any]
) -> None:
    found = keep(core, WIDER, **verdict)
    with pytest.raises(DBAPIError):
        forge(core, **{"at": micros(core), "verdict_id": found, **step})
    assert head(core) == genesis


def test_a_passing_verdict_is_stored_for_equal_and_narrower_only(core: Core, genesis: str) -> None:
    for verdict in ("wider", "new", "unknown", "harmless"):
        with pytest.raises(DBAPIError):
            keep(core, WIDER, verdict=verdict)


async def test_a_step_past_every_constraint_lacks_the_seal_and_nothing_is_decided_by_it(
    core: Core, genesis: str
) -> None:
    forge(core, at=micros(core), verdict_id=keep(core, WIDER))  # an invented proof: the database cannot know
    follower = PolicyHead(core)
    await follower.refresh()
    answer = follower.decider().decide(UPDATE)
    assert not answer.allowed
    assert "somebody else than this app" in answer.errors[0]
    with pytest.raises(CorruptPolicies):
        ask(core, approvals_of(core))


async def test_another_process_follows_the_head(core: Core, genesis: str) -> None:
    follower = PolicyHead(core)
    assert not follower.decider().decide(UPDATE).allowed
    assert "could not be confirmed" in str(follower.problem())
    await follower.refresh()
    assert follower.policies() is not None
    assert not follower.decider().decide(UPDATE).allowed
    version = widened(core)
    assert not follower.decider().decide(UPDATE).allowed
    await follower.refresh()
    answer = follower.decider().decide(UPDATE)
    assert answer.allowed
    assert answer.version == version
    assert follower.decider("another tenant").decide(UPDATE).allowed


async def test_the_following_loop_swaps_the_policies_and_outlives_a_lost_database(
    core: Core, genesis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = PolicyHead(core, interval=0.01)
    failures = iter([OSError("gone")] * 3)
    true_read = core.db.read

    async def flaky(fn: Any) -> Any:
        error = next(failures, None)
        if error is not None:
            raise error
        return await true_read(fn)

    monkeypatch.setattr(core.db, "read", flaky)
    loop = asyncio.create_task(follower.run())
    try:
        await _until(lambda: follower.decider().version == genesis)
        version = await asyncio.to_thread(widened, core)
        await _until(lambda: follower.decider().version == version)
    finally:
        loop.cancel()


async def _until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def test_a_head_that_cannot_be_confirmed_denies(
    core: Core, genesis: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    widened(core)
    follower = PolicyHead(core, max_age=2.0)
    await follower.refresh()
    assert follower.decider().decide(UPDATE).allowed
    clock.advance(timedelta(seconds=3))
    assert not follower.decider().decide(UPDATE).allowed
    await follower.refresh()
    assert follower.decider().decide(UPDATE).allowed


async def test_what_is_enforced_is_decided_by_a_look_of_the_last_250_ms_or_by_a_new_one(
    core: Core, genesis: str, clock: ManualClock
) -> None:
    follower = PolicyHead(core)
    assert not (await follower.current()).decide(UPDATE).allowed
    version = widened(core)
    clock.advance(timedelta(milliseconds=250))
    assert (await follower.current()).version == genesis  # what 250 ms of staleness mean
    clock.advance(timedelta(milliseconds=1))
    assert (await follower.current()).decide(UPDATE).allowed
    assert (await follower.current("another tenant")).version == version


async def test_a_look_that_began_after_the_question_counts_however_long_it_took(
    core: Core, genesis: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    widened(core)
    follower, true_read = PolicyHead(core), core.db.read

    async def slow(fn: Any) -> Any:
        found = await true_read(fn)
        clock.advance(timedelta(seconds=30))
        return found

    monkeypatch.setattr(core.db, "read", slow)
    assert (await follower.current()).decide(UPDATE).allowed
    assert not follower.decider().decide(UPDATE).allowed  # but it is old by now


async def test_a_head_that_cannot_be_looked_at_denies_at_once_and_recovers(
    core: Core, genesis: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    widened(core)
    follower = PolicyHead(core)
    assert (await follower.current()).decide(UPDATE).allowed
    with monkeypatch.context() as patch:

        async def gone(_fn: Any) -> Any:
            raise OSError("gone")

        patch.setattr(core.db, "read", gone)
        clock.advance(timedelta(milliseconds=251))
        answer = (await follower.current()).decide(UPDATE)
        assert not answer.allowed
        assert "could not be confirmed" in answer.errors[0]
    assert (await follower.current()).decide(UPDATE).allowed


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
    widened(core)
    tamper(core, statement)
    follower = PolicyHead(core)
    await follower.refresh()
    answer = follower.decider().decide(UPDATE)
    assert not answer.allowed
    assert says in answer.errors[0]
    assert "everything is denied" in caplog.text


@pytest.mark.parametrize("statement", ["DELETE FROM policy_head WHERE seq = 1", "DELETE FROM policy_head"])
async def test_a_head_that_moves_backwards_or_disappears_denies(
    core: Core, genesis: str, statement: str
) -> None:
    widened(core)
    follower = PolicyHead(core)
    await follower.refresh()
    assert follower.decider().decide(UPDATE).allowed
    tamper(core, statement)
    await follower.refresh()
    assert not follower.decider().decide(UPDATE).allowed
    assert follower.problem()


async def test_without_policies_everything_is_denied(core: Core) -> None:
    follower = PolicyHead(core)
    await follower.refresh()
    assert follower.decider().decide(UPDATE).errors == ("no policies are stored",)
    assert not isinstance(follower.decider(), Decider)


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
