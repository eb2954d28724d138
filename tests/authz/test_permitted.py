"""What may I do here: what a page offers is what the policies would allow."""

from __future__ import annotations

from redoubt.authz.decide import Decider, DenyAll
from redoubt.authz.models import Caller, Entity, user_uid
from redoubt.authz.permitted import permitted_actions

from .model import policies

ACTIONS = ("Order.update", "Order.read", "Payment.refund", "Order.unheard_of")
CONTEXT = {"risk": 0, "step_up": False}
DRAFT = Entity("Order", "o1", {"tenant": "main", "owner": user_uid("u1"), "state": "draft"})
PAID = Entity("Order", "o2", {"tenant": "main", "owner": user_uid("u1"), "state": "paid"})


def offered(user: str, role: str, order: Entity) -> tuple[str, ...]:
    principal = Caller(user_id=user, roles=[role]).principal()
    return permitted_actions(Decider(policies()), principal, order, ACTIONS, CONTEXT)


def test_an_owner_is_offered_what_the_state_lets_them_do_in_the_order_asked() -> None:
    assert offered("u1", "customer", DRAFT) == ("Order.update", "Order.read")
    assert offered("u1", "customer", PAID) == ("Order.read",)


def test_nobody_is_offered_what_is_anothers_or_what_does_not_apply() -> None:
    assert offered("u2", "customer", DRAFT) == ()
    assert offered("f1", "finance", DRAFT) == ()


def test_without_policies_nothing_is_offered() -> None:
    principal = Caller(user_id="u1", roles=["customer"]).principal()
    assert permitted_actions(DenyAll("no policies"), principal, DRAFT, ACTIONS, CONTEXT) == ()
