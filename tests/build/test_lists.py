"""Lists of the built shop hold exactly the rows that its policies allow one by one, page by full page."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve

from redoubt.authz import Caller
from redoubt.authz.decide import Decider, DenyAll
from redoubt.authz.filter import reader
from redoubt.authz.models import AuthzRequest
from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.runtime import entity_store
from redoubt.runtime.crud import Crud
from redoubt.runtime.entities import EntityType
from redoubt.runtime.services import Services

from .world import Person, World

ROLES = ("customer", "support", "finance")
STATES = ("placed", "paid", "shipped", "cancelled")
ROWS = 40
LISTED = '@id("list") permit (principal, action == Action::"Order.list", resource);'


def orders(world: World) -> Crud:
    """Return what the app's own module lists orders with."""
    for route in world.app.routes:
        for one in getattr(getattr(route, "original_router", None), "routes", [route]):
            endpoint = getattr(one, "endpoint", None)
            found = getattr(endpoint, "__globals__", {}).get("rows")
            if isinstance(found, Crud) and found.name == "Order":
                return found
    raise AssertionError("no orders")


def run_by(world: World, texts: list[str]) -> PolicySet:
    """Let the app decide by these policies in the place of its stored ones."""
    schema = (world.directory / "policies" / "schema.cedarschema").read_text()
    policies = parse(PolicySource(schema, {"test.cedar": "\n".join([LISTED, *texts])}))
    decide_by(world, Decider(policies))
    return policies


def decide_by(world: World, decider: Decider | DenyAll) -> None:
    """Put `decider` where the head's own would be."""
    world.guard.services.head._of = lambda tenant: decider  # type: ignore[method-assign]


def store(world: World, rng: random.Random, people: list[Person]) -> list[dict[str, Any]]:
    """Put orders of everybody, in every state and in two tenants, straight into the table."""
    crud = orders(world)
    table = crud.entities.table("Order")
    owners = [person.user for person in people] + ["stranger"]
    now = world.core.clock.now()
    rows = [
        {
            "id": world.core.ids.uuid7(), "tenant": "main" if rng.random() < 0.85 else "other", "version": 1,
            "created_at": now, "updated_at": now, "owner_id": rng.choice(owners), "customer": None, "items": [],
            "total": None if rng.random() < 0.2 else rng.choice((0, 1, 500, 501, 90000)), "note": None,
            "status": rng.choice(STATES),
        }
        for _ in range(ROWS)
    ]  # fmt: skip
    world.owner.write_sync(lambda tx: tx.execute(sa.insert(table), rows))
    return rows


def condition(rng: random.Random, depth: int = 2) -> str:
    """Return a condition over what the shop's policies may read; it comes to no error."""
    if depth and rng.random() < 0.5:
        a, b = condition(rng, depth - 1), condition(rng, depth - 1)
        return rng.choice((f"({a} && {b})", f"({a} || {b})", f"!({a})", f"(if {a} then {b} else !({b}))"))
    amount = rng.choice((0, 1, 500, 501))
    return rng.choice(
        (
            "principal.tenant == resource.tenant",
            "(resource has owner && resource.owner == principal)",
            "(resource has owner && resource.owner == principal)",
            f"[{', '.join(json.dumps(state) for state in rng.sample(STATES, 2))}].contains(resource.state)",
            f'resource.state == "{rng.choice(STATES)}"',
            f"(context has amount && context.amount {rng.choice(('<', '<=', '>', '=='))} {amount})",
            f"(context has amount && context.amount {rng.choice(('<', '<=', '>', '=='))} {amount})",
            "context has amount",
            "context.risk <= 50",
            "context.step_up",
            'principal in Role::"support"',
        )
    )


def random_policies(rng: random.Random) -> list[str]:
    """Return one to four policies on reading orders."""
    texts = []
    for number in range(rng.choice((1, 2, 2, 3, 4))):
        effect = "permit" if number == 0 or rng.random() < 0.7 else "forbid"
        principal = rng.choice(
            ("principal", "principal is User", *(f'principal in Role::"{r}"' for r in ROLES))
        )
        resource = rng.choice(("resource is Order", "resource"))
        clauses = "".join(
            f" {rng.choice(('when', 'when', 'unless'))} {{ {condition(rng)} }}"
            for _ in range(rng.choice((0, 1, 1, 2)))
        )
        texts.append(
            f'@id("p{number}") {effect} ({principal}, action == Action::"Order.read", {resource}){clauses};'
        )
    return texts


def allowed(policies: PolicySet, kind: EntityType, caller: Caller, rows: list[dict[str, Any]]) -> list[str]:
    """Return the ids of the tenant's rows that are allowed one by one, newest first."""
    decider, found = Decider(policies), []
    for row in rows:
        context: dict[str, Any] = {"risk": caller.risk, "step_up": caller.step_up}
        if kind.amount(row) is not None:
            context["amount"] = kind.amount(row)
        question = AuthzRequest.of(caller.principal(), "Order.read", kind.resource(row), context)
        if row["tenant"] == caller.tenant and decider.decide(question).allowed:
            found.append(row["id"])
    return sorted(found, reverse=True)


