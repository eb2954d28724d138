"""The policies: which version is current and how it became so, what a version says, and what it would decide.

The playground asks the running policies a question and explains the answer; it changes nothing and lets nobody do
anything. A recorded decision is decided again under its own version.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from attrs import asdict, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redoubt.audit.errors import EntryUnknown
from redoubt.audit.reader import AuditStore
from redoubt.authz import permit, store, versions
from redoubt.authz.errors import CorruptPolicies, ReplayError, UnknownVersion
from redoubt.authz.explain import Explanation, explain
from redoubt.authz.head import MAIN
from redoubt.authz.models import AuthzRequest, Caller, Entity, app_entity, collection_entity, user_uid
from redoubt.authz.policyset import PolicySet
from redoubt.authz.replay import replay
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.runtime.app import Redoubt
from redoubt.runtime.request import GuardedRequest

from .web import answer, page, path_id, printable

_FIELDS = ("action", "user", "roles", "resource", "owner", "state", "risk", "amount", "step_up")
_MOST = 254
_VERSION = re.compile(r"[0-9a-f]{64}")


@frozen
class Asked:
    """A question as it was typed: the texts, what is wrong with them by field, and what they mean if nothing is."""

    texts: Mapping[str, str]
    errors: Mapping[str, str]
    request: AuthzRequest | None


def understand(texts: Mapping[str, str], tenant: str) -> Asked:
    """Return what the playground's form means; without an action nothing is asked yet."""
    given = {name: texts.get(name, "").strip() for name in _FIELDS}
    errors = {
        name: "is too long, or no text"
        for name, value in given.items()
        if len(value) > _MOST or not printable(value)
    }
    context: dict[str, Any] = {"risk": 0, "step_up": given["step_up"] == "yes"}
    for name, most in (("risk", 100), ("amount", 10**15)):
        if given[name] and name not in errors:
            if re.fullmatch(r"[0-9]{1,15}", given[name]) and int(given[name]) <= most:
                context[name] = int(given[name])
            else:
                errors[name] = f"is a whole number from 0 to {most}"
    kind, separator, identity = given["resource"].partition(":")
    if given["resource"] and (not separator or not kind):
        errors["resource"] = "is a type and an id, such as Order:o1, or Order: for the list"
    if errors or not given["action"]:
        return Asked(given, errors, None)
    roles = [role for role in re.split(r"[\s,]+", given["roles"]) if role]
    caller = Caller(given["user"] or None, tenant, roles, context["risk"], context["step_up"])
    about = _resource(kind, identity, tenant, given)
    return Asked(given, {}, AuthzRequest.of(caller.principal(), given["action"], about, context))


