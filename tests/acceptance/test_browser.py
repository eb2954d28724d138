"""A real Chromium: people register, sign in, buy, ask for a refund, and somebody else approves it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from playwright.sync_api import Route
from playwright.sync_api import TimeoutError as BrowserTimeout

from tests.support.browser import Browsers, Person, browsers
from tests.support.shop import RunningShop

pytestmark = pytest.mark.xdist_group("acceptance")


def eventually(check: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"never happened: {what}")


def enrol(made: Browsers, name: str, link: str) -> Person:
    """Take a one-time link with a new passkey."""
    person = made.person(name)
    person.goto(link)
    person.page.fill('input[name="email"]', f"{name}@example.org")
    person.page.click('form[data-passkey="enrol"] button')
    person.page.wait_for_url(lambda url: "/enrol/" not in url)
    return person


def invite(operator: Person, base: str, role: str) -> str:
    """Have an operator make a link for `role`."""
    operator.goto(f"{base}/console/enrolments")
    operator.page.select_option('select[name="role"]', role)
    operator.page.click('form[action="/console/enrolments"] button')
    operator.page.wait_for_selector("pre")
    return operator.page.inner_text("pre").strip()


def test_buy_refund_and_approve_as_people_do(shop: RunningShop) -> None:
    base = shop.base_url
    with browsers() as made:
        operator = enrol(made, "olga", shop.ready["operator_links"][0])
        operator.goto(f"{base}/console")
        assert "Overview" in operator.text()

        operator.goto(f"{base}/products/new")
        operator.page.fill('input[name="name"]', "Walnut desk")
        operator.page.fill('input[name="sku"]', "desk-1")
        operator.page.fill('input[name="price"]', "120.00")
        operator.page.click("main form button[type=submit]")
        operator.page.wait_for_url(lambda url: not url.endswith("/products/new"))
        desk_url = operator.page.url
        with operator.page.expect_navigation():
            operator.page.click('form[action$="/publish"] button')

        support = enrol(made, "sam", invite(operator, base, "support"))
        finance = enrol(made, "fay", invite(operator, base, "finance"))

        # A customer registers, leaves, and comes back with the passkey.
        customer = made.person("carl")
        customer.goto(f"{base}/auth/register")
        customer.page.fill('input[name="email"]', "carl@example.org")
        customer.page.click('form[data-passkey="register"] button')
        customer.page.wait_for_url(lambda url: "/auth/register" not in url)
        with customer.page.expect_navigation():
            customer.page.click('form[action="/auth/logout"] button')
        # That is the login page already: opening it once more would cut off a sign-in that it may have begun.
        with suppress(BrowserTimeout):  # the page may sign in by itself, from its autofill list
            customer.page.wait_for_url(lambda url: "/auth/login" not in url, timeout=4000)
        for _ in range(3):  # a click that met the autofill's own sign-in is refused, and people click again
            if "/auth/login" not in customer.page.url:
                break
            customer.page.click('form[data-passkey="login"] button')
            with suppress(BrowserTimeout):
                customer.page.wait_for_url(lambda url: "/auth/login" not in url)
        assert "/auth/login" not in customer.page.url, customer.text()

        # Buys.
        customer.goto(f"{base}/orders/new")
        customer.page.fill('input[name^="items."]', "2")
        customer.page.click("main form button[type=submit]")
        customer.page.wait_for_url(lambda url: not url.endswith("/orders/new"))
        order_url = customer.page.url
        assert "240.00" in customer.text()
        customer.page.click('form[action$="/pay"] button')
        customer.page.wait_for_url(lambda url: url.startswith(shop.ready["provider_url"]))
        for name, value in (("card_number", "4242424242424242"), ("expiry", "12 / 34"), ("cvc", "123")):
            customer.page.fill(f'input[name="{name}"]', value)
        customer.page.click('button[type="submit"], button')
        customer.page.wait_for_url(lambda url: url.startswith(base))

        def paid() -> bool:
            customer.goto(order_url)
            return "paid" in customer.page.inner_text("main").lower().split()

        eventually(paid, "the order is paid")

        # Support asks for a refund of part of it; finance approves exactly that with a passkey.
        order_id = order_url.rsplit("/", 1)[1]
        payment_id = support.page.evaluate(
            """async (order) => {
                const found = await fetch(`/api/orders/${order}`, {headers: {Accept: "application/json"}});
                return (await found.json()).payment_id ?? null;
            }""",
            order_id,
        )
        if payment_id is None:
            payment_id = payment_of(shop, order_id)
        asked = support.page.evaluate(
            """async (payment) => {
                const session = await (await fetch("/auth/session")).json();
                const answer = await fetch(`/api/payments/${payment}/refunds`, {
                    method: "POST",
                    headers: {"Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": session.csrf},
                    body: JSON.stringify({amount: 12000, currency: "EUR", reason: "one desk arrived broken"}),
                });
                return [answer.status, await answer.json()];
            }""",
            payment_id,
        )
        assert asked[0] == 202, asked
        approval = asked[1]["approval_id"]
        finance.goto(f"{base}/console/approvals/{approval}")
        assert "12000" in finance.text()
        finance.page.click("form[data-passkey-approve] button")
        finance.page.wait_for_function("() => document.querySelector('h1 .tag')?.textContent === 'approved'")

        def refunded() -> bool:
            objects = httpx.get(
                shop.ready["provider_url"].replace("stripe.localhost", "127.0.0.1") + "/_sandbox/objects"
            ).json()
            refunds = (
                [one for one in objects["objects"] if one.get("object") == "refund"]
                if isinstance(objects, dict)
                else []
            )
            return [one["amount"] for one in refunds] == [12000]

        eventually(refunded, "the provider has exactly this refund")

        # A dearer desk waits; finance sees which order would have come to more, and signs that.
        operator.goto(f"{desk_url}/edit")
        operator.page.fill('input[name="price"]', "150.00")
        operator.page.fill('input[name="price.reason"]', "walnut became dearer")
        operator.page.click("main form button[type=submit]")
        operator.page.wait_for_url("**/prices")
        waiting = operator.page.get_attribute('main a[href^="/console/approvals/"]', "href")
        customer.goto(desk_url)
        assert "120.00 EUR" in customer.text()
        finance.goto(f"{base}{waiting}")
        for text in (order_id, "240.00 EUR", "300.00 EUR", "60.00 EUR"):
            assert text in finance.text()
        finance.page.click("form[data-passkey-approve] button")
        finance.page.wait_for_function("() => document.querySelector('h1 .tag')?.textContent === 'approved'")
        customer.goto(desk_url)
        assert "150.00 EUR" in customer.text()
        customer.goto(order_url)
        assert "240.00 EUR" in customer.text()
        assert made.console_errors() == []


def payment_of(shop: RunningShop, order_id: str) -> str:
    """Read the payment of an order from the app's store: its pages show it to people, not by id."""
    import sqlite3

    with sqlite3.connect(f"file:{shop.state / 'app.db'}?mode=ro", uri=True) as conn:
        return str(conn.execute("SELECT id FROM payments WHERE order_id = ?", (order_id,)).fetchone()[0])


