"""The list of payments holds exactly the payments that the policies allow one by one, and nobody pages past that."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve

from redoubt.authz import Caller
from redoubt.authz.decide import Decider
from redoubt.authz.filter import Known, existing_indexes, proposed, served, ways
from redoubt.authz.models import AuthzRequest
from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.rules import compile_policies, compile_schema
from redoubt.payments import Payment
from redoubt.payments.store import payments
from redoubt.runtime import entity_store, lists, payment_list
from redoubt.runtime.services import Services
from tests.console.world import Person, World, access

ROLES = ("customer", "support", "finance")
LISTED = '@id("list") permit (principal, action == Action::"Payment.list", resource);'
READ = 'action == Action::"Payment.read"'
ROWS = 40
FIRST, LAST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


def run_by(world: World, texts: list[str]) -> PolicySet:
    """Let the app decide by these policies in the place of its stored ones."""
    policies = parse(PolicySource(compile_schema(access()), {"test.cedar": "\n".join([LISTED, *texts])}))
    decider = Decider(policies)
    world.guard.services.head._of = lambda tenant: decider  # type: ignore[method-assign]
    return policies


def stored(world: World, rng: random.Random, people: list[Person]) -> list[Payment]:
    """Put payments of everybody in two tenants into the table, and return them, newest first."""
    owners = [person.id for person in people] + ["stranger"]
    for _ in range(ROWS):
        world.payment(rng.choice(owners), tenant="main" if rng.random() < 0.85 else "other")
    rows = world.rows(sa.select(payments).order_by(payments.c.id.desc()))
    return [Payment(**row._mapping) for row in rows]


def condition(rng: random.Random, ids: list[str], depth: int = 2) -> str:
    """Return a condition over what policies may read of a payment; it comes to no error."""
    if depth and rng.random() < 0.5:
        a, b = condition(rng, ids, depth - 1), condition(rng, ids, depth - 1)
        return rng.choice((f"({a} && {b})", f"({a} || {b})", f"!({a})", f"(if {a} then {b} else !({b}))"))
    return rng.choice(
        (
            "principal.tenant == resource.tenant",
            "(resource has owner && resource.owner == principal)",
            "(resource has owner && resource.owner == principal)",
            f"resource == Payment::{json.dumps(rng.choice(ids))}",
            f"[Payment::{json.dumps(rng.choice(ids))}, Payment::{json.dumps(rng.choice(ids))}].contains(resource)",
            'resource.tenant == "main"',
            "context has amount",
            "context.risk <= 50",
            "context.step_up",
            'principal in Role::"support"',
        )
    )


def random_policies(rng: random.Random, ids: list[str]) -> list[str]:
    """Return one to four policies on reading payments."""
    texts = []
    for number in range(rng.choice((1, 2, 2, 3, 4))):
        effect = "permit" if number == 0 or rng.random() < 0.7 else "forbid"
        principal = rng.choice(
            ("principal", "principal is User", *(f'principal in Role::"{r}"' for r in ROLES))
        )
        resource = rng.choice(("resource is Payment", "resource"))
        clauses = "".join(
            f" {rng.choice(('when', 'when', 'unless'))} {{ {condition(rng, ids)} }}"
            for _ in range(rng.choice((0, 1, 1, 2)))
        )
        texts.append(f'@id("p{number}") {effect} ({principal}, {READ}, {resource}){clauses};')
    return texts


def allowed(policies: PolicySet, caller: Caller, rows: list[Payment]) -> list[str]:
    """Return the ids of the tenant's payments that are allowed one by one, newest first."""
    decider, context = Decider(policies), {"risk": caller.risk, "step_up": caller.step_up}
    found = []
    for row in rows:
        question = AuthzRequest.of(caller.principal(), "Payment.read", payment_list.entity(row), context)
        if row.tenant == caller.tenant and decider.decide(question).allowed:
            found.append(row.id)
    return found


async def pages(person: Person, query: str = "") -> list[list[str]]:
    """Return the ids of every page of the API's list."""
    found, before = [], ""
    while True:
        answer = await person.get(f"/api/payments?{query}{before}")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found.append([one["id"] for one in body["items"]])
        if body["next"] is None:
            return found
        before = f"&before={body['next']}"


