"""Who gains by a change, among the people there are."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from redoubt.core.db import Tx

from .. import store
from ..models import Caller, Entity, EntityUid
from ..policyset import PolicySet
from ..prove import Comparison
from ..schema import SchemaError, read_schema

Directory = Callable[[Tx], Iterable[Entity]]
"""Returns everybody as principals, with all that policies may read of them."""
MAX_PEOPLE = 50_000
SECONDS = 20.0
"""Wall time that the search for who gains may take, after the verdict."""
_NAMED = 100


def role_holders(tx: Tx) -> list[Entity]:
    """Return everybody who has a role: the directory of who knows no other."""
    table = store.role_members
    roles: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in tx.execute(sa.select(table.c.tenant, table.c.user_id, table.c.role).limit(MAX_PEOPLE)):
        roles[row.tenant, row.user_id].add(row.role)
    return [Caller(user, tenant, held).principal() for (tenant, user), held in sorted(roles.items())]


def with_nobody(people: Iterable[Entity]) -> list[Entity]:
    """Return `people`, and who is not logged in at each of their tenants."""
    known = list(people)
    tenants = sorted({str(one.attrs.get("tenant", "main")) for one in known} | {"main"})
    return [*known, *(Caller(tenant=tenant).principal() for tenant in tenants)]


def gains(
    old: PolicySet, new: PolicySet, comparison: Comparison, people: Sequence[Entity], *, seconds: float
) -> tuple[list[dict[str, Any]], dict[str, tuple[EntityUid, ...]]]:
    """Return for each wider and each new environment who of `people` gains; for a new one, who may do it at all.

    Of an environment about which nothing was proven nobody is cleared: all of its people are undecided.

    Names are ids, at most a hundred an environment with the count of all; `undecided` counts those about whom nothing
    could be said in time. Beside that everybody who gains, by place.
    """
    places = [item for item in comparison.environments if item.verdict in ("wider", "new", "unknown")]
    if not places or not people:
        return [], {}
    try:
        from ..prove.gains import Gain, gaining

        schemas = read_schema(old.schema_text), read_schema(new.schema_text)
    except (ImportError, SchemaError):
        return [], {}
    deadline = time.monotonic() + seconds
    found: list[dict[str, Any]] = []
    everybody: dict[str, tuple[EntityUid, ...]] = {}
    for item in places:
        before = old if item.environment in set(schemas[0].environments()) else None
        place = item.environment
        if item.verdict == "unknown":
            gain = Gain(place, undecided=tuple(one.uid for one in people if one.type == place.principal))
        else:
            gain = gaining(before, schemas[0], new, schemas[1], place, people, deadline)
        where = f"{place.principal} · {place.action.id} · {place.resource}"
        everybody[where] = gain.people
        found.append(
            {
                "where": where,
                "type": place.principal,
                "ids": [uid.id for uid in gain.people[:_NAMED]],
                "count": len(gain.people),
                "undecided": len(gain.undecided),
            }
        )
    return found, everybody
