"""A decision point on a real port, and the policies of AuthZEN's published interoperability scenarios in Cedar."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from redoubt.audit import Event
from redoubt.authz.decide import Decider
from redoubt.authz.models import Entity
from redoubt.authz.pdp import BearerCallers, EntitySource, MemorySource, Pep, PolicyDecisionPoint, pdp_app
from redoubt.authz.pdp.callers import token_hash
from redoubt.authz.pdp.paging import Cursor
from redoubt.authz.permitted import Decides
from redoubt.authz.policyset import PolicySource, parse
from redoubt.core.base import Core

IDENTIFIER = "https://pdp.example"
GATEWAY, BLIND = "g" * 40, "b" * 40
PEPS = {GATEWAY: Pep("gateway", may_search=True, explain=True), BLIND: Pep("blind")}
_BESIDE = Path(__file__).resolve().parents[4] / "shared" / "vectors"

TODO = """
entity user = { email?: String, roles: Set<String> };
entity todo = { ownerID?: String };
action can_read_user appliesTo { principal: user, resource: user };
action can_read_todos, can_create_todo, can_update_todo, can_delete_todo
  appliesTo { principal: user, resource: todo };
"""
TODO_POLICIES = """
@id("read-users") permit (principal, action == Action::"can_read_user", resource);
@id("read-todos") permit (principal, action == Action::"can_read_todos", resource);
@id("create") permit (principal, action == Action::"can_create_todo", resource)
when { principal.roles.containsAny(["admin", "editor"]) };
@id("update-any") permit (principal, action == Action::"can_update_todo", resource)
when { principal.roles.contains("evil_genius") };
@id("delete-any") permit (principal, action == Action::"can_delete_todo", resource)
when { principal.roles.contains("admin") };
@id("own")
permit (principal, action in [Action::"can_update_todo", Action::"can_delete_todo"], resource)
when {
  principal.roles.contains("editor") && principal has email && resource has ownerID
    && resource.ownerID == principal.email
};
"""
ROUTES = """
entity identity = { roles: Set<String> };
entity route;
action GET, POST, PUT, "DELETE" appliesTo { principal: identity, resource: route };
"""
ROUTE_POLICIES = """
@id("read") permit (principal, action == Action::"GET", resource);
@id("write") permit (principal, action in [Action::"POST", Action::"PUT", Action::"DELETE"], resource)
when { principal.roles.containsAny(["admin", "editor"]) };
"""
OWNED = """
entity user = { name: String, role: String, department: String };
entity record = { owner: String, department: String };
action view, edit, "delete" appliesTo { principal: user, resource: record };
"""
OWNED_POLICIES = """
@id("owner") permit (principal, action, resource) when { resource.owner == principal.name };
@id("department") permit (principal, action == Action::"view", resource)
when { resource.department == principal.department };
@id("manager-views") permit (principal, action == Action::"view", resource)
when { principal.role == "manager" };
@id("manager-edits") permit (principal, action == Action::"edit", resource)
when { principal.role == "manager" && resource.department == principal.department };
"""
_PEOPLE = {
    "A": ("rick@the-citadel.com", ["admin", "evil_genius"]),
    "E": ("morty@the-citadel.com", ["editor"]),
    "I": ("summer@the-smiths.com", ["editor"]),
    "M": ("beth@the-smiths.com", ["viewer"]),
    "Q": ("jerry@the-smiths.com", ["viewer"]),
}
VERBS = ("view", "edit", "delete")


def vectors() -> Path:
    """Return the folder of the AuthZEN fixtures; without it fail where CI is set, else skip."""
    root = Path(os.environ.get("REDOUBT_VECTORS") or _BESIDE) / "authzen" / "interop"
    if not root.is_dir():
        why = f"the AuthZEN fixtures are not at {root}: set REDOUBT_VECTORS"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return root


def fixture(path: str) -> Any:
    return json.loads((vectors() / path).read_text())


def decider(schema: str, policies: str) -> Decider:
    return Decider(parse(PolicySource(schema, {"all.cedar": policies})))


def people(kind: str) -> list[Entity]:
    """The five people of the todo and gateway scenarios; the fourth character from a fixed stem tells them apart."""
    found = []
    for letter, (email, roles) in _PEOPLE.items():
        name = f"CiRmZD{letter}2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"
        attrs: dict[str, Any] = {"roles": roles}
        found.append(Entity(kind, name, attrs | ({"email": email} if kind == "user" else {})))
    found += [
        Entity(kind, email, {"roles": [], "email": email}) for email, _ in _PEOPLE.values() if kind == "user"
    ]
    return found


def records(owners: Sequence[Mapping[str, Any]], users: Sequence[Mapping[str, Any]]) -> MemorySource:
    """The records and users of the search scenarios; what a scenario leaves out is nobody's."""
    entities = [
        Entity("record", str(item["id"]), {"owner": item["owner"], "department": item.get("department", "-")})
        for item in owners
    ]
    entities += [
        Entity(
            "user",
            item["id"],
            {
                "name": item["id"],
                "role": item.get("role", "employee"),
                "department": item.get("department", "none"),
            },
        )
        for item in users
    ]
    return MemorySource(entities, {"record": VERBS})


class Listening:
    """A decision point that listens, what it recorded, and a client of it."""

    def __init__(self, client: httpx.AsyncClient, events: list[Event]) -> None:
        self.client = client
        self.events = events

    async def ask(self, path: str, body: Any, token: str = GATEWAY, **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {token}", **headers}
        return await self.client.post(f"/access/v1/{path}", json=body, headers=given)


@asynccontextmanager
async def listening(
    core: Core, source: EntitySource, decides: Decides, peps: Iterable[str] = (GATEWAY, BLIND), **more: Any
) -> AsyncIterator[Listening]:
    events: list[Event] = []

    async def record(event: Event) -> None:
        events.append(event)

    pdp = PolicyDecisionPoint(
        lambda tenant: decides, source, more.pop("record", record), Cursor(core.keys.mac("authzen-page"))
    )
    callers = BearerCallers((PEPS[token], token_hash(token)) for token in peps)
    app = pdp_app(pdp, IDENTIFIER, callers, **more)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield Listening(client, events)
    server.should_exit = True
    await task
