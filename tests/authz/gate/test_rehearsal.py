"""The dry run shows exactly the recorded decisions that a proposal flips."""

from __future__ import annotations

from typing import Any

from redoubt.audit import record
from redoubt.authz import store, versions
from redoubt.authz.changes import propose
from redoubt.authz.decide import Decider
from redoubt.authz.enforce import decision_event
from redoubt.authz.gate import recorded, rehearse
from redoubt.authz.models import AuthzRequest, Caller, Decision, Entity, user_uid
from redoubt.core.base import Core

from ..model import WIDER, policies
from .world import ANN, BOB, approve, ask, begin

SUPPORT = Caller("sue", roles=frozenset({"support"}), step_up=True)
CUSTOMER = Caller("cora", roles=frozenset({"customer"}))


def order(owner: str, state: str = "draft") -> Entity:
    return Entity("Order", f"o-{owner}", {"tenant": "main", "owner": user_uid(owner), "state": state})


def decided(core: Core, caller: Caller, action: str, resource: Entity) -> str:
    """Record a decision as enforcement does; return the entry's id."""
    context = {"risk": 0, "step_up": caller.step_up}
    request = AuthzRequest.of(caller.principal(), action, resource, context)
    event = decision_event(caller, action, (resource.type, resource.id), Decider(policies()).decide(request))
    return core.db.write_sync(lambda tx: record(tx, core, event))


def traffic(core: Core) -> tuple[str, str]:
    """Record decisions of which the wider set turns one question, asked twice; return that question's entries."""
    decided(core, CUSTOMER, "Order.read", order("cora"))
    decided(core, CUSTOMER, "Order.update", order("cora", "paid"))
    turning = [decided(core, SUPPORT, "Order.update", order("cora")) for _ in range(2)]
    missing = decision_event(CUSTOMER, "Order.read", None, Decision(False, errors=("does not exist",)))
    core.db.write_sync(lambda tx: record(tx, core, missing))
    return turning[0], turning[1]


def test_a_widening_turns_exactly_what_it_turns_and_the_way_back_the_same(core: Core) -> None:
    begin(core)
    entries = traffic(core)
    decisions = core.db.read_sync(lambda tx: recorded(tx, "main"))
    found = rehearse(policies(), policies(WIDER), decisions)
    assert (found["decisions"], found["unreadable"]) == (5, 1)
    assert (found["deny_to_allow"], found["allow_to_deny"]) == (2, 0)
    (example,) = found["examples"]
    assert example["entry"] in entries
    assert (example["turns"], example["times"], example["action"]) == ("deny_to_allow", 2, "Order.update")
    assert example["policies"] == ["Order.update:support+step-up"]
    back = rehearse(policies(WIDER), policies(), decisions)
    assert (back["deny_to_allow"], back["allow_to_deny"]) == (0, 2)
    same = rehearse(policies(), policies(), decisions)
    assert (same["deny_to_allow"], same["allow_to_deny"], same["examples"]) == (0, 0, [])


def test_only_the_newest_are_looked_at_and_nobody_elses(core: Core) -> None:
    begin(core)
    traffic(core)
    assert len(core.db.read_sync(lambda tx: recorded(tx, "main", most=2))) == 2
    other = decision_event(
        Caller("x", tenant="acme"), "Order.read", None, Decision(False, errors=("does not exist",))
    )
    core.db.write_sync(lambda tx: record(tx, core, other))
    assert len(core.db.read_sync(lambda tx: recorded(tx, "main"))) == 6  # the app's policies decide for acme
    core.db.write_sync(lambda tx: versions.genesis(tx, core, policies(), tenant="acme"))
    assert len(core.db.read_sync(lambda tx: recorded(tx, "main"))) == 5
    assert len(core.db.read_sync(lambda tx: recorded(tx, "acme"))) == 1


def test_the_approver_signs_the_dry_run_and_decisions_made_since_do_not_undo_it(core: Core) -> None:
    approvals = begin(core)
    traffic(core)
    request = ask(core, approvals)
    shown: dict[str, Any] = request.dry_run["evidence"]["rehearsal"]
    assert shown["deny_to_allow"] == 2
    decided(core, SUPPORT, "Order.update", order("other"))
    approve(core, approvals, request, BOB)
    step = core.db.read_sync(lambda tx: store.history(tx, "main"))[0]
    verdict = core.db.read_sync(lambda tx: store.verdict(tx, "main", str(step.verdict_id)))
    assert verdict is not None
    assert verdict.evidence["rehearsal"] == shown


def test_a_change_that_passes_keeps_its_dry_run_too(core: Core) -> None:
    approvals = begin(core, policies(WIDER))
    traffic(core)
    proposed = propose(core, approvals, policies(), author=ANN)
    assert proposed.approval is None
    assert proposed.verdict.evidence["rehearsal"]["allow_to_deny"] == 2
