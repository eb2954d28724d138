"""Explain names what decided, what erred and what failed first; replay decides a recorded decision again."""

from __future__ import annotations

from typing import Any

import pytest

from redoubt.audit import record
from redoubt.authz import versions
from redoubt.authz.decide import Decider
from redoubt.authz.enforce import decision_event
from redoubt.authz.errors import ReplayError
from redoubt.authz.explain import explain
from redoubt.authz.models import AuthzRequest, Caller, Decision, Entity, user_uid
from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.replay import replay
from redoubt.core.base import Core

from .gate.world import begin, widened
from .model import WIDER, policies, source

OWNER = Caller(user_id="u1", roles=frozenset({"customer"}))
FINANCE = Caller(user_id="f", roles=frozenset({"finance"}))


def order(**attrs: Any) -> Entity:
    return Entity("Order", "o1", {"tenant": "main", "owner": user_uid("u1"), "state": "draft", **attrs})


def ask(caller: Caller, action: str, resource: Entity, **context: Any) -> AuthzRequest:
    return AuthzRequest.of(caller.principal(), action, resource, {"risk": 0, "step_up": False, **context})


PAYMENT = Entity("Payment", "p", {"tenant": "main", "owner": user_uid("u1")})


@pytest.mark.parametrize(
    ("request_", "policy", "failed"),
    [
        (ask(FINANCE, "Order.update", order()), "Order.update:customer+own+state=draft", "role"),
        (
            ask(OWNER, "Order.update", order(owner=user_uid("u2"))),
            "Order.update:customer+own+state=draft",
            "owner",
        ),
        (ask(OWNER, "Order.update", order(tenant="b")), "Order.update:customer+own+state=draft", "tenant"),
        (ask(OWNER, "Order.update", order(state="paid")), "Order.update:customer+own+state=draft", "state"),
        (
            ask(Caller(user_id="s", roles=frozenset({"support"})), "Order.read", order(), risk=51),
            "Order.read:support+risk<=50",
            "risk",
        ),
        (ask(FINANCE, "Payment.refund", PAYMENT), "Payment.refund:finance+step-up+amount<=10000", "step-up"),
        (
            ask(FINANCE, "Payment.refund", PAYMENT, step_up=True),
            "Payment.refund:finance+step-up+amount<=10000",
            "amount",
        ),
        (
            ask(FINANCE, "Payment.refund", PAYMENT, step_up=True, amount=10_001),
            "Payment.refund:finance+step-up+amount<=10000",
            "amount",
        ),
    ],
)
def test_a_deny_names_the_candidate_and_its_first_failed_condition(
    request_: AuthzRequest, policy: str, failed: str
) -> None:
    found = explain(policies(), request_)
    assert not found.decision.allowed
    assert {item.policy_id: item.failed for item in found.candidates}[policy] == failed
    assert any(policy in line and failed in line for line in found.lines())


def test_an_allow_names_its_policy_with_its_text() -> None:
    found = explain(policies(), ask(OWNER, "Order.read", order()))
    assert list(found.determining) == ["Order.read:customer+own"]
    assert "permit" in found.lines()[1]


def test_a_forbid_and_an_error_are_named_on_policies_of_ones_own() -> None:
    extra = (
        '@id("frozen") forbid (principal, action, resource is Order) when { resource.state == "draft" };'
        '@id("adds") permit (principal, action, resource) when { context.risk + 9223372036854775807 > 0 };'
        '@id("not") permit (principal is User, action, resource is Product) unless { context.risk > 5 || true };'
    )
    base = source()
    mixed = parse(PolicySource(base.schema, {**base.policies, "x.cedar": extra}))
    found = explain(mixed, ask(OWNER, "Order.read", order(), risk=1))
    assert list(found.determining) == ["frozen"]
    assert any("adds" in error for error in found.erring)
    found = explain(mixed, ask(OWNER, "Product.create", Entity("Product", "p", {"tenant": "main"}), risk=1))
    by_id = {item.policy_id: item for item in found.candidates}
    assert by_id["not"].condition.startswith("unless")
    assert by_id["adds"].failed == "risk"


def test_nothing_near_is_said_too() -> None:
    found = explain(policies(), ask(OWNER, "Order.drop", order()))
    assert any("denied by default" in line for line in found.lines())


def recorded(core: Core, caller: Caller, request: AuthzRequest, decision: Decision | None = None) -> str:
    answer = decision or Decider(policies()).decide(request)
    event = decision_event(caller, request.action.id, (request.resource.type, request.resource.id), answer)
    return core.db.write_sync(lambda tx: record(tx, core, event))


def test_an_old_decision_is_decided_again_under_its_own_version(core: Core) -> None:
    approvals = begin(core)
    support = Caller(user_id="s", roles=frozenset({"support"}), step_up=True)
    request = ask(support, "Order.update", order(), step_up=True)
    entry = recorded(core, support, request)
    widened(core, approvals)
    assert Decider(policies(WIDER)).decide(request).allowed
    found = core.db.read_sync(lambda tx: replay(tx, entry))
    assert found.agrees
    assert found.complete
    assert not found.recorded_allowed
    assert found.version == policies().version


def test_a_forged_record_does_not_agree(core: Core) -> None:
    core.db.write_sync(lambda tx: versions.genesis(tx, core, policies()))
    request = ask(FINANCE, "Order.read", order())
    true = Decider(policies()).decide(request)
    forged = Decision(True, ("Order.read:customer+own",), (), true.version, true.written, true.digest)
    entry = recorded(core, FINANCE, request, forged)
    assert not core.db.read_sync(lambda tx: replay(tx, entry)).agrees
    with pytest.raises(ReplayError):
        core.db.read_sync(lambda tx: replay(tx, "nothing"))
