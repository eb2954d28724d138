"""Pages, webhooks and payments of the built shop, through its guard and its own workers."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest

from redoubt.payments import store as payment_store
from redoubt.runtime.handlers import record_row
from redoubt.webhooks.models import Delivery

from .test_shop_api import order, product
from .world import World


async def test_a_form_works_without_scripts_and_comes_back_with_its_reasons(world: World):
    operator, customer = world.person("operator"), world.person("customer")
    cup = await product(operator)
    blank = await customer.page("/orders/new")
    assert f'name="items.{cup["id"]}"' in blank.text
    wrong = await customer.page("/orders", {f"items.{cup['id']}": "999", "note": '"><b>hi'})
    assert wrong.status_code == 422
    assert "whole number from 1 to 50" in wrong.text
    assert "<b>hi" not in wrong.text
    done = await customer.page("/orders", {f"items.{cup['id']}": "2", "note": "please"})
    assert done.status_code == 303
    shown = await customer.page(done.headers["location"])
    assert "24.00 EUR" in shown.text
    assert world.rows("SELECT total FROM app_orders") == [{"total": 2400}]


async def test_a_form_writes_no_more_than_the_api(world: World):
    operator, customer = world.person("operator"), world.person("customer")
    cup = await product(operator)
    for extra in ({"total": "1"}, {"status": "paid"}, {"owner_id": "x"}):
        answer = await customer.page("/orders", {f"items.{cup['id']}": "1", **extra})
        assert answer.status_code == 422
    forged = await customer.page("/orders", {f"items.{cup['id']}": "1", "csrf_token": "0" * 64})
    assert forged.status_code == 403
    assert world.rows("SELECT id FROM app_orders") == []


async def test_stored_text_is_shown_as_text(world: World):
    operator = world.person("operator")
    made = await product(
        operator, name="<script>alert(1)</script>", description="a\n<img src=x onerror=alert(1)>"
    )
    for path in ("/products", f"/products/{made['id']}", f"/products/{made['id']}/edit"):
        text = (await operator.page(path)).text
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "&lt;script&gt;alert(1)" in text


async def test_pages_hold_nothing_that_the_policy_of_content_forbids(world: World):
    operator = world.person("operator")
    made = await product(operator)
    for path in ("/products", "/products/new", f"/products/{made['id']}", "/about", "/auth/login"):
        page = await operator.page(path)
        assert page.status_code == 200, path
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|style=|<style|javascript:", page.text), path
        for source in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
            assert (await operator.get(source)).status_code == 200, source


async def test_buttons_are_shown_to_those_who_may(world: World):
    operator, customer = world.person("operator"), world.person("customer")
    made = await product(operator)
    assert f"/products/{made['id']}/retire" in (await operator.page(f"/products/{made['id']}")).text
    assert "retire" not in (await customer.page(f"/products/{made['id']}")).text
    assert (await customer.page(f"/products/{made['id']}/retire", {})).status_code == 403


async def test_htmx_gets_the_next_rows_only(world: World):
    operator = world.person("operator")
    for n in range(3):
        await product(operator, on_sale=False, sku=f"s{n}")
    whole = await operator.page("/products?limit=2")
    link = re.search(r'hx-get="([^"]+)"', whole.text)
    assert link is not None
    part = await operator.page(link[1], hx_request="true")
    assert "<html" not in part.text
    assert part.text.count("<td><a") == 1


async def test_a_github_release_becomes_a_note_once(world: World):
    secret = world.guard.settings.reveal(world.guard.settings.webhooks["github"].secrets[0]).reveal()
    body = json.dumps(
        {"action": "published", "release": {"tag_name": "v1.2", "name": "Spring", "body": "New."}}
    ).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "x-hub-signature-256": f"sha256={signature}",
        "content-type": "application/json",
        "x-github-delivery": "1",
    }
    nobody = world.nobody()
    first = await nobody.call("POST", "/webhooks/github", content=body, headers=headers)
    again = await nobody.call("POST", "/webhooks/github", content=body, headers=headers)
    forged = await nobody.call("POST", "/webhooks/github", content=body + b" ", headers=headers)
    assert (first.json()["status"], again.json()["status"], forged.status_code) == (
        "accepted",
        "duplicate",
        401,
    )
    await world.work()
    assert world.rows("SELECT tag, name, body FROM app_release_notes") == [
        {"tag": "v1.2", "name": "Spring", "body": "New."}
    ]
    customer = world.person("customer")
    assert [note["tag"] for note in (await customer.get("/api/release_notes")).json()["items"]] == ["v1.2"]
    assert (await customer.post("/api/release_notes", {"tag": "x"})).status_code == 403


@pytest.mark.parametrize(
    "payload", [b"not json", b"{}", b'{"release": 5}', b'{"release": {"tag_name": {"a": 1}}}', b"[]"]
)
async def test_a_payload_that_is_no_such_row_is_noted_and_left(world: World, payload: bytes):
    entities = world.guard.plan.domains[0]
    assert entities.name == "app"
    from redoubt.runtime.entities import Entities, EntityType
    from redoubt.runtime.fields import Text

    kind = EntityType("ReleaseNote", "release_notes", {"tag": Text(required=True, max=100)}, owned=False)
    handle = record_row(world.core, Entities((kind,), Path()), "ReleaseNote", {"tag": "release.tag_name"})
    delivery = Delivery("d", "github", "main", world.core.clock.now(), None, "i", "k", payload, {})
    world.core.db.write_sync(lambda tx: handle(tx, delivery))
    assert world.rows("SELECT id FROM app_release_notes") == []
    assert "release_note.ignore" in str(world.rows("SELECT * FROM audit_entries"))


def live_payment(world: World, mine: dict[str, Any], state: str) -> None:
    now = world.core.clock.now()
    values = {
        "id": world.core.ids.uuid7(), "tenant": "main", "order_id": mine["id"], "customer_id": mine["owner"],
        "amount": mine["total"], "currency": "EUR", "state": state, "redirect_url": None, "provider_payment": None,
        "refunded": 0, "failure": None, "human": False, "created_at": now, "updated_at": now,
    }  # fmt: skip
    world.core.db.write_sync(lambda tx: payment_store.insert_once(tx, payment_store.payments, values))


async def test_what_is_being_paid_for_is_held(world: World):
    operator, customer = world.person("operator"), world.person("customer")
    mine = await order(customer, await product(operator))
    live_payment(world, mine, "pending")
    for method, path, body in (("PATCH", "", {"note": "x"}), ("POST", "/cancel", None)):
        answer = await customer.call(method, f"/api/orders/{mine['id']}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "payment-running")
    assert (await customer.get(f"/api/orders/{mine['id']}")).json() == mine


async def test_a_settled_payment_moves_the_order_once_and_tells_the_partner(world: World):
    operator, customer = world.person("operator"), world.person("customer")
    mine = await order(customer, await product(operator))
    changed = world.guard.plan.payments.on_change
    for state in ("pending", "succeeded", "succeeded"):
        world.core.db.write_sync(lambda tx, state=state: changed(tx, "main", mine["id"], state))
    row = (await customer.get(f"/api/orders/{mine['id']}")).json()
    assert (row["status"], row["version"]) == ("paid", mine["version"] + 1)
    sent = world.rows("SELECT event_type, target FROM webhook_outbox")
    assert sent == [{"event_type": "order.paid", "target": "partner"}]
    late = await order(customer, await product(operator, sku="cup-2"))
    await customer.post(f"/api/orders/{late['id']}/cancel")
    world.core.db.write_sync(lambda tx: changed(tx, "main", late["id"], "succeeded"))
    assert (await customer.get(f"/api/orders/{late['id']}")).json()["status"] == "cancelled"
    assert "not where it could be paid for" in str(world.rows("SELECT * FROM audit_entries"))


async def test_what_partners_get_holds_nothing_personal(world: World):
    from redoubt.runtime.entities import EntityType
    from redoubt.runtime.fields import Email, Text

    kind = EntityType("X", "xs", {"name": Text(pii="name"), "mail": Email(pii="contact"), "note": Text()})
    now = world.core.clock.now()
    row = {"id": "1", "name": "Ann", "mail": "a@b.c", "note": "n", "owner_id": "u", "updated_at": now}
    assert set(kind.to_event(row)) == {"id", "note", "updated_at"}


async def test_the_relay_passes_a_delivery_on(relay: Path, tmp_path: Path):
    async with World(relay, tmp_path / "state") as world:
        from redoubt.webhooks.schemes import STANDARD

        config = world.guard.services.webhooks.endpoint("source")
        assert config.scheme is STANDARD
        delivery = Delivery(
            "d",
            "source",
            "main",
            world.core.clock.now(),
            None,
            "msg_1",
            "k",
            b'{"type":"a.b","data":{"n":1}}',
            {},
        )
        handler = config.handler
        assert callable(handler)
        world.core.db.write_sync(lambda tx: handler(tx, delivery))
        assert world.rows("SELECT event_type, target FROM webhook_outbox") == [
            {"event_type": "webhook.source", "target": "sink"}
        ]
        home = await world.nobody().page("/")
        assert home.status_code == 200
        assert "Relay" in home.text
