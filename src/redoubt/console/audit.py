"""The audit explorer: search the log, and show one entry with the proof that the signed log holds it.

Whoever looks is seen: each look is an entry of the log itself, committed before the answer leaves.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args
from urllib.parse import urlencode

import sqlalchemy as sa
from attrs import asdict, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redoubt.audit.errors import EntryUnknown, ProofInvalid
from redoubt.audit.merkle import leaf_hash, verify_inclusion
from redoubt.audit.models import Entry, Outcome, ProvenEntry
from redoubt.audit.reader import AuditStore, Filters, Page
from redoubt.authz import permit
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.identity.store import users
from redoubt.runtime.app import Redoubt
from redoubt.runtime.request import GuardedRequest

from .web import answer, page, page_after, path_id, printable

_FIELDS = {
    "action": 100,
    "actor": 254,
    "outcome": 20,
    "target": 300,
    "request_id": 100,
    "since": 40,
    "until": 40,
}
_PAGE = 50


@frozen
class Asked:
    """What was asked for: the texts as they were sent, what they mean, and what is wrong with them by field."""

    texts: Mapping[str, str]
    filters: Filters
    errors: Mapping[str, str]

    def link(self, **more: str) -> str:
        """Return the address that asks the same, with `more`."""
        return "/console/audit?" + urlencode({name: text for name, text in self.texts.items() if text} | more)


def understand(texts: Mapping[str, str]) -> Asked:
    """Return what the search form means; unknown names are passed over, malformed values become errors."""
    given = {name: texts.get(name, "").strip() for name in _FIELDS}
    errors = {
        name: "is too long, or no text"
        for name, most in _FIELDS.items()
        if len(given[name]) > most or not printable(given[name])
    }
    values: dict[str, Any] = {
        "action": given["action"] or None,
        "actor_id": given["actor"] or None,
        "request_id": given["request_id"] or None,
    }
    if given["outcome"]:
        values["outcome"] = given["outcome"]
        if given["outcome"] not in get_args(Outcome):
            errors["outcome"] = "is success, failure or denied"
    if given["target"]:
        kind, _, target_id = (
            given["target"].replace("/", " ", 0 if " " in given["target"] else 1).partition(" ")
        )
        values["target"] = (kind, target_id.strip())
        if not kind or not target_id.strip():
            errors["target"] = "is a type and an id, such as Order 0190…"
    for name in ("since", "until"):
        if given[name]:
            try:
                values[name] = moment_of(given[name])
            except ValueError:
                errors[name] = "is a moment in UTC, such as 2026-01-31T09:30"
    return Asked(given, Filters(**values) if not errors else Filters(), errors)


def moment_of(text: str) -> datetime:
    """Return an ISO 8601 moment; without an offset it is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error


def holds(proven: ProvenEntry) -> bool:
    """Say whether the entry as stored now leads, along its audit path, to the root that the checkpoint signed."""
    leaf, index = leaf_hash(proven.entry.body.encode()), proven.entry.leaf_index
    signed = base64.b64decode(proven.checkpoint.split("\n")[2])
    return index is not None and verify_inclusion(leaf, index, proven.size, proven.path, signed)


def routes(guard: Redoubt) -> list[Route]:
    """Return the explorer's routes."""
    store, names = AuditStore(guard.core), guard.services.names

    @permit("Audit.read")
    async def search(request: Request) -> Response:
        g = GuardedRequest.of(request)
        asked = understand(request.query_params)
        before = page_after(request)
        if asked.errors:
            if "text/html" not in g.headers.get("accept", ""):
                raise Problem(
                    422, "invalid", "The log cannot be searched so.", extra={"errors": dict(asked.errors)}
                )
            return page(g, "audit.html", status=422, **_page(asked, Page((), None)), people={})
        filters = await g.read(lambda tx: _by_id(tx, g.tenant, asked.filters))
        found = await asyncio.to_thread(store.search, filters, tenant=g.tenant, before=before, limit=_PAGE)
        used = {name: text for name, text in asked.texts.items() if text}
        await guard.note(g, g.event("audit.search", data={**used, **({"before": before} if before else {})}))
        ids = {one.actor_id for one in found.entries} | {one.target_id or "" for one in found.entries}
        people = await g.read(lambda tx: names(tx, sorted(ids)))
        return answer(g, "audit.html", _page(asked, found), people=people)

    @permit("Audit.read")
    async def entry(request: Request) -> Response:
        g = GuardedRequest.of(request)
        wanted = path_id(request)
        try:
            found = await asyncio.to_thread(store.get, wanted, tenant=g.tenant)
        except EntryUnknown:
            raise Problem(404, "not-found", "There is no such entry.") from None
        await guard.note(g, g.event("audit.read", ("AuditEntry", found.id)))
        try:
            proven = await asyncio.to_thread(store.prove, wanted, tenant=g.tenant)
        except ProofInvalid:
            proven = None
        people = await g.read(lambda tx: names(tx, [found.actor_id, found.target_id or ""]))
        pretty = json.dumps(json.loads(found.body), indent=2, sort_keys=True, ensure_ascii=False)
        data = {"item": _shown(found), "body": found.body, "proof": _proof(proven)}
        return answer(g, "entry.html", data, pretty=pretty, people=people)

    return [
        Route("/console/audit", search, methods=["GET"]),
        Route("/console/audit/{id}", entry, methods=["GET"]),
    ]


def _by_id(tx: Tx, tenant: str, filters: Filters) -> Filters:
    """Let an actor be named by address: entries hold ids."""
    if filters.actor_id is None or "@" not in filters.actor_id:
        return filters
    query = sa.select(users.c.id).where(users.c.tenant == tenant, users.c.email == filters.actor_id.lower())
    found = tx.execute(query.order_by(users.c.email_verified_at.is_(None), users.c.id)).scalars().first()
    return Filters(**{**asdict(filters, recurse=False), "actor_id": found or filters.actor_id})


def _page(asked: Asked, found: Page) -> dict[str, Any]:
    return {
        "items": [_shown(one) for one in found.entries],
        "next": found.next,
        "older": asked.link(before=found.next) if found.next else None,
        "filters": dict(asked.texts),
        "errors": dict(asked.errors),
    }


def _shown(entry: Entry) -> dict[str, Any]:
    shown = asdict(entry)
    del shown["body"]
    return shown


def _proof(proven: ProvenEntry | None) -> dict[str, Any] | None:
    """Return what a program needs to check the entry by itself, and how our own check went."""
    if proven is None:
        return None
    return {
        "leaf_index": proven.entry.leaf_index,
        "size": proven.size,
        "leaf_hash": leaf_hash(proven.entry.body.encode()).hex(),
        "root": proven.root.hex(),
        "path": [node.hex() for node in proven.path],
        "checkpoint": proven.checkpoint,
        "holds": holds(proven),
    }
