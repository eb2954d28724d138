"""A dry run: recorded decisions, decided again by the running and by the proposed policies, and what would turn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from redoubt.audit import store as audit_store
from redoubt.core.db import Tx

from .. import store
from ..decide import Decider
from ..models import AuthzRequest, Decision
from ..policyset import PolicySet

MOST = 2_000
"""Recorded decisions that a dry run looks at, the newest."""
_EXAMPLES = 10


@frozen
class Recorded:
    """A recorded decision with what it read; `request` is None where the record does not hold that, or not readably."""

    entry_id: str
    at: datetime
    digest: str
    request: AuthzRequest | None


def recorded(tx: Tx, tenant: str, most: int = MOST) -> list[Recorded]:
    """Return the newest decisions that the policies of `tenant` made: the app's decide for who has none of their own."""
    entries = audit_store.entries
    mine = entries.c.tenant == tenant
    if tenant == store.MAIN:
        mine = entries.c.tenant.not_in(sorted(set(store.heads(tx)) - {store.MAIN}))
    rows = tx.execute(
        sa.select(entries.c.id, entries.c.at, entries.c.body)
        .where(entries.c.action == "authz.decide", mine)
        .order_by(entries.c.id.desc())
        .limit(most)
    )
    return [_read(row) for row in rows]


def rehearse(old: PolicySet, new: PolicySet, decisions: Sequence[Recorded]) -> dict[str, Any]:
    """Return how many of `decisions` would turn, each way, with examples; both sets are asked now, on what was read.

    A question that was asked many times is decided once and counted as often. `unreadable` ones could not be decided
    again: the resource did not exist, or the values were too large. Personal data is redacted in records; where a
    policy reads it, both sets read the redaction.
    """
    before, after = Decider(old), Decider(new)
    times = Counter(item.digest for item in decisions if item.request is not None)
    found: dict[str, Any] = {
        "decisions": len(decisions),
        "unreadable": len(decisions) - times.total(),
        "newest": decisions[0].at.isoformat() if decisions else None,
        "oldest": decisions[-1].at.isoformat() if decisions else None,
        "deny_to_allow": 0,
        "allow_to_deny": 0,
        "examples": [],
    }
    seen: set[str] = set()
    shown: Counter[str] = Counter()
    for item in decisions:
        if item.request is None or item.digest in seen:
            continue
        seen.add(item.digest)
        was, will = before.decide(item.request), after.decide(item.request)
        if was.allowed == will.allowed:
            continue
        turned = "deny_to_allow" if will.allowed else "allow_to_deny"
        found[turned] += times[item.digest]
        shown[turned] += 1
        if shown[turned] <= _EXAMPLES:
            found["examples"].append(_example(item, item.request, turned, was, will, times[item.digest]))
    return found


def _example(
    item: Recorded, request: AuthzRequest, turned: str, was: Decision, will: Decision, times: int
) -> dict[str, Any]:
    return {
        "turns": turned,
        "entry": item.entry_id,
        "times": times,
        "principal": request.principal.to_json(),
        "action": request.action.id,
        "resource": request.resource.to_json(),
        "policies": list((will if will.allowed else was).reasons),
    }


def _read(row: Any) -> Recorded:
    data = json.loads(row.body).get("unmapped", {})
    request = None
    try:
        if data.get("values"):
            request = AuthzRequest.from_values(data["values"])
    except (KeyError, TypeError, AttributeError):
        request = None
    return Recorded(row.id, row.at, str(data.get("digest") or row.id), request)