async def campaign(
    world: World, people: list[Person], monkeypatch: pytest.MonkeyPatch, rows: list[Payment], seeds: range
) -> tuple[list[str], set[int]]:
    """Return the differences over random policies, and how many payments were listed."""
    wrong, sizes = [], set()
    for seed in seeds:
        rng = random.Random(seed)
        texts, risk, size = (
            random_policies(rng, [row.id for row in rows]),
            rng.choice((0, 80)),
            rng.choice((3, 7, 50)),
        )
        policies = run_by(world, texts)
        monkeypatch.setattr(Services, "risk", lambda self, session, risk=risk: risk)
        monkeypatch.setattr(payment_list, "PAGE", size)
        order = rng.choice(rows).order_id
        for person, role in zip(people, ROLES, strict=True):
            expected = allowed(
                policies, Caller(person.id, roles=frozenset({role}), risk=risk, step_up=False), rows
            )
            got = await pages(person)
            if sum(got, []) != expected or any(len(page) != size for page in got[:-1]):
                wrong.append(f"case {seed}, {role}: {texts} lists {got}, allows {expected}")
            of_order = [row.id for row in rows if row.order_id == order and row.id in expected]
            if sum(await pages(person, f"order={order}"), []) != of_order:
                wrong.append(f"case {seed}, {role}: {texts} lists another than {of_order} of an order")
            sizes.add(len(expected))
    return wrong, sizes


@pytest.fixture
async def people(world: World) -> list[Person]:
    """One person of each role."""
    return [await world.person(role) for role in ROLES]


