"""The console in a real Chromium: small screens, the keyboard, no JavaScript, and no console error anywhere."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page

from tests.acceptance.test_browser import enrol, eventually, invite
from tests.support.browser import Browsers, Person, browsers
from tests.support.shop import RunningShop

pytestmark = pytest.mark.xdist_group("acceptance")

PAGES = ("", "/approvals", "/audit", "/switches", "/enrolments")
SMALL = {"width": 360, "height": 740}
# What a page owes to people with small screens, screen readers and keyboards; returns what it fails at.
OWED = """() => {
    const wrong = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) wrong.push(`wider than the screen: ${root.scrollWidth}`);
    if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
    let last = 0;
    for (const heading of document.querySelectorAll("h1,h2,h3,h4,h5,h6")) {
        const level = Number(heading.tagName[1]);
        if (level > last + 1) wrong.push(`heading skips a level: ${heading.textContent}`);
        last = level;
    }
    for (const field of document.querySelectorAll("input:not([type=hidden]),select,textarea"))
        if (!field.labels.length || !field.labels[0].textContent.trim()) wrong.push(`no label: ${field.name}`);
    for (const button of document.querySelectorAll("button,a[href]"))
        if (!button.textContent.trim()) wrong.push(`no name: ${button.outerHTML}`);
    for (const area of document.querySelectorAll("*"))
        if (area.scrollWidth > area.clientWidth && ["auto", "scroll"].includes(getComputedStyle(area).overflowX)
            && area.tabIndex < 0) wrong.push(`scrolls, but not by keyboard: ${area.className || area.tagName}`);
    for (const field of document.querySelectorAll("a[href],button,input:not([type=hidden]),select")) {
        const box = field.getBoundingClientRect();
        if (field.tagName !== "A" && box.height && box.height < 24) wrong.push(`too small to hit: ${field.name}`);
    }
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    if (new Set(ids).size !== ids.length) wrong.push("an id stands twice");
    return wrong;
}"""


@pytest.fixture(scope="module")
def made() -> Iterator[Browsers]:
    with browsers() as found:
        yield found


@pytest.fixture(scope="module")
def operators(made: Browsers, shop: RunningShop) -> tuple[Person, Person]:
    first, second = shop.ready["operator_links"]
    return enrol(made, "olga", first), enrol(made, "omar", second)


def without_scripts(person: Person) -> tuple[BrowserContext, Page]:
    """Open a small browser of the same person in which JavaScript is switched off."""
    browser = person.context.browser
    assert browser is not None
    context = browser.new_context(ignore_https_errors=True, java_script_enabled=False, viewport=SMALL)  # type: ignore[arg-type]
    context.add_cookies(person.context.cookies())  # type: ignore[arg-type]
    return context, context.new_page()


LIVE, OFF = 401, 503  # what nobody's post gets: asked who it is, or told that writes are off


def writes(base: str) -> int:
    """Return the status that a stranger's post gets."""
    parts = urlsplit(base)
    answer = httpx.post(
        f"https://127.0.0.1:{parts.port}/api/orders", json={}, headers={"host": parts.netloc}, verify=False
    )
    return answer.status_code


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until `selector` has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            return
    raise AssertionError(f"the keyboard never reaches {selector}")


def test_pages_fit_a_small_screen_and_the_keyboard(
    made: Browsers, operators: tuple[Person, Person], shop: RunningShop
) -> None:
    operator, base = operators[0], shop.base_url
    operator.page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    for path in PAGES:
        operator.goto(f"{base}/console{path}")
        assert operator.page.evaluate(OWED) == [], path
        assert operator.page.locator('nav[aria-label="Console"] a[aria-current="page"]').count() == 1
    operator.goto(f"{base}/console")
    operator.page.keyboard.press("Tab")
    operator.page.keyboard.press("Enter")
    assert operator.page.evaluate("location.hash") == "#content"
    tab_to(operator.page, 'nav[aria-label="Console"] a[href="/console/audit"]')
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert operator.page.evaluate(outline) == "solid"
    operator.page.keyboard.press("Enter")
    operator.page.wait_for_url("**/console/audit")
    assert made.console_errors() == []


def test_an_entry_is_found_and_proved(
    made: Browsers, operators: tuple[Person, Person], shop: RunningShop
) -> None:
    operator, base = operators[0], shop.base_url
    operator.page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    operator.goto(f"{base}/console/audit")
    operator.page.fill("#action", "identity.enrol")
    operator.page.fill("#actor", "omar@example.org")
    operator.page.select_option("#outcome", "success")
    operator.page.keyboard.press("Enter")
    operator.page.click('main form[role="search"] button')
    operator.page.wait_for_url("**action=identity.enrol**")
    rows = operator.page.locator("tbody tr")
    assert rows.count() >= 1
    assert "omar@example.org" in rows.first.inner_text()
    rows.first.locator("a").click()

    def proved() -> bool:
        operator.page.reload()
        return "leads to the signed root" in operator.text()

    eventually(proved, "a checkpoint covers the entry")
    assert operator.page.evaluate(OWED) == []
    assert made.console_errors() == []


