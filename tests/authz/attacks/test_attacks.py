"""Twelve classes of attack on the gate: none gets a widening through, and the honest twin of each passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve, frozen

from redoubt.authz import changes, store
from redoubt.authz.gate import Examined, examine
from redoubt.authz.head import PolicyHead
from redoubt.authz.roles import Roles
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock

from ..gate.world import approvals_of, begin
from ..model import SHOP
from . import by_request, by_sql
from .scene import EDITS, PEOPLE, Edit, Scene

Act = Callable[[Scene], None]


@frozen
class Class:
    """One class of attack: its ways, and what its honest twin does."""

    name: str
    ways: Mapping[str, Act]
    twin: Act = by_request.honest
    role: bool = False


CLASSES = (
    Class("stale base", by_request.STALE),
    Class("expiry", by_request.EXPIRY, by_request.in_time),
    Class("edit after sign-off", by_request.EDITED),
    Class("replay", by_request.REPLAY),
    Class("self-approval", by_request.SELF),
    Class("forged verdict", by_sql.FORGED),
    Class("verdict of another base", by_sql.OTHER),
    Class("direct activation", by_sql.DIRECT),
    Class("edit of the stored text", by_sql.STORED),
    Class("two approvals at once", by_request.AT_ONCE),
    Class("role change outside of the grant", by_sql.ROLE, by_sql.honest_role, role=True),
    Class("roll-back to a wider version", by_request.BACK, by_request.back_by_two),
)


@frozen
class Script:
    """One attack by one way, for one edit (or role), by one person against another."""

    kind: Class
    way: str
    edit: Edit
    role: str
    people: tuple[str, str]


def scripts() -> Iterator[Script]:
    """Every class by every way, for every edit or role, with the people in both parts."""
    for kind in CLASSES:
        wanted: list[tuple[Edit, str]] = [(edit, "") for edit in EDITS]
        if kind.role:
            wanted = [(EDITS[0], role) for role in SHOP.roles]
        for way, (edit, role), people in itertools.product(kind.ways, wanted, PEOPLE):
            yield Script(kind, way, edit, role, people)


ALL = list(scripts())


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove each pair of sets once: the proof is the same for every script."""
    known: dict[tuple[str, str], Examined] = {}

    def once(old: Any, new: Any, **options: Any) -> Examined:
        pair = (old.version, new.version)
        if pair not in known:
            known[pair] = examine(old, new, **options)
        return known[pair]

    monkeypatch.setattr(changes, "examine", once)


def play(
    core: Core, clock: ManualClock, chosen: list[Script], *, twins: bool = True, again: bool = False
) -> int:
    """Run each script and its twin, each in a tenant of its own; return how many attacks were stopped."""
    approvals = approvals_of(core) if again else begin(core)
    follower = PolicyHead(core)
    stopped = 0
    for number, script in enumerate(chosen):
        for part, act in (("attack", script.kind.ways[script.way]), ("twin", script.kind.twin)):
            if part == "twin" and not twins:
                continue
            author, approver = script.people
            scene = Scene(
                core,
                approvals,
                clock,
                follower,
                f"{part}-{number}-{again}",
                script.edit,
                author,
                approver,
                role=script.role,
            )
            label = (script.kind.name, script.way, script.edit.name, script.role, part)
            scene.begin()
            act(scene)
            if script.kind.role:
                roles = Roles(core)
                got = script.role in core.db.read_sync(
                    lambda tx, tenant=scene.tenant, of=roles: of.roles(tx, tenant, "eve")
                )
            else:
                got = scene.allows()
            assert got == (part == "twin"), label
            stopped += part == "attack"
    return stopped


def test_there_are_twelve_classes_and_five_hundred_scripts() -> None:
    assert len(CLASSES) == 12
    assert len(ALL) >= 500
    assert all(len(kind.ways) >= 4 for kind in CLASSES)


def test_each_way_of_each_class_is_stopped(core: Core, clock: ManualClock, remembered: None) -> None:
    chosen = []
    for kind in CLASSES:
        for number, way in enumerate(kind.ways):
            of_this = [script for script in ALL if script.kind is kind and script.way == way]
            chosen.append(of_this[number * 5 % len(of_this)])
    assert play(core, clock, chosen) == len(chosen)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_no_script_gets_through(core: Core, clock: ManualClock, remembered: None) -> None:
    assert play(core, clock, ALL) == len(ALL) >= 500


def _unseal_steps(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redoubt.authz.head.demand_seal", lambda step, keys: None)


def _unseal_roles(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redoubt.authz.roles.stands", lambda step, keys: True)


def _drop(trigger: str, table: str) -> Callable[[Core, pytest.MonkeyPatch], None]:
    def drop(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
        on = f" ON {table}" if core.db.dialect == "postgresql" else ""
        core.db.write_sync(lambda tx: tx.execute(sa.text(f"DROP TRIGGER {trigger}{on}")))

    return drop


def _wider_passes(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        changes,
        "examine",
        lambda *sets, **options: evolve(examine(*sets, **options), verdict="equal", passes=True),
    )


def _any_base(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the app nor the database looks at the base."""
    true = store.verdict

    def lies(tx: Any, tenant: str, verdict_id: str) -> Any:
        found, now = true(tx, tenant, verdict_id), store.head(tx, tenant)
        assert found is not None
        assert now is not None
        return evolve(found, base_seq=now.seq)

    monkeypatch.setattr(store, "verdict", lies)
    _drop("policy_head_proven", "policy_head")(core, monkeypatch)


@pytest.mark.parametrize(
    ("fault", "kind", "way"),
    [
        (_unseal_steps, "forged verdict", "an invented proof"),
        (_unseal_steps, "forged verdict", "an invented assertion"),
        (_unseal_roles, "role change outside of the grant", "a step with a false seal"),
        (_unseal_roles, "role change outside of the grant", "the step of a role that was taken"),
        (
            _drop("role_steps_no_delete", "role_steps"),
            "role change outside of the grant",
            "the last step deleted",
        ),
        (
            _drop("role_members_no_update", "role_members"),
            "role change outside of the grant",
            "another role changed",
        ),
        (_drop("policy_head_proven", "policy_head"), "direct activation", "as another tenant's beginning"),
        (_drop("policy_head_proven", "policy_head"), "verdict of another base", "of a base that ran"),
        (_drop("policy_head_no_update", "policy_head"), "direct activation", "by changing the step"),
        (_drop("policy_versions_no_update", "policy_versions"), "edit of the stored text", "its author"),
        (_drop("approvals_update", "approvals"), "edit after sign-off", "its end"),
        (_any_base, "stale base", "away and back"),
        (_wider_passes, "roll-back to a wider version", "alone"),
    ],
)
def test_a_planted_fault_lets_its_attack_through(
    core: Core, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, fault: Any, kind: str, way: str
) -> None:
    script = next(item for item in ALL if item.kind.name == kind and item.way == way)
    assert play(core, clock, [script], twins=False) == 1
    fault(core, monkeypatch)
    with pytest.raises(AssertionError):
        play(core, clock, [script], twins=False, again=True)