async def test_the_list_is_what_is_allowed_one_by_one(
    world: World, people: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = stored(world, random.Random(1), people)
    wrong, sizes = await campaign(world, people, monkeypatch, rows, range(24))
    assert not wrong, wrong[0]
    assert {0} < sizes
    assert len(sizes) > 8


_page, _PART = entity_store.page, payment_list.MAPPED.attributes
FAULTS: dict[str, tuple[Any, str, Any]] = {
    "the condition is dropped": (
        entity_store,
        "page",
        lambda tx, table, tenant, after, limit, shown, *only: _page(
            tx, table, tenant, after, limit, evolve(shown, condition=sa.true(), parts=()), *only
        ),
    ),
    "the order is not asked for": (
        entity_store,
        "page",
        lambda tx, table, tenant, after, limit, shown, *only: _page(tx, table, tenant, after, limit, shown),
    ),
    "the owner is taken from the order": (
        payment_list,
        "FILTERS",
        payment_list.KeptFilters(
            payment_list.Mapping(
                evolve(
                    payment_list.MAPPED,
                    attributes=_PART | {"owner": payment_list.Reference(payments.c.order_id, "User")},
                )
            )
        ),
    ),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_shows(
    name: str, world: World, people: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = stored(world, random.Random(1), people)
    monkeypatch.setattr(*FAULTS[name])
    for start in range(0, 48, 8):
        wrong, _ = await campaign(world, people, monkeypatch, rows, range(start, start + 8))
        if wrong:
            return
    pytest.fail(f"nothing showed that {name}")


UNSAYABLE = f'@id("far") permit (principal, {READ}, resource) when {{ resource has owner && resource.owner.tenant == principal.tenant }};'
NAMED = f'@id("named") permit (principal, {READ}, resource) when {{ Payment::"{FIRST}".tenant == principal.tenant }};'


@pytest.mark.parametrize("text", [UNSAYABLE, NAMED], ids=["reference", "by-name"])
async def test_a_policy_that_sql_cannot_say_refuses_the_list_or_decides_one_by_one_where_that_is_asked_for(
    world: World, people: list[Person], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:  # fmt: skip
    rows, person = stored(world, random.Random(1), people), people[0]
    policies = run_by(world, [text])
    with caplog.at_level(logging.ERROR, "redoubt.runtime"):
        answer = await person.get("/api/payments")
    assert answer.status_code == 500
    name = "'far'" if text is UNSAYABLE else "'named'"
    assert name in caplog.text
    assert name not in answer.text
    plan = world.guard.services.plan.payments
    object.__setattr__(plan, "post_filter", True)
    expected = allowed(policies, Caller(person.id, roles=frozenset({"customer"})), rows)
    monkeypatch.setattr(payment_list, "PAGE", 3)
    assert sum(await pages(person), []) == expected


async def test_where_a_page_ends_at_what_is_hidden_its_place_is_sealed(
    world: World, people: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, (mine, other, _) = stored(world, random.Random(1), people), people
    run_by(world, [UNSAYABLE])  # everybody reads their own, as no other person is known to the decision
    object.__setattr__(world.guard.services.plan.payments, "post_filter", True)
    monkeypatch.setattr(lists, "MOST", 2)
    monkeypatch.setattr(lists, "_SCANNED", 4)
    own = {row.id for row in rows if row.customer_id == mine.id and row.tenant == "main"}
    seen, before, sealed = [], "", []
    while True:
        body = (await mine.get(f"/api/payments?{before}")).json()
        seen += [one["id"] for one in body["items"]]
        if body["next"] is None:
            break
        if body["next"] not in own:
            sealed.append(body["next"])
        before = f"before={body['next']}"
    assert set(seen) == own
    assert len(seen) == len(own)
    assert sealed
    assert not any(row.id in place for place in sealed for row in rows)
    assert (await mine.get(f"/api/payments?before={sealed[0]}")).status_code == 200
    assert (await other.get(f"/api/payments?before={sealed[0]}")).status_code == 422
    for bad in (sealed[0][:-1], sealed[0][:-4] + "AAA=", "s.", "s.%00", "s." + "A" * 4000, "s.é"):
        assert (await mine.get(f"/api/payments?before={bad}")).status_code == 422


async def test_nobody_pages_sorts_or_filters_their_way_to_payments_of_others(
    world: World, people: list[Person]
) -> None:
    customer, support, _ = people
    theirs = world.payment(support.id)
    mine = world.payment(customer.id)
    other_tenant = world.payment(customer.id, tenant="other", order_id=FIRST)
    newer = world.payment("stranger")
    hidden = {theirs, other_tenant, newer}
    rows = {row.id: row for row in world.rows(sa.select(payments))}
    places = [FIRST, LAST, mine, *hidden]
    asked = [f"before={place}" for place in places]
    asked += [f"order={rows[one].order_id}&before={place}" for one in hidden for place in ("", LAST, mine)]
    asked += [
        f"before={LAST}&tenant=other",
        f"before={LAST}&customer_id=stranger&customer={support.id}&owner={support.id}",
        f"before={LAST}&limit=1000&sort=amount&order_by=customer_id&filter=true&where=1=1",
        f"order={rows[mine].order_id}&order={rows[newer].order_id}",
        f"before={mine}&before={LAST}",
    ]
    for query in asked:
        for path in ("/api/payments", "/payments"):
            answer = await (customer.get if path.startswith("/api") else customer.page)(f"{path}?{query}")
            assert answer.status_code == 200, query
            assert not [one for one in hidden if f"/payments/{one}" in answer.text], query
            if path.startswith("/api"):
                body = answer.json()
                assert {one["id"] for one in body["items"]} <= {mine}, query
                assert body["next"] is None, query
    assert (await customer.get(f"/api/payments?before={LAST}")).json()["items"][0]["id"] == mine
    bad = (
        "' OR '1'='1", f"{LAST}' OR 1=1 --", LAST.upper(), f"{LAST}%00", f"{LAST}%0a", "%ff", "-1", "9" * 1500, "[]",
    )  # fmt: skip
    for value in bad:
        for name in ("before", "order"):
            answer = await customer.get(f"/api/payments?{name}={value}")
            assert answer.status_code == 422, (name, value)
            assert "items" not in answer.json()
    assert {one["id"] for one in (await support.get("/api/payments")).json()["items"]} == {
        mine, theirs, newer,
    }  # fmt: skip


async def test_each_list_goes_by_an_index_without_a_sort(world: World) -> None:
    policies = parse(PolicySource(compile_schema(access()), compile_policies(access())))
    wanted = proposed(ways(payment_list.FILTERS.of(policies), "Payment", "Payment.read"))["Payment"]
    assert wanted == [("tenant", "customer_id", "id"), ("tenant", "id")]
    assert all(served(columns, existing_indexes(payments)) for columns in wanted)
    customer = Caller("me", roles=frozenset({"customer"})).principal()
    support = Caller("me", roles=frozenset({"support"})).principal()
    lists_of = {
        "payments_by_tenant_customer_id_id": (customer, []),
        "payments_by_tenant_id": (support, []),
        "payments_by_tenant_order_id_id": (support, [payments.c.order_id == FIRST]),
    }
    db = world.core.db
    for index, (caller, only) in lists_of.items():
        known = Known.of(caller, "Payment.read", {"risk": 0, "step_up": False})
        shown = payment_list.FILTERS.of(policies).of("Payment", known)
        query = entity_store.page_query(payments, "main", LAST, 51, shown, *only)

        def explained(tx: Any, query: Any = query) -> str:
            if db.dialect == "postgresql":
                tx.execute(sa.text("SET LOCAL enable_seqscan = off"))
                tx.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
            text = query.compile(tx.conn.engine, compile_kwargs={"literal_binds": True})
            how = "EXPLAIN QUERY PLAN" if db.dialect == "sqlite" else "EXPLAIN"
            return "\n".join(str(row) for row in tx.execute(sa.text(f"{how} {text}".replace(":", "\\:"))))

        plan = db.write_sync(explained)
        assert index in plan, plan
        assert not {"sort", "temp b-tree"} & {
            word for word in ("sort", "temp b-tree") if word in plan.lower()
        }, plan


async def test_the_table_declares_the_indexes_that_the_database_has(world: World) -> None:
    found = world.core.db.read_sync(lambda tx: sa.inspect(tx.conn).get_indexes("payments"))
    declared = {str(index.name) for index in payments.indexes}
    assert {index["name"] for index in found} == {"payments_one_live", *declared}
