"""The built shop, asked through its own guard: what people can do, and what they try."""

from __future__ import annotations

import asyncio
from typing import Any

from .world import Person, World

CUP = {"name": "Cup", "sku": "cup-1", "price": 1200}


async def product(operator: Person, *, on_sale: bool = True, **changes: Any) -> dict[str, Any]:
    made = await operator.post("/api/products", {**CUP, **changes})
    assert made.status_code == 201, made.text
    if on_sale:
        moved = await operator.post(f"/api/products/{made.json()['id']}/publish")
        assert moved.status_code == 200, moved.text
        return moved.json()
    return made.json()


async def order(customer: Person, item: dict[str, Any], quantity: int = 2) -> dict[str, Any]:
    made = await customer.post("/api/orders", {"items": [{"product": item["id"], "quantity": quantity}]})
    assert made.status_code == 201, made.text
    return made.json()


async def test_an_order_costs_what_the_products_cost(any_world: World):
    operator, customer = any_world.person("operator"), any_world.person("customer")
    cup, pot = await product(operator), await product(operator, name="Pot", sku="pot-1", price=99)
    made = await customer.post(
        "/api/orders",
        {
            "items": [{"product": cup["id"], "quantity": 2}, {"product": pot["id"], "quantity": 3}],
            "note": "thanks",
        },
    )
    assert made.status_code == 201
    body = made.json()
    assert (body["total"], body["status"], body["owner"]) == (2697, "placed", customer.user)
    line = {"product": cup["id"], "quantity": 2, "label": "Cup", "price": 1200, "price_version": 1}
    assert body["items"][0] == line
    assert (await customer.get(f"/api/orders/{body['id']}")).json() == body


async def test_nothing_but_declared_fields_can_be_written(world: World):
    operator, customer = world.person("operator"), world.person("customer")
    cup = await product(operator)
    mine = await order(customer, cup)
    lines = [{"product": cup["id"], "quantity": 1}]
    for extra in (
        {"total": 1},
        {"status": "paid"},
        {"owner": "x"},
        {"owner_id": "x"},
        {"tenant": "other"},
        {"id": "x"},
        {"version": 9},
        {"created_at": "2020-01-01"},
        {"role": "operator", "__class__": "x"},
    ):
        refused = await customer.post("/api/orders", {"items": lines, **extra})
        assert refused.status_code == 422
        assert set(refused.json()["errors"]) == set(extra)
        changed = await customer.call("PATCH", f"/api/orders/{mine['id']}", json={"note": "x", **extra})
        assert changed.status_code == 422
    assert [row["id"] for row in world.rows("SELECT id FROM app_orders")] == [mine["id"]]
    assert (await customer.get(f"/api/orders/{mine['id']}")).json() == mine


async def test_a_line_sets_neither_price_nor_odd_quantities(world: World):
    cup, customer = await product(world.person("operator")), world.person("customer")
    for line in (
        {"quantity": 1, "price": 1},
        {"quantity": 1, "label": "Free"},
        {"quantity": 0},
        {"quantity": -5},
        {"quantity": 51},
        {"quantity": 1.5},
        {"quantity": True},
        {"quantity": "1"},
        {},
    ):
        answer = await customer.post("/api/orders", {"items": [{"product": cup["id"], **line}]})
        assert answer.status_code == 422, line
    twice = [{"product": cup["id"], "quantity": 1}] * 2
    for items in ([], None, {}, "x", twice, [{"product": "1", "quantity": 1}], [cup["id"]]):
        assert (await customer.post("/api/orders", {"items": items})).status_code == 422, items
    assert world.rows("SELECT id FROM app_orders") == []


async def test_what_cannot_be_read_cannot_be_referred_to(world: World):
    operator, one, other = world.person("operator"), world.person("customer"), world.person("customer")
    hidden, cup = await product(operator, on_sale=False, sku="hidden"), await product(operator)
    address = {"name": "A", "email": "a@example.test", "address": "Street 1"}
    theirs = (await other.post("/api/customers", address)).json()
    missing = "01900000-0000-7000-8000-000000000000"
    for items, customer in (
        ([{"product": hidden["id"], "quantity": 1}], None),
        ([{"product": missing, "quantity": 1}], None),
        ([{"product": cup["id"], "quantity": 1}], theirs["id"]),
        ([{"product": cup["id"], "quantity": 1}], missing),
    ):
        answer = await one.post(
            "/api/orders", {"items": items, **({"customer": customer} if customer else {})}
        )
        assert answer.status_code == 422
    # A draft and a missing product, a stranger's address and none, are refused in the same words.
    texts = set()
    for target in (theirs["id"], missing):
        sent = {"items": [{"product": cup["id"], "quantity": 1}], "customer": target}
        texts.add(str((await one.post("/api/orders", sent)).json()["errors"]))
    assert len(texts) == 1


async def test_people_see_their_own_and_nothing_of_others(any_world: World):
    operator, one, other = (any_world.person(role) for role in ("operator", "customer", "customer"))
    cup = await product(operator)
    mine, theirs = await order(one, cup), await order(other, cup)
    listed = (await one.get("/api/orders")).json()
    assert [row["id"] for row in listed["items"]] == [mine["id"]]
    for method, path in (
        ("GET", ""), ("PATCH", ""), ("POST", "/cancel"), ("POST", "/pay"),
    ):  # fmt: skip
        stranger = await one.call(method, f"/api/orders/{theirs['id']}{path}", json={"note": "x"})
        missing = await one.call(
            method, f"/api/orders/01900000-0000-7000-8000-000000000000{path}", json={"note": "x"}
        )
        assert stranger.status_code == missing.status_code == 404, (method, path, stranger.text)
        same = {key: value for key, value in stranger.json().items() if key != "request_id"}
        assert same == {key: value for key, value in missing.json().items() if key != "request_id"}
    support = any_world.person("support")
    assert {row["id"] for row in (await support.get("/api/orders")).json()["items"]} == {
        mine["id"],
        theirs["id"],
    }
    assert (await support.call("PATCH", f"/api/orders/{mine['id']}", json={"note": "x"})).status_code == 403


