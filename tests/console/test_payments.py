"""Payments on pages: read by who may, refunds asked for by form, and nothing learned by who may not."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from redoubt.guard import store as guard_store
from redoubt.payments import store as payment_store
from redoubt.runtime.payment_routes import minor_units
from tests.console.world import World

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
STRANGE = "0190a1b2-0000-7000-8000-000000000000"


async def test_owners_and_staff_read_a_payment_and_others_find_nothing(world: World) -> None:
    owner, other = await world.person("customer"), await world.person("customer")
    support, operator = await world.person("support"), await world.person("operator")
    payment = world.payment(owner.id)
    for person in (owner, support):
        page = await person.page(f"/payments/{payment}")
        assert page.status_code == 200
        assert "240.00 EUR" in page.text
        assert (await person.get(f"/api/payments/{payment}")).json()["amount"] == 24_000
    for person in (other, operator):
        for path in ("/payments/", "/api/payments/"):
            hidden, missing = await person.get(path + payment), await person.get(path + STRANGE)
            assert hidden.status_code == missing.status_code == 404
            assert hidden.json()["title"] == missing.json()["title"]
    assert (await world.browser().get(f"/payments/{payment}")).status_code == 401
    for bad in ("%00", "x", "a" * 3000):
        assert (await support.get(f"/payments/{bad}")).status_code == 404


async def test_a_malformed_request_tells_a_stranger_nothing(world: World) -> None:
    owner, other = await world.person("customer"), await world.person("customer")
    payment = world.payment(owner.id)
    for path in ("/payments/{}/refunds", "/api/payments/{}/refunds"):
        for body in ({}, {"amount": "x"}, {"amount": 1, "currency": "EUR", "reason": "x"}):
            hidden = await other.post(path.format(payment), body)
            missing = await other.post(path.format(STRANGE), body)
            assert hidden.status_code == missing.status_code == 404, body
    assert (await owner.post(f"/api/payments/{payment}/refunds", {})).status_code == 422
    whole = {"amount": 1, "currency": "EUR", "reason": "x"}
    assert (await owner.post(f"/api/payments/{payment}/refunds", whole)).status_code == 403


async def test_lists_hold_what_the_reader_may_read(world: World) -> None:
    first, second = await world.person("customer"), await world.person("customer")
    support, operator = await world.person("support"), await world.person("operator")
    mine, other = world.payment(first.id), world.payment(second.id)
    world.payment(first.id, tenant="elsewhere")

    async def listed(person: object, query: str = "") -> list[str]:
        return [one["id"] for one in (await person.get(f"/api/payments{query}")).json()["items"]]  # type: ignore[attr-defined]

    assert await listed(first) == [mine]
    assert await listed(second) == [other]
    assert await listed(support) == [other, mine]
    own = world.payment(operator.id)  # no rule lets operators list payments, not even their own
    assert (await operator.get("/api/payments")).status_code == 403
    assert await listed(support) == [own, other, mine]
    (order,) = [one.order_id for one in world.rows(sa.select(payment_store.payments)) if one.id == other]
    assert await listed(support, f"?order={order}") == [other]
    assert await listed(first, f"?order={order}") == []
    page = (await first.page("/payments")).text
    assert f"/payments/{mine}" in page
    assert other not in page
    assert (await world.browser().get("/api/payments")).status_code == 401
    assert (await support.get("/api/payments?order=%00")).status_code == 422


async def test_long_lists_come_in_pages(world: World) -> None:
    owner, support = await world.person("customer"), await world.person("support")
    made = [world.payment(owner.id) for _ in range(51)]
    first = (await support.get("/api/payments")).json()
    rest = (await support.get(f"/api/payments?before={first['next']}")).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None
    assert f"before={first['next']}" in (await support.page("/payments")).text


async def test_support_asks_for_a_refund_by_plain_form(world: World) -> None:
    owner, support, finance = [await world.person(role) for role in ("customer", "support", "finance")]
    payment = world.payment(owner.id)
    page = (await support.page(f"/payments/{payment}")).text
    assert 'value="240.00"' in page
    assert "data-stepup" not in page
    assert "Ask for this refund" not in (await owner.page(f"/payments/{payment}")).text
    answer = await support.form(f"/payments/{payment}/refunds", amount="12,5", reason="one arrived broken")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/payments/{payment}")
    page = (await support.page(f"/payments/{payment}")).text
    assert "one arrived broken" in page
    assert "waits for a second person" in page
    assert "/console/approvals/" not in page
    assert "one arrived broken" not in (await owner.page(f"/payments/{payment}")).text
    (asked,) = world.rows(sa.select(guard_store.approvals))
    assert '"amount":1250,"currency":"EUR"' in asked.payload
    assert f"/console/approvals/{asked.id}" in (await finance.page(f"/payments/{payment}")).text


async def test_limits_of_the_role_hold_for_the_form_too(world: World) -> None:
    owner, support, finance = [await world.person(role) for role in ("customer", "support", "finance")]
    payment, path = world.payment(owner.id), "/payments/{}/refunds"
    assert (await support.form(path.format(payment), amount="50.01", reason="x")).status_code == 403
    assert (await owner.form(path.format(payment), amount="1", reason="x")).status_code == 403
    assert "data-stepup" in (await finance.page(f"/payments/{payment}")).text
    assert (await finance.form(path.format(payment), amount="200", reason="x")).status_code == 401
    await finance.step_up()
    assert (await finance.form(path.format(payment), amount="200", reason="x")).status_code == 303
    bad = [
        ("240.01", "x"),
        ("0", "x"),
        ("-1", "x"),
        ("1.234", "x"),
        ("1e2", "x"),
        ("٣", "x"),
        ("", "x"),
        ("1", " "),
    ]
    for amount, reason in bad:
        refused = await finance.form(path.format(payment), amount=amount, reason=reason)
        assert refused.status_code == 422, (amount, reason)
    extra = await finance.form(path.format(payment), amount="1", reason="x", currency="JPY")
    assert extra.status_code == 422
    assert len(world.rows(sa.select(guard_store.approvals))) == 1
    pending = world.payment(owner.id, state="pending", provider_payment=None)
    assert (await finance.form(path.format(pending), amount="1", reason="x")).status_code == 422
    assert "Ask for this refund" not in (await finance.page(f"/payments/{pending}")).text


async def test_a_killed_capability_refuses_to_ask(world: World) -> None:
    owner, support, operator = [await world.person(role) for role in ("customer", "support", "operator")]
    payment = world.payment(owner.id)
    await operator.form("/console/switches/kill", capability="refunds", tenant="*", reason="x")
    refused = await support.form(f"/payments/{payment}/refunds", amount="1", reason="x")
    assert refused.status_code == 503
    assert world.rows(sa.select(guard_store.approvals)) == []


@pytest.mark.parametrize(
    ("text", "currency", "expected"),
    [
        ("12", "EUR", 1200),
        ("12.5", "EUR", 1250),
        ("0,05", "EUR", 5),
        ("12", "JPY", 12),
        ("1.234", "KWD", 1234),
    ],
)
def test_amounts_are_read_as_people_write_them(
    text: str, currency: str, expected: int, database_url: str
) -> None:
    assert minor_units(text, currency) == expected


@pytest.mark.parametrize(
    ("text", "currency"), [("1.", "EUR"), (".5", "EUR"), ("1.5", "JPY"), ("1 000", "EUR"), ("9" * 12, "EUR")]
)
def test_anything_else_is_no_amount(text: str, currency: str, database_url: str) -> None:
    with pytest.raises(ValueError):
        minor_units(text, currency)
