"""The pages in a real Chromium with a virtual authenticator, under the policy that forbids every script sink."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from playwright.async_api import Page, async_playwright

from redoubt.core.clock import SystemClock
from redoubt.core.db import Database
from tests.identity.world import World
from tests.support.core import make_core

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
)


@pytest.fixture
def database_url(one_database: str) -> str:
    return one_database


@pytest.fixture
async def site(db: Database, tmp_path: Path) -> AsyncIterator[World]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://test.localhost:{port}"
    toml = f'[app]\nname = "test"\nprofile = "development"\nbase_url = "{base}"\n'
    world = World(make_core(db, SystemClock(), tmp_path / "home", toml))  # type: ignore[arg-type]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", CSP.encode())]
            await send(message)

        await world.app(scope, receive, with_policy)

    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off")
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    yield world
    server.should_exit = True
    await task


@pytest.fixture
async def page(site: World) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--host-resolver-rules=MAP *.localhost 127.0.0.1"],
        )
        context = await browser.new_context(viewport={"width": 360, "height": 740})
        page = await context.new_page()
        page.problems = []  # type: ignore[attr-defined]
        page.on("console", lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: page.problems.append(str(e)))
        devtools = await context.new_cdp_session(page)
        await devtools.send("WebAuthn.enable")
        added = await devtools.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                    "isUserVerified": True, "automaticPresenceSimulation": True,
                }
            },
        )  # fmt: skip
        page.devtools, page.authenticator = devtools, added["authenticatorId"]  # type: ignore[attr-defined]
        yield page
        await browser.close()


def at(path: str) -> Callable[[str], bool]:
    return lambda url: urlsplit(url).path == path


async def fits(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


async def test_a_person_registers_steps_up_leaves_and_comes_back(site: World, page: Page) -> None:
    await page.goto(f"{site.origin}/auth/register?next=/account")
    assert await fits(page)
    await page.fill("input[name=email]", "ada@example.org")
    await page.click("text=Continue with a passkey")
    await page.wait_for_url(at("/account"))
    assert "ada@example.org" in await page.inner_text("main")
    assert await fits(page)

    # Removing needs a fresh passkey: the page asks for it by itself, then is refused, as it is the last way in.
    await page.click("section >> text=Remove")
    await page.wait_for_selector("text=This is the only way to sign in")
    await page.goto(f"{site.origin}/account")

    await page.click("text=Sign out")
    await page.wait_for_url(at("/auth/login"))
    assert await fits(page)
    # The passkey sits in the autofill list; a virtual authenticator answers at once and the page goes on.
    await page.wait_for_url(lambda url: not at("/auth/login")(url))
    await page.goto(f"{site.origin}/account")
    assert "ada@example.org" in await page.inner_text("main")
    noise = [text for text in page.problems if "404" not in text and "409" not in text]  # type: ignore[attr-defined]
    assert noise == []


async def test_the_button_signs_in_and_a_refused_passkey_says_so(site: World, page: Page) -> None:
    await page.goto(f"{site.origin}/auth/register?next=/account")
    await page.fill("input[name=email]", "ada@example.org")
    await page.click("text=Continue with a passkey")
    await page.wait_for_url(at("/account"))
    await page.devtools.send(  # type: ignore[attr-defined]
        "WebAuthn.setAutomaticPresenceSimulation",
        {"authenticatorId": page.authenticator, "enabled": False},  # type: ignore[attr-defined]
    )
    await page.click("text=Sign out")
    await page.wait_for_url(at("/auth/login"))
    await page.devtools.send(  # type: ignore[attr-defined]
        "WebAuthn.setUserVerified",
        {"authenticatorId": page.authenticator, "isUserVerified": False},  # type: ignore[attr-defined]
    )
    await page.devtools.send(  # type: ignore[attr-defined]
        "WebAuthn.setAutomaticPresenceSimulation",
        {"authenticatorId": page.authenticator, "enabled": True},  # type: ignore[attr-defined]
    )
    await page.click("text=Sign in with a passkey")
    await page.wait_for_selector("[data-passkey-status][data-kind=bad]:not(:empty)")
    await page.devtools.send(  # type: ignore[attr-defined]
        "WebAuthn.setUserVerified",
        {"authenticatorId": page.authenticator, "isUserVerified": True},  # type: ignore[attr-defined]
    )
    await page.goto(f"{site.origin}/auth/login?next=/account")
    await page.wait_for_url(at("/account"))


async def test_without_scripts_a_mailed_link_signs_in(site: World) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--host-resolver-rules=MAP *.localhost 127.0.0.1"],
        )
        context = await browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(f"{site.origin}/auth/login?next=/account")
        await page.fill("input[name=email]", "ada@example.org")
        await page.click("text=Mail me a link")
        await page.wait_for_selector("text=Look at your mail")
        await site.jobs.run_once()
        await page.goto(f"{site.origin}/auth/magic/{site.mail.token('ada@example.org')}")
        await page.click("main >> button >> text=Sign in")
        await page.wait_for_url(at("/account"))
        assert "ada@example.org" in await page.inner_text("main")
        await browser.close()