async def test_a_list_shows_only_states_that_may_be_read(world: World):
    operator, customer = world.person("operator"), world.person("customer")
    shown = await product(operator)
    await product(operator, on_sale=False, sku="draft-1")
    assert [row["id"] for row in (await customer.get("/api/products")).json()["items"]] == [shown["id"]]
    assert len((await operator.get("/api/products")).json()["items"]) == 2


async def test_lists_are_bounded_and_continue(world: World):
    operator = world.person("operator")
    made = [(await product(operator, on_sale=False, sku=f"sku-{n}"))["id"] for n in range(7)]
    seen: list[str] = []
    after = ""
    for _ in range(4):
        page = (await operator.get(f"/api/products?limit=2{after}")).json()
        assert len(page["items"]) <= 2
        seen += [row["id"] for row in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == made[::-1]
    for query in ("limit=0", "limit=101", "limit=-1", "limit=1e9", "limit=²", "after=1' OR 1=1"):
        assert (await operator.get(f"/api/products?{query}")).status_code == 422, query


async def test_nobody_is_asked_to_log_in(world: World):
    nobody = world.nobody()
    for path in ("/api/orders", "/api/products", "/api/customers", "/api/release_notes"):
        assert (await nobody.get(path)).status_code == 401
    page = await nobody.page("/orders")
    assert page.status_code == 303
    assert page.headers["location"].startswith("/auth/login?next=")
    assert (await nobody.post("/api/orders", {})).status_code in (401, 403)


async def test_moves_follow_the_declared_states(world: World):
    operator, support, customer = (world.person(role) for role in ("operator", "support", "customer"))
    mine = await order(customer, await product(operator))
    assert (await support.post(f"/api/orders/{mine['id']}/ship")).status_code == 409  # not paid
    assert (await customer.post(f"/api/orders/{mine['id']}/cancel")).json()["status"] == "cancelled"
    assert (
        await customer.post(f"/api/orders/{mine['id']}/cancel")
    ).status_code == 403  # no rule for that state
    assert (await customer.call("PATCH", f"/api/orders/{mine['id']}", json={"note": "x"})).status_code == 403


async def test_a_risky_delete_needs_a_fresh_passkey(world: World):
    operator = world.person("operator")
    made = await product(operator)
    asked = await operator.call("DELETE", f"/api/products/{made['id']}")
    assert (asked.status_code, asked.json()["code"]) == (401, "step-up-required")
    fresh = world.person("operator", step_up=True)
    assert (await fresh.call("DELETE", f"/api/products/{made['id']}")).status_code == 204
    assert (await fresh.get(f"/api/products/{made['id']}")).status_code == 404


async def test_unsafe_requests_need_the_token_of_the_page(world: World):
    operator = world.person("operator")
    assert (await operator.call("POST", "/api/products", json=CUP, csrf=False)).status_code == 403
    foreign = await operator.call(
        "POST", "/api/products", json=CUP, headers={"origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    assert world.rows("SELECT id FROM app_products") == []


async def test_a_value_that_stands_once_stands_once(any_world: World):
    operator = any_world.person("operator")
    await product(operator)
    again = await operator.post("/api/products", CUP)
    assert (again.status_code, again.json()["code"]) == (409, "exists")
    made = await product(operator, sku="other")
    immutable = await operator.call("PATCH", f"/api/products/{made['id']}", json={"sku": "cup-1"})
    assert immutable.status_code == 422


async def test_racing_changes_lose_nothing_silently(any_world: World):
    operator = any_world.person("operator")
    made = await product(operator)
    answers = await asyncio.gather(
        *(operator.call("PATCH", f"/api/products/{made['id']}", json={"name": f"Cup {n}"}) for n in range(6))
    )
    good = [answer.json()["version"] for answer in answers if answer.status_code == 200]
    assert all(answer.status_code in (200, 409) for answer in answers)
    row = (await operator.get(f"/api/products/{made['id']}")).json()
    assert row["version"] == made["version"] + len(good)
    assert sorted(good) == list(range(made["version"] + 1, row["version"] + 1))


async def test_every_write_leaves_its_event_and_no_personal_data(world: World):
    customer = world.person("customer")
    sent = {
        "name": "Zaphod Quux",
        "email": "zaphod@quux.example",
        "phone": "+49 30 1234567",
        "address": "Betelgeuse 5",
    }
    made = (await customer.post("/api/customers", sent)).json()
    await customer.call("PATCH", f"/api/customers/{made['id']}", json={"name": "Ford Quux"})
    await customer.call("DELETE", f"/api/customers/{made['id']}")
    log = world.rows("SELECT * FROM audit_entries")
    text = str(log)
    for action in ("customer.create", "customer.update", "customer.delete"):
        assert action in text
    for value in ("Zaphod", "Ford", "quux.example", "1234567", "Betelgeuse"):
        assert value not in text


async def test_broken_json_is_refused_in_few_words(world: World):
    operator = world.person("operator")
    bodies = [b"{", b"[]", b'"x"', b'{"name": NaN}', b'{"name":"a","name":"b"}', b"[" * 100_000, b"\xff", b""]
    for body in bodies:
        answer = await operator.call(
            "POST", "/api/products", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code in (400, 422), body[:20]
        assert "Traceback" not in answer.text
    wrong = await operator.call(
        "POST", "/api/products", content=b"{}", headers={"content-type": "text/plain"}
    )
    assert wrong.status_code == 415
