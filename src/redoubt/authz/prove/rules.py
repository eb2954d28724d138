"""Where a set says which invariants hold: `@invariant` on a forbid, `@outside` on an action of the schema."""

from __future__ import annotations

from ..policyset import PolicySet
from ..schema.types import ActionType, Schema

INVARIANT, OUTSIDE = "invariant", "outside"
TENANT, NOBODY = "tenant", "nobody"
RULES = (TENANT, NOBODY)


def invariant_ids(policies: PolicySet) -> frozenset[str]:
    """Return the ids of the forbids that are declared as invariants."""
    return frozenset(
        name for name, policy in policies.policies.items() if INVARIANT in policy.get("annotations", {})
    )


def outside(action: ActionType) -> frozenset[str]:
    """Return which standing rules an action is meant to go beyond."""
    return frozenset(part.strip() for part in action.annotations.get(OUTSIDE, "").split(",") if part.strip())


def outside_problems(schema: Schema) -> list[str]:
    """Return which @outside names what is no rule."""
    return [
        f"{uid.id}: @outside names {name!r}, which is no rule: there are {', '.join(RULES)}"
        for uid, action in sorted(schema.actions.items(), key=lambda pair: str(pair[0]))
        for name in sorted(outside(action) - {*RULES})
    ]