def test_reading_and_killing_need_no_scripts_and_going_live_needs_two(
    made: Browsers, operators: tuple[Person, Person], shop: RunningShop
) -> None:
    (first, second), base = operators, shop.base_url
    context, page = without_scripts(first)
    for path in PAGES:
        answer = page.goto(f"{base}/console{path}")
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("h1").count() == 1
    page.goto(f"{base}/console/audit?action=identity")
    page.click("tbody a >> nth=0")
    assert "What was recorded" in page.inner_text("main")

    assert writes(base) == LIVE
    page.goto(f"{base}/console/switches")
    tab_to(page, "#capability")
    page.keyboard.type("writes")
    tab_to(page, "#reason")
    page.keyboard.type("an attack, by keyboard")
    tab_to(page, "button.danger")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=an attack, by keyboard")
    eventually(lambda: writes(base) == OFF, "writes are off", seconds=1.5)
    context.close()

    first.goto(f"{base}/console/switches")
    assert first.page.evaluate(OWED) == []
    first.page.fill('input[name="ticket"]', "INC-7")
    first.page.click('form[action="/console/switches/enable"] button')
    first.page.wait_for_url("**/console/approvals/*")
    assert "somebody else decides" in first.text()
    assert first.page.evaluate(OWED) == []
    approval = first.page.url
    assert writes(base) == OFF
    second.page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    second.goto(approval)
    assert second.page.evaluate(OWED) == []
    tab_to(second.page, "form[data-passkey-approve] button")
    second.page.keyboard.press("Enter")
    second.page.wait_for_function("() => document.querySelector('h1 .tag')?.textContent === 'approved'")
    eventually(lambda: writes(base) == LIVE, "writes are live again", seconds=1.5)
    assert made.console_errors() == []


def stored_payment(shop: RunningShop, customer: str) -> str:
    """Leave a settled payment in the app's store, as the charge service reports one; buying has its own test."""
    now = time.time_ns() // 1000
    row: dict[str, Any] = {
        "id": str(uuid.UUID(int=(now // 1000 << 80) | 7 << 76 | 2 << 62 | 1)),
        "tenant": "main", "order_id": str(uuid.uuid4()), "customer_id": customer, "amount": 24000, "currency": "EUR",
        "state": "succeeded", "redirect_url": None, "provider_payment": "pi_1", "refunded": 0, "failure": None,
        "human": False, "created_at": now, "updated_at": now,
    }  # fmt: skip
    with sqlite3.connect(shop.state / "app.db", timeout=10) as conn:
        conn.execute(
            f"INSERT INTO payments ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", [*row.values()]
        )
    return str(row["id"])


def test_staff_ask_for_refunds_on_the_payments_page(
    made: Browsers, operators: tuple[Person, Person], shop: RunningShop
) -> None:
    operator, base = operators[0], shop.base_url
    support = enrol(made, "sam", invite(operator, base, "support"))
    finance = enrol(made, "fay", invite(operator, base, "finance"))
    customer = made.person("carl")
    customer.goto(f"{base}/auth/register")
    customer.page.fill('input[name="email"]', "carl@example.org")
    customer.page.click('form[data-passkey="register"] button')
    customer.page.wait_for_url(lambda url: "/auth/register" not in url)
    me = customer.page.evaluate("async () => (await (await fetch('/auth/session')).json()).user.id")
    payment = stored_payment(shop, me)

    for person in (customer, support, finance):
        person.page.set_viewport_size(SMALL)  # type: ignore[arg-type]
        person.goto(f"{base}/payments")
        assert person.page.evaluate(OWED) == []
        person.page.click(f'a[href="/payments/{payment}"]')
        person.page.wait_for_url(f"**/payments/{payment}")
        assert "240.00 EUR" in person.text()
        assert person.page.evaluate(OWED) == []
    assert customer.page.locator("#amount").count() == 0

    support.page.fill("#amount", "12.50")
    support.page.fill("#reason", "a scratch")
    support.page.click("text=Ask for this refund")
    support.page.wait_for_selector("text=a scratch")
    assert "waits for a second person" in support.text()

    finance.page.reload()
    finance.page.fill("#amount", "100")
    finance.page.fill("#reason", "a broken leg")
    finance.page.click("text=Ask for this refund")  # asks for the passkey first, where that is not fresh
    finance.page.wait_for_selector("text=a broken leg")
    finance.goto(f"{base}/console/approvals")
    assert finance.page.evaluate(OWED) == []
    assert finance.page.locator("tbody tr").count() == 2
    assert made.console_errors() == []
