"""A small shop's access rules, as tests use them."""

from __future__ import annotations

from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.rules import (
    AccessModel,
    Action,
    Allow,
    ResourceType,
    compile_policies,
    compile_schema,
    operator_actions,
)

SHOP = AccessModel(
    roles=("customer", "support", "finance", "operator"),
    resources=(
        ResourceType("Order", owner=True, states=("draft", "paid")),
        ResourceType("Product"),
        ResourceType("Payment", owner=True),
    ),
    actions=(
        Action("Product.read", "Product", allow=(Allow("public"),)),
        Action("Product.create", "Product", allow=(Allow("operator", step_up=True),)),
        Action("Order.read", "Order", allow=(Allow("customer", owner=True), Allow("support", risk_max=50))),
        Action("Order.create", "Order", allow=(Allow("customer", owner=True),)),
        Action("Order.update", "Order", allow=(Allow("customer", owner=True, states=("draft",)),)),
        Action("Order.list", "Order", "collection", (Allow("customer", owner=True), Allow("support"))),
        Action("Payment.read", "Payment", allow=(Allow("finance"), Allow("customer", owner=True))),
        Action("Payment.refund", "Payment", allow=(Allow("finance", step_up=True, amount_max=10_000),)),
        *operator_actions(),
    ),
)


def source(model: AccessModel = SHOP) -> PolicySource:
    return PolicySource(compile_schema(model), compile_policies(model))


def policies(model: AccessModel = SHOP) -> PolicySet:
    return parse(source(model))


WIDER = AccessModel(
    SHOP.roles,
    SHOP.resources,
    tuple(
        Action(a.name, a.resource, a.scope, (*a.allow, Allow("support", step_up=True)))
        if a.name == "Order.update"
        else a
        for a in SHOP.actions
    ),
)
