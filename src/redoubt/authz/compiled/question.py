"""What a decision is asked about."""

from __future__ import annotations

from typing import Any

from .entities import Store
from .values import Ref


class Question:
    """What an expression is asked about: principal, action, resource, context, and the entities it may read."""

    __slots__ = ("action", "context", "entities", "principal", "resource")

    def __init__(
        self, principal: Ref, action: Ref, resource: Ref, context: dict[str, Any], entities: Store
    ) -> None:
        self.principal = principal
        self.action = action
        self.resource = resource
        self.context = context
        self.entities = entities