async def pages(person: Person, limit: int) -> list[list[str]]:
    """Return the ids of every page of the API's list."""
    found, after = [], ""
    while True:
        answer = await person.get(f"/api/orders?limit={limit}{after}")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found.append([row["id"] for row in body["items"]])
        if body["next"] is None:
            return found
        after = f"&after={body['next']}"


async def campaign(world: World, monkeypatch: pytest.MonkeyPatch, seeds: range) -> tuple[list[str], set[int]]:
    """Return the differences over random policies, and how many rows were listed."""
    people = [world.person(role, step_up=role == "finance") for role in ROLES]
    rows = store(world, random.Random(seeds.start), people)
    kind = orders(world).kind
    wrong, sizes = [], set()
    for seed in seeds:
        rng = random.Random(seed)
        texts, risk, limit = random_policies(rng), rng.choice((0, 80)), rng.choice((3, 7, 100))
        policies = run_by(world, texts)
        monkeypatch.setattr(Services, "risk", lambda self, session, risk=risk: risk)
        for person, role in zip(people, ROLES, strict=True):
            caller = Caller(person.user, roles=frozenset({role}), risk=risk, step_up=role == "finance")
            expected = allowed(policies, kind, caller, rows)
            got = await pages(person, limit)
            if sum(got, []) != expected or any(len(page) != limit for page in got[:-1]):
                wrong.append(f"case {seed}, {role}: {texts} lists {got}, allows {expected}")
            sizes.add(len(expected))
    return wrong, sizes


async def test_a_list_is_what_is_allowed_row_by_row(any_world: World, monkeypatch: pytest.MonkeyPatch):
    wrong, sizes = await campaign(any_world, monkeypatch, range(30))
    assert not wrong, wrong[0]
    assert {0} < sizes
    assert len(sizes) > 8


def _everything(tx: Any, table: Any, tenant: str, after: Any, limit: int, shown: Any) -> Any:
    return _page(tx, table, tenant, after, limit, evolve(shown, condition=sa.true(), parts=()))


def _first_part(tx: Any, table: Any, tenant: str, after: Any, limit: int, shown: Any) -> Any:
    return _page(tx, table, tenant, after, limit, evolve(shown, condition=sa.false(), parts=shown.parts[:2]))


_page = entity_store.page
FAULTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "the condition is dropped": (entity_store, "page", _everything),
    "a third permit is forgotten": (entity_store, "page", _first_part),
    "forbids are dropped": (reader, "negate", lambda part: True),
    "the row's amount is not in the context": (EntityType, "row_context", lambda self, table: {}),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_shows(name: str, world: World, monkeypatch: pytest.MonkeyPatch):
    module, attribute, fault = FAULTS[name]
    monkeypatch.setattr(module, attribute, fault)
    for start in range(0, 60, 10):
        wrong, _ = await campaign(world, monkeypatch, range(start, start + 10))
        if wrong:
            return
    pytest.fail(f"nothing showed that {name}")


UNSAYABLE = (
    '@id("far") permit (principal, action == Action::"Order.read", resource) '
    "when { resource has owner && resource.owner.tenant == principal.tenant };"
)


async def test_a_policy_that_sql_cannot_say_refuses_the_list_and_the_log_names_it(
    world: World, caplog: pytest.LogCaptureFixture
):
    person = world.person("customer")
    store(world, random.Random(1), [person])
    run_by(world, [UNSAYABLE])
    with caplog.at_level(logging.ERROR, "redoubt.runtime"):
        answer = await person.get("/api/orders")
    assert answer.status_code == 500
    assert "items" not in answer.json()
    assert "'far'" not in answer.text
    assert "'far'" in caplog.text


async def test_rows_are_decided_about_one_by_one_where_the_entity_asks_for_it(world: World):
    person = world.person("customer")
    rows = store(world, random.Random(1), [person])
    crud = orders(world)
    object.__setattr__(crud.kind, "post_filter", True)
    policies = run_by(world, [UNSAYABLE])
    expected = allowed(policies, crud.kind, Caller(person.user, roles=frozenset({"customer"})), rows)
    assert 0 < len(expected) < ROWS
    assert sum(await pages(person, 3), []) == expected


async def test_a_list_shows_nothing_while_nothing_can_be_decided(world: World):
    person = world.person("customer")
    store(world, random.Random(1), [person])
    run_by(world, ['@id("all") permit (principal, action == Action::"Order.read", resource);'])
    assert (await pages(person, 100)) != [[]]
    decide_by(world, DenyAll("nothing is stored"))
    answer = await person.get("/api/orders")
    assert answer.status_code == 403


async def test_a_list_is_one_event_in_the_audit_log(world: World):
    person = world.person("customer")
    store(world, random.Random(1), [person])
    before = len(world.rows("SELECT * FROM audit_entries"))
    await person.get("/api/orders")
    assert len(world.rows("SELECT * FROM audit_entries")) == before + 1
