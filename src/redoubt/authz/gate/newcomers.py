"""What a new access is, as a table: roles by owner, other and other tenant, and nobody; with who of the directory gets in."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..access import ANONYMOUS_TYPE
from ..models import Entity, EntityUid
from ..policyset import PolicySet
from ..prove import Comparison
from ..schema import Schema, SchemaError, read_schema
from ..schema.types import Environment

COLUMNS = ("owner", "other", "other tenant")
NOBODY, NO_ROLE = "nobody (not logged in)", "no role"
SECONDS = 20.0
"""Wall time that the tables may take, after the verdict."""
_ROWS = 40
_NAMED = 10
_SIGN = {"may": "may", "never": "-", "unknown": "?", "none": ""}


def tables(
    new: PolicySet,
    comparison: Comparison,
    people: Sequence[Entity] = (),
    gained: Mapping[str, Sequence[EntityUid]] | None = None,
    *,
    seconds: float = SECONDS,
) -> list[dict[str, Any]]:
    """Return a table for each action and resource type of which some environment is new.

    `gained` holds by `where` who of `people` gets in. Each row has a role, a cell by column (`may`, `never`, `unknown`, or
    `none` where there is no such resource), the ids of who of the directory has the role and gets in, and their count.
    """
    places = [item.environment for item in comparison.environments if item.verdict == "new"]
    if not places:
        return []
    try:
        from ..prove import admission

        schema = read_schema(new.schema_text)
    except (ImportError, SchemaError):
        return []
    deadline = time.monotonic() + seconds
    found = []
    for action, about in dict.fromkeys((place.action, place.resource) for place in places):
        rows: list[dict[str, Any]] = []
        for place in schema.environments():
            if (place.action, place.resource) != (action, about):
                continue
            mine = [one for one in people if one.type == place.principal]
            inside = set((gained or {}).get(where_of(place), ()))
            for name, groups in _groups(admission, new, schema, place, mine)[:_ROWS]:
                cells = admission.admitted(new, schema, place, groups, deadline)
                who = [one.uid.id for one in mine if one.uid in inside and (set(groups) <= set(one.parents))]
                if not groups and not _anonymous(place.principal):
                    who = [one.uid.id for one in mine if one.uid in inside and not one.parents]
                rows.append({"who": name, "cells": dict(cells), "ids": who[:_NAMED], "count": len(who)})
        rows.sort(key=lambda row: row["who"] == NOBODY)
        found.append({"where": f"{action.id} · {about}", "columns": list(COLUMNS), "rows": rows})
    return found


def where_of(place: Environment) -> str:
    """Return an environment as findings name it."""
    return f"{place.principal} · {place.action.id} · {place.resource}"


def _groups(
    admission: Any, new: PolicySet, schema: Schema, place: Environment, people: Sequence[Entity]
) -> list[tuple[str, tuple[EntityUid, ...]]]:
    """Return the rows of one kind of principal: each group that policies or people name, and without any."""
    if _anonymous(place.principal):
        return [(NOBODY, ())]
    above = schema.ancestor_types(place.principal)
    groups = set(admission.named_groups(new, schema, place.principal))
    groups |= {parent for one in people for parent in one.parents if parent.type in above}
    by_id: dict[str, set[str]] = defaultdict(set)
    for uid in groups:
        by_id[uid.id].add(uid.type)
    kinds = {kind for action in schema.actions.values() for kind in action.principals if not _anonymous(kind)}
    prefix = f"{place.principal}: " if len(kinds) > 1 else ""
    rows = [
        (prefix + (uid.id if len(by_id[uid.id]) == 1 else str(uid)), (uid,))
        for uid in sorted(groups, key=str)
    ]
    return [*rows, (prefix + NO_ROLE, ())]


def _anonymous(kind: str) -> bool:
    return kind.rpartition("::")[2] == ANONYMOUS_TYPE


def table_lines(found: Mapping[str, Any], names: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield a table as text; `names` by id."""
    width = max(len(row["who"]) for row in found["rows"])
    yield f"who may, at {found['where']}:"
    yield f"{'':<{width}}  " + "  ".join(f"{column:<12}" for column in found["columns"]).rstrip()
    for row in found["rows"]:
        cells = "  ".join(f"{_SIGN[row['cells'][column]]:<12}" for column in found["columns"])
        who = ", ".join((names or {}).get(one, one) for one in row["ids"])
        more = f" and {row['count'] - len(row['ids'])} more" if row["count"] > len(row["ids"]) else ""
        yield f"{row['who']:<{width}}  {cells}  {who}{more}".rstrip()
