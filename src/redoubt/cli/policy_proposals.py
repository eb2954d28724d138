"""What became of a proposed policy change, as lines of text: verdict, who gains, the dry run, what happens next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from redoubt.authz.changes import Proposed
from redoubt.authz.gate import MAX_PEOPLE, table_lines
from redoubt.authz.models import Caller, Entity
from redoubt.authz.store import role_members
from redoubt.core.db import Tx
from redoubt.identity.store import users

_SHOWN = 10


def directory(tx: Tx) -> list[Entity]:
    """Return every account that is not disabled as a principal, in its tenant and roles."""
    roles: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in tx.execute(sa.select(role_members.c.tenant, role_members.c.user_id, role_members.c.role)):
        roles[row.tenant, row.user_id].add(row.role)
    found = tx.execute(
        sa.select(users.c.id, users.c.tenant)
        .where(users.c.disabled_at.is_(None))
        .order_by(users.c.id)
        .limit(MAX_PEOPLE)
    )
    return [
        Caller(row.id, row.tenant, frozenset(roles.get((row.tenant, row.id), ()))).principal()
        for row in found
    ]


def names_of(tx: Tx, evidence: Mapping[str, Any]) -> dict[str, str]:
    """Return the address of everybody whom the evidence names, by id."""
    ids = {one for item in evidence["gains"] for one in item["ids"][:_SHOWN]}
    ids |= {one for table in evidence["tables"] for row in table["rows"] for one in row["ids"]}
    rows = tx.execute(sa.select(users.c.id, users.c.email).where(users.c.id.in_(sorted(ids))))
    return {row.id: row.email for row in rows}


def proposal_lines(proposed: Proposed, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the evidence, and what happens next."""
    yield from evidence_lines(proposed.verdict.evidence, proposed.difference, names)
    approval = proposed.approval
    if approval is None:
        yield f"It grants nothing more, so it runs now: version {proposed.verdict.head[:12]}."
    else:
        yield (
            f"It waits for a second person: approve at /console/approvals/{approval.id}"
            f" before {approval.expires_at:%Y-%m-%d %H:%M}Z."
        )


def evidence_lines(
    evidence: Mapping[str, Any], difference: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[str]:
    """Yield the verdict, what asks for a second person, who gains, the dry run, and what changes."""
    counts = ", ".join(f"{count} {name}" for name, count in sorted(evidence["environments"].items()))
    yield f"{evidence['verdict']}: {counts or evidence['reason']}"
    for item in evidence["findings"]:
        yield f"  {item['verdict']:<8} {item['where']}: {item['message']}"
    for table in evidence["tables"]:
        yield from (f"  {line}" for line in table_lines(table, names))
    for item in evidence["gains"]:
        yield f"  {_gain(item, names)}"
    if not evidence["gains"] and evidence["verdict"] in ("wider", "new", "unknown"):
        yield "  who gains is not known: nothing was proven"
    if evidence["keepers"]:
        yield f"  takes away from {', '.join(evidence['keepers'])}: who decides about changes must not be shut out"
    if evidence["regranted"]:
        yield f"  alters @grant on {', '.join(evidence['regranted'])}: who may write what policies read is reviewed"
    if evidence["invariants"]:
        yield f"  alters the invariants {', '.join(evidence['invariants'])}: what must always hold is reviewed"
    yield from _rehearsal(evidence["rehearsal"])
    for what in ("added", "removed", "altered"):
        for identity in difference[what]:
            yield f"  {what:<8} {identity}"
    if difference["schema_altered"]:
        yield "  altered  the schema"


def _gain(item: Mapping[str, Any], names: Mapping[str, str]) -> str:
    if item["type"] == "Anonymous" and not item["undecided"]:
        who = "everybody who is not logged in" if item["count"] else "nobody"
    else:
        shown = [names.get(one, one) for one in item["ids"][:_SHOWN]]
        more = item["count"] - len(shown)
        who = ", ".join(shown) + (f" and {more} more" if more else "")
        who = who or ("nobody" if not item["undecided"] else "not known")
    unsure = f"; of {item['undecided']} it could not be said in time" if item["undecided"] else ""
    return f"gain at {item['where']}: {who}{unsure}"


def _rehearsal(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["decisions"]:
        yield "  dry run: no decisions are recorded yet"
        return
    yield (
        f"  dry run: of {found['decisions']} recorded decisions {found['deny_to_allow']} would turn from deny to allow,"
        f" {found['allow_to_deny']} from allow to deny; {found['unreadable']} could not be decided again"
    )
    for item in found["examples"]:
        turns = item["turns"].replace("_to_", " → ")
        yield (
            f"    {turns}: {item['action']} on {item['resource']['type']} {item['resource']['id']}"
            f" by {item['principal']['type']} {item['principal']['id']} ({item['times']} times, entry {item['entry']})"
        )
