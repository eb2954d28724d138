"""What may I do here: the actions that the running policies permit, so that a page offers what the API would allow.

A page that hides a button decides nothing: the API asks again when the button is pressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from .models import AuthzRequest, Decision, Entity


class Decides(Protocol):
    """Whatever answers one question with a decision and never raises: `Decider`, `DenyAll`."""

    def decide(self, request: AuthzRequest) -> Decision:
        """Return the decision."""
        ...


def permitted_actions(
    decider: Decides,
    principal: Entity,
    resource: Entity,
    actions: Iterable[str],
    context: Mapping[str, Any],
    *more: Entity,
) -> tuple[str, ...]:
    """Return those of `actions` that `principal` may do on `resource`, in the order given.

    An action that does not apply to this kind of resource, or that errs, is not permitted.
    """
    return tuple(
        action
        for action in actions
        if decider.decide(AuthzRequest.of(principal, action, resource, context, *more)).allowed
    )