def routes(guard: Redoubt) -> list[Route]:
    """Return the pages about policies."""
    audit, names = AuditStore(guard.core), guard.services.names

    @permit("Policy.read")
    async def listing(request: Request) -> Response:
        g = GuardedRequest.of(request)
        steps = await g.read(lambda tx: store.history(tx, _deciding(tx, g.tenant)))
        running = guard.services.head.policies(g.tenant)
        data = {
            "items": [asdict(step) for step in steps],
            "running": running.version if running else None,
            "problem": guard.services.head.problem(g.tenant),
        }
        ids = sorted({step.author for step in steps} | {step.reviewer or "" for step in steps})
        people = await g.read(lambda tx: names(tx, ids))
        return answer(g, "policies.html", data, people=people)

    @permit("Policy.read")
    async def version(request: Request) -> Response:
        g = GuardedRequest.of(request)
        wanted = request.path_params["id"]
        if not _VERSION.fullmatch(wanted):
            raise Problem(404, "not-found", "There is no such version.")
        try:
            data = await g.read(lambda tx: _version(tx, _deciding(tx, g.tenant), wanted))
        except UnknownVersion:
            raise Problem(404, "not-found", "There is no such version.") from None
        except CorruptPolicies as error:
            raise Problem(409, error.code, "What is stored is not what its hash says.") from error
        return answer(g, "policy.html", data)

    @permit("Policy.read")
    async def playground(request: Request) -> Response:
        g = GuardedRequest.of(request)
        asked = understand(request.query_params, g.tenant)
        running = guard.services.head.policies(g.tenant)
        found = None
        if asked.request is not None and running is not None:
            found = _explained(await asyncio.to_thread(explain, running, asked.request))
        data = {
            "given": dict(asked.texts),
            "errors": dict(asked.errors),
            "found": found,
            "problem": guard.services.head.problem(g.tenant),
        }
        if asked.errors and "text/html" in g.headers.get("accept", ""):
            return page(g, "playground.html", status=422, **data)
        if asked.errors:
            raise Problem(422, "invalid", "This cannot be asked.", extra={"errors": dict(asked.errors)})
        return answer(g, "playground.html", data)

    @permit("Audit.read")
    async def decision(request: Request) -> Response:
        g = GuardedRequest.of(request)
        wanted = path_id(request)
        try:
            entry = await asyncio.to_thread(
                audit.get, wanted, tenant=g.tenant
            )  # another tenant's is not found
        except EntryUnknown:
            raise Problem(404, "not-found", "There is no such decision.") from None
        await guard.note(g, g.event("audit.read", ("AuditEntry", entry.id)))
        try:
            again = await g.read(lambda tx: replay(tx, entry.id))
        except (ReplayError, UnknownVersion, CorruptPolicies) as error:
            raise Problem(409, error.code, "This cannot be decided again.", detail=error.message) from error
        data = {
            "id": entry.id,
            "at": entry.at,
            "allowed": again.recorded_allowed,
            "agrees": again.agrees,
            "complete": again.complete,
            "found": _explained(again.explanation),
        }
        return answer(g, "decision.html", data)

    return [
        Route("/console/policies", listing, methods=["GET"]),
        Route("/console/policies/playground", playground, methods=["GET"]),
        Route("/console/policies/decisions/{id}", decision, methods=["GET"]),
        Route("/console/policies/{id}", version, methods=["GET"]),
    ]


def _deciding(tx: Tx, tenant: str) -> str:
    """Return whose policies decide for `tenant`: its own, or the app's."""
    return tenant if tenant in store.heads(tx) else MAIN


def _version(tx: Tx, tenant: str, wanted: str) -> dict[str, Any]:
    """Return a stored version and what differs from the one that was current before it first was."""
    found = versions.load(tx, tenant, wanted)
    steps = store.history(tx, tenant)[::-1]
    place = next((number for number, step in enumerate(steps) if step.version == wanted), 0)
    before = versions.load(tx, tenant, steps[place - 1].version) if place else None
    return {
        "version": found.version,
        "before": before.version if before else None,
        "changes": _changes(before, found),
        "policies": [{"id": key, "text": text} for key, text in sorted(found.texts.items())],
        "schema": found.schema_text,
    }


def _changes(old: PolicySet | None, new: PolicySet) -> list[dict[str, str]]:
    if old is None:
        return []
    found = [
        {
            "id": key,
            "what": "removed" if key not in new.texts else "altered" if key in old.texts else "added",
            "old": old.texts.get(key, ""),
            "new": new.texts.get(key, ""),
        }
        for key in sorted({*old.texts, *new.texts})
        if old.texts.get(key) != new.texts.get(key)
    ]
    if old.schema_text != new.schema_text:
        found.append({"id": "the schema", "what": "altered", "old": old.schema_text, "new": new.schema_text})
    return found


def _explained(found: Explanation) -> dict[str, Any]:
    return {
        "allowed": found.decision.allowed,
        "version": found.decision.version,
        "determining": dict(found.determining),
        "errors": list(found.erring),
        "candidates": [asdict(item) for item in found.candidates],
    }


def _resource(kind: str, identity: str, tenant: str, given: Mapping[str, str]) -> Entity:
    if not kind:
        return app_entity(tenant)
    if not identity:
        return collection_entity(kind, tenant, given["owner"] or None)
    attrs: dict[str, Any] = {"tenant": tenant}
    if given["owner"]:
        attrs["owner"] = user_uid(given["owner"])
    if given["state"]:
        attrs["state"] = given["state"]
    return Entity(kind, identity, attrs)
