"""One identity in a real browser: a profile with its session, its own way out, and every page's exchange recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from attrs import define, field, frozen

from redoubt.controls import Exchange

from ..browser import Browser
from ..masking import MAX_BODY, Masker
from .relay import Relay
from .view import HARVEST, NEAR, TOKEN, Form, View, view_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page, Request, Response

_NAVIGATION_MS = 10_000
_SETTLED_SECONDS = 0.6
_MOST_SECONDS = 5.0
_UNSEEN = (
    "*.png",
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.webp",
    "*.svg",
    "*.ico",
    "*.woff",
    "*.woff2",
    "*.mp4",
    "*.css",
)
"""What pages load and no attack needs."""
_SHOWN = ("content-type", "location")
_SENT = ("content-type", "origin", "authorization")

_POST = """([action, method, encoding, pairs]) => {
  const form = document.createElement("form");
  form.setAttribute("action", action); form.setAttribute("method", method); form.setAttribute("enctype", encoding);
  for (const [name, value] of pairs) {
    const input = document.createElement("textarea"); input.setAttribute("name", name); input.value = value; form.append(input);
  }
  form.style.display = "none"; (document.body || document.documentElement).append(form);
  HTMLFormElement.prototype.submit.call(form);
}"""
_FETCH = """async ([url, method, headers, body]) => {
  try { const answer = await fetch(url, {method, headers, body, credentials: "same-origin", cache: "no-store"});
    return [answer.status, answer.url, (await answer.text()).slice(0, 60000)]; }
  catch (error) { return [0, url, ""]; }
}"""
_HTML = "text/html,application/xhtml+xml,application/json;q=0.9"
_PRESS = """([index, button, click, values]) => {
  if (click) {
    const loose = [...document.querySelectorAll("button, [role=button], input[type=button]")].filter((b) => !b.form && !b.closest("form"));
    if (!loose[index]) return false;
    setTimeout(() => loose[index].click(), 0); return true;
  }
  const form = document.forms[index];
  if (!form) return false;
  const parts = [...HTMLFormElement.prototype.__lookupGetter__("elements").call(form)];
  for (const part of parts) {
    if (!part.name || !(part.name in values)) continue;
    if (part.type === "checkbox" || part.type === "radio") { part.checked = values[part.name] === (part.value || "on"); }
    else { part.value = values[part.name]; }
    part.dispatchEvent(new Event("input", {bubbles: true})); part.dispatchEvent(new Event("change", {bubbles: true}));
  }
  const presses = parts.filter((e) => !e.disabled && (e.type === "submit" || e.type === "image"));
  const press = button === null ? null : presses[button];
  setTimeout(() => press ? press.click() : HTMLFormElement.prototype.requestSubmit.call(form), 0);
  return true;
}"""


@frozen
class Sending:
    """What acting on a page sent: by the page itself as a form does, or by one of its scripts."""

    method: str
    url: str
    pairs: tuple[tuple[str, str], ...] = ()
    body: str = ""
    content_type: str = ""
    script: bool = False

    def about(self, old: str, new: str) -> Sending:
        """Return the same with one text, such as an object's id, replaced by another wherever it stands."""
        if not old:
            return self
        pairs = tuple((name.replace(old, new), value.replace(old, new)) for name, value in self.pairs)
        return Sending(
            self.method, self.url.replace(old, new), pairs, self.body.replace(old, new), self.content_type, self.script
        )  # fmt: skip


