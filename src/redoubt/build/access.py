"""From a spec's permissions to the access model that Cedar policies are compiled from."""

from __future__ import annotations

from collections import defaultdict

from redoubt.authz.rules import AccessModel, Action, Allow, ResourceType, operator_actions

from .spec.fields import StateField
from .spec.model import Spec
from .spec.names import OPERATOR, actions_of
from .spec.parts import Permission


def access_model(spec: Spec) -> AccessModel:
    """Return roles, resource types and actions of an app: its own entities, its pages, payments and the console."""
    granted: dict[str, list[Allow]] = defaultdict(list)
    for rule in spec.permissions:
        for action in rule.actions:
            granted[action] += [allow for allow in _allows(rule) if allow not in granted[action]]
    actions: list[Action] = []
    for name in spec.entities:
        for verb in actions_of(spec, name):
            full = f"{name}.{verb}"
            actions.append(
                Action(full, name, "collection" if verb == "list" else "object", tuple(granted[full]))
            )
    if spec.payments is not None:
        for verb in ("list", "read", "refund"):
            full = f"Payment.{verb}"
            actions.append(
                Action(full, "Payment", "collection" if verb == "list" else "object", tuple(granted[full]))
            )
    for given in operator_actions(OPERATOR):
        more = tuple(allow for allow in granted[given.name] if allow not in given.allow)
        actions.append(Action(given.name, given.resource, given.scope, (*given.allow, *more)))
    for name, page in spec.pages.own.items():
        if not page.public:
            actions.append(
                Action(f"Page.{name}", scope="app", allow=tuple(Allow(role) for role in page.roles))
            )
    model = AccessModel(tuple(spec.roles), tuple(_resources(spec)), tuple(actions))
    model.check()
    return model


def _allows(rule: Permission) -> list[Allow]:
    """Return one allow a role; the tenant is always held, whether the rule says it or not."""
    return [
        Allow(
            role,
            owner=rule.owner,
            tenant=True,
            risk_max=rule.risk_max,
            step_up=rule.step_up,
            amount_max=rule.amount_max,
            states=tuple(rule.states),
        )
        for role in rule.roles
    ]


def _resources(spec: Spec) -> list[ResourceType]:
    found = []
    for name, entity in spec.entities.items():
        states = next(
            (tuple(field.states) for field in entity.fields.values() if isinstance(field, StateField)), ()
        )
        found.append(ResourceType(name, owner=entity.owned, states=states))
    if spec.payments is not None:
        found.append(ResourceType("Payment", owner=True))
    return found
