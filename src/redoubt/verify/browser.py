"""A browser as attacks use it: its own address, agent and cookies; every exchange is recorded."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from attrs import define, field, frozen

from redoubt.controls import Exchange

from .errors import Unshown
from .masking import MAX_BODY, Masker

AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SHOWN = ("content-type", "location", "www-authenticate", "retry-after", "set-cookie")


@frozen
class Cookie:
    """One Set-Cookie line: its name, its value, and its attributes with lower-case names."""

    name: str
    value: str
    attributes: Mapping[str, str]


@frozen
class Answer:
    """What came back: status, headers, the raw body, and the cookies that were set."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: str
    cookies: tuple[Cookie, ...]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether the app said no to who asks: 401, 403, 404, or a page's redirect to a login."""
        return self.status in (401, 403, 404) or self.status in (302, 303, 307)

    def json(self) -> Any:
        """Return the parsed body; None when it is no JSON."""
        try:
            return jsonlib.loads(self.body)
        except ValueError:
            return None

    def member(self, *path: str | int) -> Any:
        """Return a member deep in the JSON body; None where there is none."""
        found = self.json()
        for step in path:
            if isinstance(found, dict) and isinstance(step, str):
                found = found.get(step)
            elif isinstance(found, list) and isinstance(step, int) and -len(found) <= step < len(found):
                found = found[step]
            else:
                return None
        return found


@define(eq=False)
class Browser:
    """Sends requests as one actor from one address, keeps cookies, and carries the CSRF token it was given."""

    actor: str
    source: str
    base_url: str
    client: httpx.Client
    masker: Masker
    record: Callable[[Exchange], None]
    agent: str = AGENT
    csrf_header: str = "X-CSRF-Token"
    csrf: str = ""
    cookies: dict[str, str] = field(factory=dict)
    headers: dict[str, str] = field(factory=dict)
    seen_cookies: list[Cookie] = field(factory=list)

    def get(self, path: str, **more: Any) -> Answer:
        """Send a GET."""
        return self.send("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> Answer:
        """Send a POST; without `json`, `form` or `content` its body is empty."""
        return self.send("POST", path, json=json, **more)

    def send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        allow_429: bool = False,
        note: str = "",
        signing: str = "",
    ) -> Answer:
        """Send a request and return the answer; redirects are not followed.

        Raises Unshown for a 429 unless it is wanted (a limit that was met shows nothing about the guard behind it),
        and for an app that does not answer.
        """
        url = urljoin(self.base_url + "/", path)
        sent = self._headers(method, url, headers)
        body = content if content is not None else b""
        if json is not None:
            body = jsonlib.dumps(json).encode()
            sent.setdefault("Content-Type", "application/json")
        elif form is not None:
            body = str(httpx.QueryParams(dict(form))).encode()
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        try:
            answered = self._once(method, url, sent, body)
        except (httpx.HTTPError, OSError) as error:
            self._note(method, url, sent, body, 0, httpx.Headers(), type(error).__name__, note, signing)
            raise Unshown(
                f"the app did not answer {method} {urlsplit(url).path} ({type(error).__name__})"
            ) from None
        answer = Answer(
            answered.status_code, answered.headers, answered.content, url, tuple(_cookies(answered.headers))
        )
        self._keep(answer)
        self._note(method, url, sent, body, answer.status, answer.headers, answer.text, note, signing)
        if answer.status == 429 and not allow_429:
            raise Unshown(
                f"{method} {urlsplit(url).path} met a rate limit (429), which shows nothing about its guard"
            )
        return answer

    def _once(self, method: str, url: str, sent: Mapping[str, str], body: bytes) -> httpx.Response:
        """Send; a safe request whose kept connection was closed meanwhile goes out again on a new one."""
        try:
            return self.client.send(httpx.Request(method, url, headers=dict(sent), content=body))
        except (httpx.ReadError, httpx.RemoteProtocolError):
            if method.upper() not in SAFE:
                raise
            return self.client.send(httpx.Request(method, url, headers=dict(sent), content=body))

    def clone(self, actor: str, other: Browser) -> Browser:
        """Return `other` with this browser's cookies and headers: a thief's copy of its credentials."""
        other.actor = actor
        other.cookies = dict(self.cookies)
        other.headers = dict(self.headers)
        other.csrf = self.csrf
        return other

    def _headers(self, method: str, url: str, more: Mapping[str, str] | None) -> dict[str, str]:
        parts = urlsplit(url)
        sent = {"User-Agent": self.agent, "Accept": "application/json", **self.headers}
        own = urlsplit(self.base_url).netloc == parts.netloc
        if own and self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if own and method.upper() not in SAFE:
            sent["Origin"] = f"{parts.scheme}://{parts.netloc}"
            if self.csrf:
                sent[self.csrf_header] = self.csrf
        for name, value in (more or {}).items():
            for present in [one for one in sent if one.lower() == name.lower()]:
                del sent[present]
            if value:
                sent[name] = value
        return sent

    def _keep(self, answer: Answer) -> None:
        for cookie in answer.cookies:
            self.seen_cookies.append(cookie)
            gone = not cookie.value or cookie.attributes.get("max-age") == "0"
            if gone:
                self.cookies.pop(cookie.name, None)
            else:
                self.masker.learn(cookie.value, f"cookie {cookie.name}", self.actor)
                self.cookies[cookie.name] = cookie.value

    def _note(
        self, method: str, url: str, sent: Mapping[str, str], body: bytes, status: int, headers: httpx.Headers,
        text: str, note: str, signing: str,
    ) -> None:  # fmt: skip
        # Raw for now: what turns out to be a secret later is masked when the evidence is shown.
        shown = {name: value for name, value in sent.items() if name not in ("User-Agent", "Accept")}
        if self.agent != AGENT:
            shown["User-Agent"] = self.agent
        back = {name: ", ".join(headers.get_list(name)) for name in _SHOWN if name in headers}
        self.record(
            Exchange(
                self.actor, self.source, method, url, shown, body[:MAX_BODY].decode("utf-8", "replace"), status, back,
                text[:MAX_BODY], note, signing,
            )
        )  # fmt: skip


def _cookies(headers: httpx.Headers) -> list[Cookie]:
    found = []
    for line in headers.get_list("set-cookie"):
        first, *rest = line.split(";")
        name, _, value = first.strip().partition("=")
        attributes = {
            key.strip().lower(): text.strip() for key, _, text in (part.partition("=") for part in rest)
        }
        found.append(Cookie(name, value, attributes))
    return found
