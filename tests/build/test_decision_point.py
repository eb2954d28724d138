"""The app's decision point: a service with a credential is told what the app itself would answer; nobody else anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from redoubt.authz import Entity
from redoubt.authz.models import user_uid
from redoubt.core.secrets import SecretError
from redoubt.identity.store import users
from redoubt.runtime.errors import BadCallers
from redoubt.runtime.pdp import AppSource

from .test_shop_api import order, product
from .world import World

TOKEN = "gateway-token-of-more-than-32-characters"  # noqa: S105 - a test's own
OTHER = "directory-token-of-more-than-32-characters"
CONTEXT = {"risk": 0, "step_up": False}


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two callers, of which one may search and sees the policies."""
    monkeypatch.setenv("REDOUBT_PDP__CALLERS__GATEWAY", "env:GATEWAY_TOKEN")
    monkeypatch.setenv("REDOUBT_PDP__CALLERS__DIRECTORY", "env:DIRECTORY_TOKEN")
    monkeypatch.setenv("REDOUBT_PDP__SEARCH", "directory")
    monkeypatch.setenv("REDOUBT_PDP__EXPLAIN", "directory")
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    monkeypatch.setenv("DIRECTORY_TOKEN", OTHER)


@pytest_asyncio.fixture
async def asked(callers: None, shop: Path, tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The shop with its decision point, over each database."""
    async with World(shop, tmp_path / "state", database_url) as started:
        yield started


async def ask(world: World, path: str, body: Any, token: str | None = TOKEN) -> Any:
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return await world.nobody().call("POST", f"/access/v1/{path}", headers=headers, json=body)


def question(user: str | None, action: str, kind: str, row: str, **more: Any) -> dict[str, Any]:
    subject = {"type": "User", "id": user} if user else {"type": "Anonymous", "id": "anonymous"}
    return {
        "subject": subject, "action": {"name": action}, "resource": {"type": kind, "id": row}, "context": CONTEXT,
    } | more  # fmt: skip


async def may(world: World, *asked: Any, **more: Any) -> bool:
    answer = await ask(world, "evaluation", question(*asked, **more))
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"decision"}
    return bool(answer.json()["decision"])


async def test_it_answers_what_the_app_itself_does(asked: World):
    people = {role: asked.person(role) for role in ("customer", "support", "finance", "operator")}
    cup = await product(people["operator"])
    made = await order(people["customer"], cup)
    stranger = asked.person("customer")
    seen = set()
    for person in (*people.values(), stranger, asked.nobody()):
        for action, method, path in (
            ("Order.read", "GET", f"/api/orders/{made['id']}"),
            ("Order.update", "PATCH", f"/api/orders/{made['id']}"),
            ("Product.update", "PATCH", f"/api/products/{cup['id']}"),
            ("Product.list", "GET", "/api/products"),
        ):
            kind, row = ("Product", cup["id"]) if "Product" in action else ("Order", made["id"])
            if action.endswith("list"):
                kind, row = "Collection", "Product"
            more = {"json": {}} if method == "PATCH" else {}
            status = (await person.call(method, path, **more)).status_code
            assert (await may(asked, person.user, action, kind, row)) == (status < 300), (action, status)
            seen.add(status < 300)
    assert seen == {True, False}


async def test_nobody_without_a_credential_is_answered(asked: World):
    customer = asked.person("customer")
    body = question(customer.user, "Order.list", "Collection", "Order")
    for token in (None, "", "wrong", TOKEN[:-1], TOKEN + "x"):
        assert (await ask(asked, "evaluation", body, token)).status_code == 401, token
    assert (await customer.post("/access/v1/evaluation", body)).status_code == 401
    assert (await ask(asked, "evaluation", body)).json() == {"decision": True}


async def test_people_are_who_the_app_knows_and_have_the_roles_of_now(asked: World):
    support = asked.person("support")
    about = (support.user, "Order.list", "Collection", "Order")
    assert await may(asked, *about)
    roles = asked.guard.services.roles
    asked.core.db.write_sync(lambda tx: roles.revoke(tx, "main", support.user or "", "support", "test"))
    assert not await may(asked, *about)
    customer = asked.person("customer")
    about = (customer.user, "Order.list", "Collection", "Order")
    assert await may(asked, *about)
    gone = sa.update(users).where(users.c.id == customer.user).values(disabled_at=asked.core.clock.now())
    asked.owner.write_sync(lambda tx: tx.execute(gone))
    assert not await may(asked, *about)
    assert not await may(asked, "nobody-of-this-name", "Order.list", "Collection", "Order")


async def claims_count(world: World) -> bool:
    """Say whether a caller can make somebody the owner by saying so."""
    customer, other = world.person("customer"), world.person("customer")
    made = await order(customer, await product(world.person("operator")))
    claimed = {"owner": {"__entity": {"type": "User", "id": other.user}}, "roles": ["operator"]}
    resource = {"type": "Order", "id": made["id"], "properties": claimed}
    return await may(world, other.user, "Order.read", "Order", made["id"], resource=resource)


async def test_what_a_caller_says_of_people_and_rows_is_not_believed(
    asked: World, monkeypatch: pytest.MonkeyPatch
):
    assert not await claims_count(asked)
    load = AppSource.load

    async def believes(self: AppSource, tenant: str, party: Any) -> Sequence[Entity]:
        found = await load(self, tenant, party)
        owner = party.properties.get("owner")
        if not owner:
            return found
        attrs = {**found[0].attrs, "owner": user_uid(owner["__entity"]["id"])}
        return (Entity(found[0].type, found[0].id, attrs),)

    monkeypatch.setattr(AppSource, "load", believes)
    rows = asked.rows("SELECT id, owner_id FROM app_orders")
    other = asked.person("customer")
    claimed = {"owner": {"__entity": {"type": "User", "id": other.user}}}
    resource = {"type": "Order", "id": rows[0]["id"], "properties": claimed}
    assert await may(asked, other.user, "Order.read", "Order", rows[0]["id"], resource=resource)


async def test_only_who_may_search_searches_and_finds_what_may_be_read(asked: World):
    customer, other = asked.person("customer"), asked.person("customer")
    cup = await product(asked.person("operator"))
    mine = sorted([(await order(customer, cup))["id"], (await order(customer, cup))["id"]])
    await order(other, cup)
    wanted = {
        "subject": {"type": "User", "id": customer.user}, "action": {"name": "Order.read"},
        "resource": {"type": "Order"}, "context": CONTEXT,
    }  # fmt: skip
    assert (await ask(asked, "search/resource", wanted)).status_code == 403
    found = (await ask(asked, "search/resource", wanted, OTHER)).json()
    assert [item["id"] for item in found["results"]] == mine
    who = {
        "subject": {"type": "User"}, "action": {"name": "Order.update"}, "resource": {"type": "Order", "id": mine[0]},
        "context": CONTEXT,
    }  # fmt: skip
    found = (await ask(asked, "search/subject", who, OTHER)).json()
    assert [item["id"] for item in found["results"]] == [customer.user]
    what = {
        "subject": {"type": "User", "id": customer.user}, "resource": {"type": "Order", "id": mine[0]}, "context": CONTEXT,
    }  # fmt: skip
    found = (await ask(asked, "search/action", what, OTHER)).json()
    assert {item["name"] for item in found["results"]} == {"Order.read", "Order.update", "Order.cancel", "Order.pay",
                                                           "Order.create"}  # fmt: skip


async def test_each_answer_is_on_record_before_it_is_given(asked: World):
    customer = asked.person("customer")
    before = len(asked.rows("SELECT * FROM audit_entries"))
    await may(asked, customer.user, "Order.list", "Collection", "Order")
    assert len(asked.rows("SELECT * FROM audit_entries")) == before + 1


async def test_it_denies_while_nothing_can_be_decided(asked: World, monkeypatch: pytest.MonkeyPatch):
    customer = asked.person("customer")
    about = (customer.user, "Order.list", "Collection", "Order")
    assert await may(asked, *about)

    async def unread() -> None:
        raise OSError("no database")

    head = asked.guard.services.head
    monkeypatch.setattr(head, "refresh", unread)
    monkeypatch.setattr(head, "_confirmed", None)
    assert not await may(asked, *about)


async def test_without_callers_there_is_no_decision_point(world: World):
    customer = world.person("customer")
    body = question(customer.user, "Order.list", "Collection", "Order")
    assert (await ask(world, "evaluation", body)).status_code == 404
    assert (await world.nobody().get("/.well-known/authzen-configuration")).status_code == 404


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("GATEWAY_TOKEN", "short", BadCallers),
        ("GATEWAY_TOKEN", "", SecretError),
        ("GATEWAY_TOKEN", OTHER, BadCallers),
        ("REDOUBT_PDP__SEARCH", "stranger", BadCallers),
    ],
)
def test_a_credential_that_is_none_stops_the_app(
    callers: None,
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    error: type,
):
    monkeypatch.setenv(name, value)
    with pytest.raises(error) as raised:
        World(shop, tmp_path / "state")
    assert OTHER not in str(raised.value)
    assert "short" not in str(raised.value)