@define(eq=False)
class Visitor:
    """Somebody before a screen. Every method returns what they see; none raises because a page is slow or refused."""

    name: str
    role: str
    base_url: str
    page: Page
    record: Callable[[Exchange], None]
    source: str
    masker: Masker
    csrf_header: str = ""
    cookie: str = ""
    tokens: dict[str, str] = field(factory=dict)
    visits: int = 0
    view: View = field(factory=lambda: View(""))
    _sent: list[Request] = field(factory=list)
    _documents: list[Response] = field(factory=list)

    def open(self, url: str) -> View:
        """Open an address and return what it shows."""
        asked = url if "://" in url else self.base_url + url
        self._begin()
        with _patiently():
            self.page.goto(asked, wait_until="domcontentloaded", timeout=_NAVIGATION_MS)
        return self._look(asked)

    def press(self, form: Form, values: Mapping[str, str]) -> tuple[View, Sending | None]:
        """Fill a form of the page on screen, press its button as people do; return what shows then, and what was sent."""
        self._begin()
        pressed = False
        with _patiently():
            pressed = bool(self.page.evaluate(_PRESS, [form.index, form.button, form.click, dict(values)]))
        if pressed:
            self._settle()
        sending = self._sending(form)
        return self._look(sending.url if sending else form.action), sending

    def peek(self, url: str) -> View:
        """Have the page on screen ask for an address, without going there: what comes back is not built into a page."""
        asked = url if "://" in url else self.base_url + url
        return self._ask("GET", asked, {"Accept": _HTML}, None)

    def look(self, url: str) -> View:
        """Open an address unless it is refused, which a question tells at less cost than a page."""
        found = self.peek(url) if self.page.url.startswith(self.base_url + "/") else View("")
        return self.open(url) if found.status == 0 or 200 <= found.status < 300 else found

    def forge(self, sending: Sending) -> View:
        """Send what somebody else's page sends, from a page of one's own: own session, own token, own origin.

        By a script; where the app's policy lets none send, a form is sent as if its button had been pressed.
        """
        any_token = next(iter(self.tokens.values()), "")
        if not self.page.url.startswith(self.base_url + "/"):
            self.open("/")
        if sending.script:
            headers = {"Content-Type": sending.content_type} if sending.content_type else {}
            if self.csrf_header and any_token:
                headers[self.csrf_header] = any_token
            return self._ask(sending.method, sending.url, headers, sending.body or None)
        pairs = [
            (name, self.tokens.get(name, any_token or value) if TOKEN.search(name) else value)
            for name, value in sending.pairs
        ]
        if "urlencoded" in sending.content_type:
            headers = {"Content-Type": sending.content_type, "Accept": _HTML}
            view = self._ask(sending.method, sending.url, headers, urlencode(pairs))
            if view.status:
                return view
        self._begin()
        with _patiently():
            given = [sending.url, sending.method.lower(), sending.content_type, [list(one) for one in pairs]]
            self.page.evaluate(_POST, given)
            self._settle()
        return self._look(sending.url)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> View:
        self._begin()
        status, landed, text = 0, url, ""
        with _patiently():
            status, landed, text = self.page.evaluate(_FETCH, [url, method, dict(headers), body])
        sent = {**headers, **({"Cookie": self.cookie} if self.cookie else {})}
        if status:
            led = {"location": str(landed)} if str(landed) != url else {}
            self._note(method, url, sent, body or "", int(status), led, str(text))
        return View(url, str(landed), int(status), text=str(text), raw=True)

    def near(self, canary: str) -> tuple[list[str], list[int]]:
        """Return the links, and the numbers of the forms, that stand nearest to a text on the page on screen."""
        found: dict[str, Any] = {"links": [], "forms": []}
        with _patiently():
            found = self.page.evaluate(NEAR, canary)
        return [str(one) for one in found["links"]], [int(one) for one in found["forms"]]

    def _begin(self) -> None:
        self.visits += 1
        self._sent.clear()
        self._documents.clear()

    def _settle(self) -> None:
        """Wait until what was pressed has led to another page, or the page has been quiet for a moment."""
        end, quiet = time.monotonic() + _MOST_SECONDS, time.monotonic() + _SETTLED_SECONDS
        count = 0
        while time.monotonic() < min(end, quiet):
            with _patiently():
                self.page.wait_for_timeout(25)
            if self._documents:
                break
            if len(self._sent) != count:
                count, quiet = len(self._sent), time.monotonic() + _SETTLED_SECONDS
        with _patiently():
            self.page.wait_for_load_state("domcontentloaded", timeout=_NAVIGATION_MS)

    def _look(self, asked: str) -> View:
        """Harvest the page on screen; one that is still empty but has scripts is given time to build itself."""
        found: dict[str, Any] = {}
        for wait in (0, 400, 1200):
            if wait:
                with _patiently():
                    self.page.wait_for_load_state("networkidle", timeout=wait)
            with _patiently():
                found = self.page.evaluate(HARVEST)
            if found and (found["links"] or found["forms"] or not found["scripts"]):
                break
        status = self._documents[-1].status if self._documents else 0
        for response in self._documents:
            self._exchange(response, str(found.get("text", "")) if response is self._documents[-1] else "")
        self.view = view_of(asked, status, found) if found else View(asked, self.page.url, status)
        for form in self.view.forms:
            self.tokens |= {one.name: one.value for one in form.fields if one.token}
        if self.view.token:
            self.tokens["csrf-token"] = self.view.token
        for token in self.tokens.values():
            self.masker.learn(token, "csrf", self.name)
        return self.view

    def _sending(self, form: Form) -> Sending | None:
        """Return the first request of one's own that was no look: what acting did."""
        for request in self._sent:
            if request.method in ("GET", "HEAD", "OPTIONS") or not request.url.startswith(
                self.base_url + "/"
            ):
                continue
            kind = request.headers.get("content-type", "")
            body = ""
            with _patiently():  # what is no text is not sent again
                body = request.post_data or ""
            if request.is_navigation_request():
                pairs = (
                    tuple(parse_qsl(body, keep_blank_values=True)) if "urlencoded" in kind else _pairs(form)
                )
                return Sending(request.method, request.url, pairs, content_type=form.encoding)
            return Sending(request.method, request.url, body=body, content_type=kind, script=True)
        return None

    def _exchange(self, response: Response, text: str) -> None:
        request, body = response.request, ""
        with _patiently():
            body = request.post_data or ""
        sent = {name: value for name, value in request.headers.items() if name in _SENT}
        sent |= {"cookie": self.cookie} if self.cookie else {}
        back = {name: value for name, value in response.headers.items() if name in _SHOWN}
        self._note(request.method, request.url, sent, body, response.status, back, text)

    def _note(
        self, method: str, url: str, sent: Mapping[str, str], body: str, status: int, back: Mapping[str, str], text: str
    ) -> None:  # fmt: skip
        self.record(
            Exchange(
                self.name, self.source, method, url, dict(sent), body[:MAX_BODY], status, dict(back), text[:MAX_BODY],
                "in Chromium", "",
            )
        )  # fmt: skip


