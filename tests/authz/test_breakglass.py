"""Break-glass: two people, minutes, loud, over by itself; and roles with an end in general."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import asdict, evolve
from sqlalchemy.exc import DBAPIError, IntegrityError

from redoubt.audit.store import entries
from redoubt.authz import store
from redoubt.authz.breakglass import LIFETIME, break_glass, break_glass_kind, open_now
from redoubt.authz.roles import Roles
from redoubt.authz.seal import sealed_member
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.guard.approvals import Approvals
from redoubt.guard.errors import ApprovalError, PayloadInvalid, SelfApproval
from redoubt.guard.kinds import Kinds
from redoubt.guard.models import Approval

from .gate.world import ANN, BOB, EVE, Signs, actions

ROLE = "finance"


@pytest.fixture
def roles(core: Core) -> Roles:
    return Roles(core, {"finance", "operator"})


@pytest.fixture
def approvals(core: Core, roles: Roles) -> Approvals:
    kind = break_glass_kind(core, roles, lambda tx, approval, person: person in (ANN, BOB, EVE))
    return Approvals(core, Kinds(kind), Signs())


def ask(core: Core, approvals: Approvals, user: str = EVE, minutes: int = 15, **options: Any) -> Approval:
    given = {
        "user": user,
        "role": ROLE,
        "minutes": minutes,
        "reason": "the till is stuck",
        "by": ANN,
        "ticket": "T",
    }
    return core.db.write_sync(lambda tx: break_glass(tx, approvals, **{**given, **options}))


def approve(core: Core, approvals: Approvals, request: Approval, person: str = BOB) -> None:
    core.db.write_sync(lambda tx: approvals.approve(tx, request.id, person, {"id": request.challenge.hex()}))


def held(core: Core, roles: Roles, user: str = EVE) -> frozenset[str]:
    return core.db.read_sync(lambda tx: roles.roles(tx, "main", user))


def test_it_is_given_by_two_for_minutes_and_over_by_itself(
    core: Core, roles: Roles, approvals: Approvals, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    request = ask(core, approvals)
    assert held(core, roles) == frozenset()
    with caplog.at_level(logging.WARNING):
        approve(core, approvals, request)
    assert "break-glass" in caplog.text
    assert EVE not in caplog.text
    assert held(core, roles) == {ROLE}
    (shown,) = core.db.read_sync(lambda tx: open_now(tx, core, "main"))
    assert (shown.user_id, shown.approval_id) == (EVE, request.id)
    clock.advance(timedelta(minutes=15, microseconds=-1))
    assert held(core, roles) == {ROLE}
    clock.advance(timedelta(microseconds=1))
    assert held(core, roles) == frozenset()  # nobody did anything
    assert core.db.read_sync(lambda tx: open_now(tx, core, "main")) == []
    assert core.db.write_sync(roles.sweep) == 1
    assert core.db.write_sync(roles.sweep) == 0
    assert {"authz.break-glass.open", "authz.grant", "authz.expire"} <= set(actions(core))
    loud = core.db.read_sync(
        lambda tx: tx.execute(sa.select(entries).where(entries.c.action == "authz.break-glass.open")).one()
    )
    assert loud.severity_id >= 4


@pytest.mark.parametrize(("user", "approver"), [(EVE, ANN), (EVE, EVE), (BOB, BOB), (ANN, ANN)])
def test_neither_who_asks_nor_who_gets_it_approves(
    core: Core, roles: Roles, approvals: Approvals, user: str, approver: str
) -> None:
    request = ask(core, approvals, user)
    with pytest.raises(SelfApproval if approver == ANN else ApprovalError):
        approve(core, approvals, request, approver)
    assert held(core, roles, user) == frozenset()
    approve(core, approvals, request, EVE if user == BOB else BOB)
    assert held(core, roles, user) == {ROLE}


@pytest.mark.parametrize(
    "wrong", [{"minutes": 0}, {"minutes": 61}, {"reason": " "}, {"user": ""}, {"role": ""}]
)
def test_what_is_out_of_bounds_cannot_be_asked_for(
    core: Core, approvals: Approvals, wrong: dict[str, Any]
) -> None:
    with pytest.raises(PayloadInvalid):
        ask(core, approvals, **wrong)


def test_it_is_used_once_in_time_and_not_for_what_is_held_or_unknown(
    core: Core, roles: Roles, approvals: Approvals, clock: ManualClock
) -> None:
    late = ask(core, approvals)
    clock.advance(LIFETIME)
    with pytest.raises(ApprovalError):
        approve(core, approvals, late)
    request = ask(core, approvals)
    approve(core, approvals, request)
    for again in (request, ask(core, approvals)):
        with pytest.raises(ApprovalError):
            approve(core, approvals, again)
    clock.advance(timedelta(hours=1))
    with pytest.raises(ApprovalError):
        approve(core, approvals, request)
    assert held(core, roles) == frozenset()
    with pytest.raises(ApprovalError):
        approve(core, approvals, ask(core, approvals, role="root"))


@pytest.mark.parametrize(
    "changes",
    [
        {"approval_id": "x"},
        {"expires_at": None},
        {"expires_at": 16},
        {"role": "operator"},
        {"user_id": BOB},
        {"tenant": "acme"},
    ],
)
def test_the_database_gives_no_emergency_role_but_what_was_approved(
    core: Core, roles: Roles, approvals: Approvals, clock: ManualClock, changes: dict[str, Any]
) -> None:
    """With the seal of the app itself, so that nothing but the database stands in the way."""
    request = ask(core, approvals)
    approve(core, approvals, request)
    core.db.write_sync(removed)
    now = clock.now()
    row = {
        "tenant": "main", "user_id": EVE, "role": ROLE, "granted_by": ANN, "at": now,
        "expires_at": now + timedelta(minutes=15), "approval_id": request.id, **changes,
    }  # fmt: skip
    if isinstance(row["expires_at"], int):
        row["expires_at"] = now + timedelta(minutes=row["expires_at"])
    with pytest.raises((DBAPIError, IntegrityError)):
        core.db.write_sync(lambda tx: added(tx, sealed_member(store.Member(**row), core.keys)))
    honest = {**row, "tenant": "main", "user_id": EVE, "role": ROLE, "approval_id": request.id}
    honest["expires_at"] = now + timedelta(minutes=15)
    core.db.write_sync(lambda tx: added(tx, sealed_member(store.Member(**honest), core.keys)))
    assert held(core, roles) == {ROLE}


def test_a_role_with_an_end_is_over_then_and_its_end_cannot_be_moved(
    core: Core, roles: Roles, clock: ManualClock
) -> None:
    ends = clock.now() + timedelta(days=1)
    core.db.write_sync(lambda tx: roles.assign(tx, "main", EVE, ROLE, ANN, expires=ends))
    with pytest.raises(DBAPIError):
        core.db.write_sync(lambda tx: tx.execute(sa.text("UPDATE role_members SET expires_at = NULL")))
    assert held(core, roles) == {ROLE}
    clock.advance(timedelta(days=1))
    assert held(core, roles) == frozenset()
    core.db.write_sync(lambda tx: roles.assign(tx, "main", EVE, ROLE, ANN))  # given again, for good
    assert held(core, roles) == {ROLE}
    with pytest.raises(DBAPIError):
        core.db.write_sync(
            lambda tx: roles.assign(tx, "main", BOB, ROLE, ANN, expires=clock.now() - timedelta(seconds=1))
        )


def test_an_end_is_under_the_seal(core: Core, roles: Roles, clock: ManualClock) -> None:
    soon = clock.now() + timedelta(minutes=1)
    core.db.write_sync(lambda tx: roles.assign(tx, "main", EVE, ROLE, ANN, expires=soon))
    row = core.db.read_sync(lambda tx: tx.execute(sa.text("SELECT * FROM role_members")).mappings().one())
    step = core.db.read_sync(lambda tx: tx.execute(sa.text("SELECT * FROM role_steps")).mappings().one())

    def longer(tx: Any) -> None:
        removed(tx)
        tx.execute(store.role_members.insert(), {**row, "at": clock.now(), "expires_at": None})
        values = {**step, "seq": 1, "at": clock.now(), "expires_at": None, "held": [[ROLE, None]]}
        removed(tx)
        tx.execute(store.role_steps.insert(), values)

    core.db.write_sync(longer)
    assert held(core, roles) == {ROLE}
    clock.advance(timedelta(minutes=1))
    assert held(core, roles) == frozenset()


def test_a_row_that_is_gone_or_put_back_changes_nothing(core: Core, roles: Roles) -> None:
    core.db.write_sync(lambda tx: roles.assign(tx, "main", EVE, ROLE, ANN))
    row = core.db.read_sync(lambda tx: tx.execute(sa.select(store.role_members)).mappings().one())
    core.db.write_sync(removed)
    assert held(core, roles) == {ROLE}
    assert core.db.write_sync(lambda tx: roles.revoke(tx, "main", EVE, ROLE, ANN))
    core.db.write_sync(lambda tx: tx.execute(store.role_members.insert(), dict(row)))
    assert held(core, roles) == frozenset()
    assert core.db.read_sync(lambda tx: roles.holders(tx, "main", ROLE)) == []


def test_roles_from_before_there_were_steps_are_adopted_once(
    core: Core, roles: Roles, clock: ManualClock
) -> None:
    given = sealed_member(store.Member("main", EVE, ROLE, ANN, clock.now()), core.keys)
    core.db.write_sync(lambda tx: added(tx, given))
    core.db.write_sync(lambda tx: added(tx, evolve(given, user_id=BOB)))  # its seal is EVE's
    assert held(core, roles) == frozenset()
    assert core.db.write_sync(roles.adopt) == 1
    assert held(core, roles) == {ROLE}
    assert core.db.read_sync(lambda tx: roles.roles(tx, "main", BOB)) == frozenset()
    core.db.write_sync(lambda tx: added(tx, sealed_member(evolve(given, user_id=ANN), core.keys)))
    assert core.db.write_sync(roles.adopt) == 0
    assert core.db.read_sync(lambda tx: roles.roles(tx, "main", ANN)) == frozenset()


def removed(tx: Any) -> None:
    """Delete EVE's row past the app."""
    tx.execute(store.role_members.delete().where(store.role_members.c.user_id == EVE))


def added(tx: Any, member: store.Member) -> None:
    """Write a row past the app."""
    tx.execute(store.role_members.insert(), asdict(member, recurse=False))
