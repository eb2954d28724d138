"""A real Chromium with a virtual authenticator for each person, and an ear on every console error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from attrs import define, field
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> str:
    """Return Chromium's path; raises RuntimeError with the line that installs it."""
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            return found
    raise RuntimeError("Chromium is missing. Install it with: sudo apt-get install -y chromium")


@define
class Person:
    """Somebody with a browser of their own and a passkey device in it."""

    name: str
    context: BrowserContext
    page: Page
    errors: list[str] = field(factory=list)

    def goto(self, url: str) -> None:
        """Open a page and wait until it is quiet."""
        self.page.goto(url, wait_until="load")

    def text(self) -> str:
        """Return what the page says."""
        return self.page.inner_text("body")


class Browsers:
    """Makes persons; each has cookies, passkeys and a console of their own."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.people: list[Person] = []

    def person(self, name: str) -> Person:
        """Open a browser profile with a virtual authenticator that verifies its user (CTAP2, resident keys)."""
        context = self._browser.new_context(ignore_https_errors=True)
        context.set_default_timeout(20_000)
        page = context.new_page()
        person = Person(name, context, page)
        page.on("console", lambda message: _note(person, message))
        page.on("pageerror", lambda error: person.errors.append(f"{name}: {error}"))
        session = context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        session.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": True,
                    "automaticPresenceSimulation": True,
                }
            },
        )
        self.people.append(person)
        return person

    def console_errors(self) -> list[str]:
        """Return every error that any person's console showed."""
        return [error for person in self.people for error in person.errors]


def _note(person: Person, message: ConsoleMessage) -> None:
    if message.type == "error":
        person.errors.append(f"{person.name}: {message.text} at {message.location.get('url', '')}")


@contextmanager
def browsers() -> Iterator[Browsers]:
    """Start Chromium and yield a maker of persons."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=_FLAGS)
        try:
            yield Browsers(browser)
        finally:
            with suppress(Error):
                browser.close()