def _pairs(form: Form) -> tuple[tuple[str, str], ...]:
    return tuple(
        (one.name, one.value) for one in form.fields if one.kind not in ("checkbox", "radio") or one.checked
    )


def sending_of(form: Form, values: Mapping[str, str]) -> Sending:
    """Return what a form would send with these values, for whoever forges it without its page."""
    pairs = [(name, values.get(name, value)) for name, value in _pairs(form)]
    return Sending(
        form.method.upper(), form.action, (*pairs, *((form.press,) if form.press else ())),
        content_type=form.encoding or "application/x-www-form-urlencoded",
    )  # fmt: skip


@contextmanager
def _patiently() -> Iterator[None]:
    """Let what the browser could not do pass: what is on screen afterwards is what counts."""
    from playwright.sync_api import Error

    with suppress(Error):
        yield


@contextmanager
def visiting(
    chromium: Chromium, relay: Relay, browser: Browser, role: str, *, trusted: bool
) -> Iterator[Visitor]:
    """Yield a visitor with the session, the agent and the address of `browser`.

    `trusted` says that certificates need not be checked: the app is on this machine, and the way leads to it alone.
    """
    context = chromium.new_context(
        proxy={"server": f"socks5://127.0.0.1:{relay.door(browser.source)}"},
        user_agent=browser.agent,
        extra_http_headers=dict(browser.headers),
        ignore_https_errors=trusted,
        service_workers="block",
        accept_downloads=False,
        locale="en-US",
    )
    try:
        context.add_cookies([_cookie(browser, name, value) for name, value in browser.cookies.items()])
        page = context.new_page()
        page.set_default_timeout(_NAVIGATION_MS)
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setBlockedURLs", {"urls": list(_UNSEEN)})
        found = Visitor(
            browser.actor, role, browser.base_url, page, browser.record, browser.source, browser.masker,
            browser.csrf_header, "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
        )  # fmt: skip
        if browser.csrf:
            found.tokens["csrf"] = browser.csrf
        page.on("dialog", lambda dialog: dialog.accept())
        page.on("request", lambda request: found._sent.append(request))
        page.on("response", lambda response: _document(found, response))
        yield found
    finally:
        with _patiently():
            context.close()


def _cookie(browser: Browser, name: str, value: str) -> Any:
    """Return a session's cookie as a profile keeps it.

    One with a prefix is secure (RFC 6265bis, section 4.1.3). It is set by an https address, and sent to an http one
    on this machine as well, which a browser trusts as much.
    """
    secure = browser.base_url.startswith("https:") or name.startswith(("__Host-", "__Secure-"))
    place = browser.base_url.split("://", 1)[-1]
    return {
        "name": name,
        "value": value,
        "url": f"{'https' if secure else 'http'}://{place}/",
        "secure": secure,
        "httpOnly": True,
    }


def _document(visitor: Visitor, response: Response) -> None:
    request = response.request
    if request.is_navigation_request() and request.frame.parent_frame is None:
        visitor._documents.append(response)
