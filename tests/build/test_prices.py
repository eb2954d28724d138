"""Prices of the built shop: a change is replayed over recorded orders, shown, and counts once somebody else approved it."""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError
from typer.testing import CliRunner

from redoubt.cli.price import app as price_command
from redoubt.core.canonical import canonical_json
from redoubt.core.db import Tx
from redoubt.payments.errors import PriceConflict
from redoubt.payments.prices import service as price_service

from .test_shop_api import order, product
from .world import Person, World

WHY = "T-17: dearer clay"


async def ask(operator: Person, item: dict[str, Any], price: int, **more: Any) -> Any:
    """Ask for another price by the API; return what waits."""
    sent = {"price": price, "price.reason": WHY, **more}
    answer = await operator.call("PATCH", f"/api/products/{item['id']}", json=sent)
    assert answer.status_code == 202, answer.text
    (waiting,) = answer.json()["waiting"]
    return waiting


async def price_of(person: Person, item: dict[str, Any]) -> int:
    found: int = (await person.get(f"/api/products/{item['id']}")).json()["price"]
    return found


async def shown(person: Person, waiting: dict[str, Any]) -> Any:
    """Return the change request as whoever approves it reads it."""
    answer = await person.get(
        f"/console/approvals/{waiting['approval_id']}", headers={"accept": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def staff(world: World) -> tuple[Person, Person]:
    return world.person("operator").take_passkey(), world.person("finance").take_passkey()


def versions(world: World) -> list[tuple[int, int]]:
    found = world.rows("SELECT version, amount FROM price_versions ORDER BY row_id, version")
    return [(row["version"], row["amount"]) for row in found]


async def test_a_price_counts_once_somebody_else_approved_it(any_world: World):
    (operator, finance), customer = staff(any_world), any_world.person("customer")
    cup = await product(operator)
    before = await order(customer, cup)
    waiting = await ask(operator, cup, 1500, description="Glazed.")
    row = (await operator.get(f"/api/products/{cup['id']}")).json()
    assert (row["price"], row["description"]) == (1200, "Glazed."), "all but the price is changed at once"
    assert (await order(customer, cup))["total"] == 2400
    done = await finance.approve(waiting["approval_id"])
    assert done.status_code == 200, done.text
    assert await price_of(customer, cup) == 1500
    after = await order(customer, cup)
    assert (after["total"], after["items"][0]["price_version"]) == (3000, 2)
    kept = (await customer.get(f"/api/orders/{before['id']}")).json()
    assert (kept["total"], kept["items"][0]["price_version"]) == (2400, 1), "an order keeps its price"
    told = (await operator.get(f"/api/products/{cup['id']}/prices")).json()
    assert [(one["version"], one["amount"], one["author"], one["approver"]) for one in told["items"]] == [
        (2, 1500, operator.user, finance.user), (1, 1200, operator.user, None),
    ]  # fmt: skip
    assert told["waiting"] == []
    log = [row["action"] for row in any_world.rows("SELECT action FROM audit_entries ORDER BY id")]
    wanted = ["payments.price.set", "payments.price.proposed", "payments.price.changed", "approval.approve"]
    assert [action for action in log if action in wanted] == wanted


async def test_the_dry_run_shows_exactly_the_orders_that_would_differ(any_world: World):
    (operator, finance), one, other = (
        staff(any_world),
        any_world.person("customer"),
        any_world.person("customer"),
    )
    cup, pot = await product(operator), await product(operator, name="Pot", sku="pot-1", price=700)
    single, plain = await order(one, cup, 3), await order(other, pot, 4)
    lines = [{"product": cup["id"], "quantity": 1}, {"product": pot["id"], "quantity": 2}]
    both = (await other.post("/api/orders", {"items": lines})).json()
    waiting = await ask(operator, cup, 1500)
    dry = (await shown(finance, waiting))["dry_run"]
    totals = {item["order"]: (item["recorded"], item["now"], item["proposed"]) for item in dry["changes"]}
    assert totals == {single["id"]: (3600, 3600, 4500), both["id"]: (2600, 2600, 2900)}
    assert dry["unchanged"] == [plain["id"]]
    assert (dry["orders"], dry["affected"], dry["unaffected"]) == (3, 2, 1)
    assert dry["sum"] == {"now": 6200, "proposed": 7400, "difference": 1200}
    assert (waiting["affected"], waiting["orders"], waiting["difference"]) == (2, 3, 1200)
    # What comes later is not in what was shown, and stops nobody from approving it.
    await order(one, cup, 9)
    assert (await finance.approve(waiting["approval_id"])).status_code == 200
    # The next one is replayed at the price that counts by then; what was recorded is told beside it.
    again = (await shown(finance, await ask(operator, cup, 1400)))["dry_run"]
    first = next(item for item in again["changes"] if item["order"] == single["id"])
    assert (first["recorded"], first["now"], first["proposed"]) == (3600, 4500, 4200)


async def test_caps_that_would_be_crossed_are_named(world: World):
    (operator, finance), customer = staff(world), world.person("customer")
    cup = await product(operator, price=10_000)
    small, large = await order(customer, cup, 10), await order(customer, cup, 50)
    dry = (await shown(finance, await ask(operator, cup, 20_001)))["dry_run"]
    crossed = {item["order"]: item["crosses"] for item in dry["changes"]}
    # 10 × 200.01 passes what may be refunded in a day; 50 × 200.01 also what one payment may be.
    assert crossed == {small["id"]: ["refunds_per_day"], large["id"]: ["per_payment"]}
    assert {one["cap"]: one["orders"] for one in dry["caps"]} == {
        "per_payment": 1, "refunds_per_day": 1, "total": 0,
    }  # fmt: skip


async def test_who_asked_cannot_approve_and_who_may_not_decide_cannot(any_world: World):
    operator, finance = staff(any_world)
    second, support = any_world.person("operator").take_passkey(), any_world.person("support").take_passkey()
    cup = await product(operator)
    waiting = await ask(operator, cup, 1500)
    assert (await operator.approve(waiting["approval_id"])).status_code == 403
    assert (await support.approve(waiting["approval_id"])).status_code in (403, 404)
    assert (await finance.approve(waiting["approval_id"], origin="https://evil.example")).status_code == 401
    assert await price_of(operator, cup) == 1200
    assert (await second.approve(waiting["approval_id"])).status_code == 200, "another operator may"
    assert (await finance.approve(waiting["approval_id"])).status_code == 409, "and once"
    assert versions(any_world) == [(1, 1200), (2, 1500)]


async def test_one_of_two_changes_over_the_same_price_loses(any_world: World):
    operator, finance = staff(any_world)
    second = any_world.person("operator").take_passkey()
    cup = await product(operator)
    waiting = [await ask(operator, cup, price) for price in (1500, 1600)]
    answers = await asyncio.gather(
        finance.approve(waiting[0]["approval_id"]), second.approve(waiting[1]["approval_id"])
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    won = 1500 if answers[0].status_code == 200 else 1600
    assert await price_of(operator, cup) == won
    assert versions(any_world) == [(1, 1200), (2, won)]


async def test_asking_twice_asks_once_and_not_without_end(world: World):
    operator, _ = staff(world)
    cup = await product(operator)
    first = await ask(operator, cup, 1500)
    assert (await ask(operator, cup, 1500))["approval_id"] == first["approval_id"]
    for number in range(1, price_service.MOST_WAITING):
        await ask(operator, cup, 1500 + number)
    sent = {"price": 9999, "price.reason": WHY}
    refused = await operator.call("PATCH", f"/api/products/{cup['id']}", json=sent)
    assert (refused.status_code, refused.json()["code"]) == (422, "price-conflict")


async def test_a_change_says_why_and_a_price_is_never_taken_away(world: World):
    operator, _ = staff(world)
    cup = await product(operator)
    path = f"/api/products/{cup['id']}"
    for sent, wrong in (
        ({"price": 1500}, "price.reason"),
        ({"price": 1500, "price.reason": "  "}, "price.reason"),
        ({"price": 1500, "price.reason": 7}, "price.reason"),
        ({"price": 1500, "price.reason": "x" * 501}, "price.reason"),
        ({"price": None, "price.reason": WHY}, "price"),
        ({"price": 0, "price.reason": WHY}, "price"),
        ({"price": 1500, "sku.reason": WHY}, "sku.reason"),
    ):
        answer = await operator.call("PATCH", path, json={**sent, "name": "Mug"})
        assert answer.status_code == 422, sent
        assert wrong in answer.json()["errors"], sent
    card = await operator.call("PATCH", path, json={"price": 1500, "price.reason": "4242 4242 4242 4242"})
    assert card.status_code in (400, 422)
    row = (await operator.get(path)).json()
    assert (row["name"], row["price"], row["version"]) == ("Cup", 1200, cup["version"]), (
        "or nothing is changed"
    )
    same = await operator.call("PATCH", path, json={"price": 1200, "price.reason": WHY, "name": "Mug"})
    assert (same.status_code, same.json()["name"]) == (200, "Mug"), "the same price is no change"
    assert world.rows("SELECT id FROM price_proposals") == []


async def test_only_who_may_change_a_row_sees_its_prices_and_asks(world: World):
    (operator, finance), customer = staff(world), world.person("customer")
    cup = await product(operator)
    for person in (customer, finance):
        sent = {"price": 1, "price.reason": WHY}
        assert (await person.call("PATCH", f"/api/products/{cup['id']}", json=sent)).status_code == 403
        assert (await person.get(f"/api/products/{cup['id']}/prices")).status_code == 403
        assert (await person.page(f"/products/{cup['id']}/prices")).status_code == 403
    assert world.rows("SELECT id FROM price_proposals") == []


async def test_the_form_says_that_a_price_waits_and_where(world: World):
    operator, finance = staff(world)
    cup = await product(operator)
    form = await operator.page(f"/products/{cup['id']}/edit")
    assert 'name="price.reason"' in form.text
    assert 'name="price.reason"' not in (await operator.page("/products/new")).text
    fields = {"name": "Mug", "description": "", "price": "15.00"}
    refused = await operator.page(f"/products/{cup['id']}", fields)
    assert refused.status_code == 422
    assert "say why the price changes" in refused.text
    saved = await operator.page(f"/products/{cup['id']}", {**fields, "price.reason": WHY})
    assert (saved.status_code, saved.headers["location"]) == (303, f"/products/{cup['id']}/prices")
    page = await operator.page(f"/products/{cup['id']}/prices")
    for text in ("12.00 EUR", "15.00 EUR", "dearer clay", "/console/approvals/"):
        assert text in page.text
    row = (await operator.get(f"/api/products/{cup['id']}")).json()
    assert (row["name"], row["price"]) == ("Mug", 1200)
    approval = world.rows("SELECT approval_id FROM price_proposals")[0]["approval_id"]
    seen = await finance.page(f"/console/approvals/{approval}")
    assert "12.00 EUR → 15.00 EUR" in seen.text
    unchanged = await operator.page(
        f"/products/{cup['id']}", {**fields, "price": "12.00", "price.reason": ""}
    )
    assert unchanged.headers["location"] == f"/products/{cup['id']}"


async def test_a_change_of_a_row_that_is_gone_is_stale(any_world: World):
    operator, finance = staff(any_world)
    cup = await product(operator)
    waiting = await ask(operator, cup, 1500)
    fresh = any_world.person("operator", step_up=True)
    assert (await fresh.call("DELETE", f"/api/products/{cup['id']}")).status_code == 204
    assert (await finance.approve(waiting["approval_id"])).status_code == 409
    assert versions(any_world) == [(1, 1200)]


async def test_a_price_and_its_change_meet_a_row_that_moved(any_world: World):
    operator, finance = staff(any_world)
    cup = await product(operator)
    waiting = await ask(operator, cup, 1500)
    answers = await asyncio.gather(
        finance.approve(waiting["approval_id"]),
        *(
            operator.call("PATCH", f"/api/products/{cup['id']}", json={"name": f"Cup {number}"})
            for number in range(4)
        ),
    )
    assert answers[0].status_code == 200, answers[0].text
    assert {answer.status_code for answer in answers[1:]} <= {200, 409}
    assert await price_of(operator, cup) == 1500


async def test_no_statement_changes_a_price_around_its_approval(any_world: World):
    operator, finance = staff(any_world)
    cup, pot = await product(operator), await product(operator, name="Pot", sku="pot-1", price=700)
    waiting = await ask(operator, cup, 1500)
    proposal = any_world.rows("SELECT id FROM price_proposals")[0]["id"]
    key = {"cup": cup["id"], "pot": pot["id"], "proposal": proposal, "approval": waiting["approval_id"]}
    version = (
        "INSERT INTO price_versions (tenant, entity, field, row_id, version, amount, currency, author, reason, base,"
        " proposal_id, approval_id, approver, proposed_at, effective_at, seal) SELECT p.tenant, p.entity, p.field, p.row_id,"
        " {version}, {amount}, p.currency, p.author, p.reason, {base}, p.id, :approval, {approver}, p.proposed_at,"
        " {at}, 'x' FROM price_proposals p WHERE p.id = :proposal"
    )
    good = {
        "version": "2",
        "amount": "1500",
        "base": "1",
        "approver": "'somebody'",
        "at": "p.proposed_at + 1",
    }
    unapproved = [
        version.format(**good | change) for change in ({}, {"amount": "1"}, {"version": "3", "base": "2"})
    ]
    for statement in (
        "UPDATE app_products SET price = 1 WHERE id = :cup",
        "UPDATE app_products SET price = NULL WHERE id = :cup",
        "UPDATE app_products SET price = 700, name = 'x'",
        "UPDATE app_products SET id = 'other' WHERE id = :cup",
        "UPDATE app_products SET tenant = 'other' WHERE id = :cup",
        "INSERT INTO app_products SELECT 'new', tenant, version, created_at, updated_at, name, 'new', description, 1,"
        " status FROM app_products WHERE id = :cup",
        "UPDATE price_versions SET amount = 1 WHERE row_id = :cup",
        "DELETE FROM price_versions",
        "UPDATE price_proposals SET amount = 1",
        "UPDATE price_proposals SET approval_id = NULL",
        "DELETE FROM price_proposals",
        "INSERT INTO price_versions SELECT tenant, entity, field, row_id, 2, 1, currency, author, reason, base,"
        " proposal_id, approval_id, approver, proposed_at, effective_at, seal FROM price_versions WHERE row_id = :cup",
        *unapproved,
    ):
        with pytest.raises(DatabaseError):
            _write(any_world, statement, key)
    assert await price_of(operator, cup) == 1200
    assert versions(any_world) in ([(1, 1200), (1, 700)], [(1, 700), (1, 1200)])
    assert (await finance.approve(waiting["approval_id"])).status_code == 200, "the honest twin passes"
    # An approval is for one version of one price: it is not used again, and not for another row.
    with pytest.raises(DatabaseError):
        _write(any_world, version.format(**good | {"version": "3", "base": "2"}), key)
    assert await price_of(operator, cup) == 1500


async def test_an_approval_over_other_bytes_moves_no_price(any_world: World):
    """The database reads the payload itself: one that says anything else than the version is no approval of it."""
    operator, finance = staff(any_world)
    cup = await product(operator)
    await ask(operator, cup, 1500)
    stored = any_world.rows("SELECT * FROM approvals WHERE kind = 'price.change'")[0]
    told = any_world.rows("SELECT * FROM price_proposals")[0]
    ids = any_world.core.ids
    proposal = ids.uuid7()

    def forge(tx: Tx, payload: dict[str, Any]) -> None:
        """Store a proposal, an approval of `payload` by somebody else, and the version that rests on both."""
        approval = ids.uuid7()
        text = canonical_json(payload).decode()
        now = stored["created_at"] + 1
        tx.execute(
            sa.text(
                "INSERT INTO price_proposals (id, tenant, entity, field, row_id, base, amount, currency, author, reason,"
                " evidence, proposed_at) VALUES (:id, 'main', 'Product', 'price', :row, 1, 1500, 'EUR', :by, :why, :dry, :now)"
            ),
            {
                "id": proposal,
                "row": cup["id"],
                "by": operator.user,
                "why": WHY,
                "dry": told["evidence"],
                "now": now,
            },
        )
        tx.execute(
            sa.text(
                "INSERT INTO approvals (id, tenant, kind, payload, payload_hash, requester, ticket, dry_run, created_at,"
                " expires_at, state) VALUES (:id, 'main', 'price.change', :text, :hash, :by, :why, :dry, :now, :end, 'pending')"
            ),
            {"id": approval, "text": text, "hash": ids.token(16), "by": operator.user, "why": WHY,
             "dry": told["evidence"], "now": now, "end": stored["expires_at"]},
        )  # fmt: skip
        tx.execute(
            sa.text("UPDATE price_proposals SET approval_id = :approval WHERE id = :id"),
            {"approval": approval, "id": proposal},
        )
        tx.execute(
            sa.text(
                "UPDATE approvals SET state = 'approved', decided_by = :by, decided_at = :now, credential = 'x',"
                " assertion = '{}', assertion_hash = :hash WHERE id = :id"
            ),
            {"by": finance.user, "now": now, "hash": ids.token(16), "id": approval},
        )
        tx.execute(
            sa.text(
                "INSERT INTO price_versions (tenant, entity, field, row_id, version, amount, currency, author, reason, base,"
                " proposal_id, approval_id, approver, proposed_at, effective_at, seal) VALUES ('main', 'Product', 'price', :row, 2,"
                " 1500, 'EUR', :by, :why, 1, :proposal, :approval, :second, :now, :now, 'ab')"
            ),
            {"row": cup["id"], "by": operator.user, "why": WHY, "proposal": proposal, "approval": approval,
             "second": finance.user, "now": now},
        )  # fmt: skip

    honest = json.loads(stored["payload"]) | {"proposal": proposal}
    lies: tuple[dict[str, Any], ...] = (
        {"amount": 1}, {"row": "another"}, {"base": 7}, {"entity": "Order"}, {"field": "other"}, {"author": "somebody"},
        {"currency": "USD"}, {"dry_run": "0" * 63}, {"proposal": "another"}, {"tenant": "other"}, {"zeal": 1},
    )  # fmt: skip
    for lie in lies:
        with pytest.raises(DatabaseError, match="approved proposal"):
            any_world.core.db.write_sync(partial(forge, payload=honest | lie))
    assert versions(any_world) == [(1, 1200)]
    any_world.core.db.write_sync(
        lambda tx: forge(tx, honest)
    )  # the honest twin passes: no database checks a passkey
    assert versions(any_world) == [(1, 1200), (2, 1500)]
    # But nobody is charged a price without the app's seal, and none is asked for over it.
    sent = {"items": [{"product": cup["id"], "quantity": 1}]}
    assert (await any_world.person("customer").post("/api/orders", sent)).status_code == 422
    again = await operator.call("PATCH", f"/api/products/{cup['id']}", json={"price": 1, "price.reason": WHY})
    assert (again.status_code, again.json()["code"]) == (409, "price-stale")


def command(*arguments: object) -> Any:
    return CliRunner().invoke(price_command, [str(argument) for argument in arguments])


async def test_the_command_rehearses_asks_and_lists(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REDOUBT_APP__STATE_DIR", str(world.core.settings.state_dir))
    (operator, finance), customer = staff(world), world.person("customer")
    cup, shop = await product(operator), world.directory
    placed = await order(customer, cup)
    rehearsed = command("rehearse", shop, "Product", cup["id"], "15.00", "--json")
    evidence = json.loads(rehearsed.stdout)
    assert [one["order"] for one in evidence["changes"]] == [placed["id"]]
    assert "24.00 EUR → 30.00 EUR" in command("rehearse", shop, "Product", cup["id"], "15").stdout
    assert world.rows("SELECT id FROM price_proposals") == [], "a rehearsal writes nothing"
    ask_by = ["propose", shop, "Product", cup["id"], "15.00", "--reason", WHY, "--by"]
    refused = command(*ask_by, customer.user)
    assert (refused.exit_code, isinstance(refused.exception, PriceConflict)) == (1, True)
    waits = command(*ask_by, operator.user)
    assert waits.exit_code == 3, waits.output
    approval = re.search(r"/console/approvals/([0-9a-f-]+)", waits.stdout)
    assert approval is not None
    assert f"waits  Product.price {cup['id']}  12.00 EUR → 15.00 EUR" in command("list", shop).stdout
    assert (await finance.approve(approval[1])).status_code == 200
    told = json.loads(command("show", shop, "Product", cup["id"], "--json").stdout)
    assert [(one["amount"], one["approver"]) for one in told] == [(1500, finance.user), (1200, None)]
    assert json.loads(command("list", shop, "--json").stdout)["waiting"] == []
    for wrong in (
        ("Order", cup["id"], "1"), ("Product", placed["id"], "1"), ("Product", cup["id"], "1.234"),
        ("Product", cup["id"], "-1"), ("Product", cup["id"], "99999999"), ("Product", cup["id"], "1", "--field", "name"),
    ):  # fmt: skip
        assert command("rehearse", shop, *wrong).exit_code == 2, wrong


def _write(world: World, statement: str, values: dict[str, Any]) -> None:
    used = {name: value for name, value in values.items() if f":{name}" in statement}
    world.core.db.write_sync(lambda tx: tx.execute(sa.text(statement), used))
