"""The pages in a real Chromium, under the policy of content that the guard sends: no violation, htmx works."""

from __future__ import annotations

import shutil
from typing import Any

from playwright.async_api import Route, async_playwright

from .test_shop_api import product
from .world import World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


async def test_more_rows_are_fetched_under_trusted_types(world: World):
    assert CHROMIUM, "install Chromium: apt-get install chromium"
    operator = world.person("operator")
    for n in range(5):
        await product(operator, on_sale=False, sku=f"s{n}", name=f"Cup {n} <i>onload=x</i>")
    said: list[str] = []

    async def answer(route: Route) -> None:
        """Carry the browser's request into the app, and the app's own headers back."""
        request = route.request
        path = request.url.removeprefix("https://shop.localhost")
        kept = {name: value for name, value in request.headers.items() if name in ("accept", "hx-request")}
        got = await operator.get(path, headers=kept)
        await route.fulfill(status=got.status_code, headers=dict(got.headers), body=got.content)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = await browser.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            await page.route("**/*", answer)
            await page.goto("https://shop.localhost/products?limit=2")
            assert await page.locator("tbody tr").count() == 2
            await page.get_by_text("Show more").click()
            await page.wait_for_function("document.querySelectorAll('tbody tr').length > 2")
            assert "limit=2" in page.url, "the page itself stayed"
            assert await page.locator("i").count() == 0
            refused: Any = await page.evaluate(
                """() => { try { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>'); return 'ran' }
                   catch (error) { return error.name } }"""
            )
            assert refused == "TypeError"
        finally:
            await browser.close()
    assert [line for line in said if "fragment could run" not in line] == []