def test_a_click_while_the_autofill_signs_in_joins_it(shop: RunningShop) -> None:
    """One passkey is used once: the click neither starts a second sign-in nor loses the first one's answer."""
    base = shop.base_url
    with browsers() as made:
        person = made.person("dora")
        person.goto(f"{base}/auth/register")
        person.page.fill('input[name="email"]', "dora@example.org")
        person.page.click('form[data-passkey="register"] button')
        person.page.wait_for_url(lambda url: "/auth/register" not in url)

        asked: list[str] = []
        held: list[Route] = []
        person.page.on("request", lambda request: asked.append(request.url.removeprefix(base)))
        person.page.route("**/auth/login/verify", lambda route: held.append(route))
        # Signing out leads to the page that offers passkeys.
        with person.page.expect_request("**/auth/login/verify"):
            person.page.click('form[action="/auth/logout"] button')
        person.page.click('form[data-passkey="login"] button')
        person.page.wait_for_selector("[data-passkey-status]:not(:empty)")
        eventually(lambda: person.page.evaluate("1") and held, "the autofill's sign-in is held")
        held[0].continue_()
        person.page.wait_for_url(lambda url: "/auth/login" not in url)
        assert [one for one in asked if one.startswith("/auth/login/")] == [
            "/auth/login/options",
            "/auth/login/verify",
        ]
        assert made.console_errors() == []
