"""The shop's story over HTTP alone: people with passkeys in software who join, buy, refund and approve.

They behave as good clients do: what failed at the connection or with a 5xx is asked again, and where asking again
could double an effect they look first whether the lost answer had been a yes. What they were told for certain is
kept in `Facts`, for somebody to count afterwards.
"""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from attrs import define, field

from redoubt.verify.authenticator import Authenticator
from redoubt.verify.signing import SCHEMES
from redoubt.verify.transport import Transport, tls_context

CARD = {"card_number": "4242424242424242", "expiry": "12 / 34", "cvc": "123"}
PATIENCE = 150.0
_PAUSE = 0.25


class Lost(Exception):
    """Nobody knows whether the request had an effect: the connection broke, or the answer was a 5xx."""


class Surprise(AssertionError):
    """An answer that no good client should ever get."""


class Stopped(Exception):
    """The story was called off."""


@define
class Bought:
    """An order that the shop acknowledged."""

    id: str
    note: str
    total: int
    buyer: str
    end: str = "placed"
    payment: str = ""


@define
class Refund:
    """A refund that somebody asked for, and how finance decided."""

    approval: str
    order: str
    amount: int
    reason: str
    decision: str = "pending"


@define
class Facts:
    """What the shop acknowledged, and what the people meant to do."""

    people: dict[str, str] = field(factory=dict)
    orders: dict[str, Bought] = field(factory=dict)
    refunds: dict[str, Refund] = field(factory=dict)
    releases: dict[str, str] = field(factory=dict)
    answers: int = 0
    lost: int = 0
    problems: list[str] = field(factory=list)


@define(eq=False)
class Clock:
    """Ends everybody's patience together."""

    stop: threading.Event = field(factory=threading.Event)
    patience: float = PATIENCE

    def until(self, what: str, seconds: float | None = None) -> Iterator[None]:
        """Yield again and again with a pause between; Surprise when it takes too long, Stopped when called off."""
        seconds = seconds or self.patience
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.stop.is_set():
                raise Stopped(what)
            yield
            time.sleep(_PAUSE)
        raise Surprise(f"never happened within {seconds:.0f} s: {what}")


@define(eq=False)
class Client:
    """One person's browser: cookies, the CSRF token, a passkey; every request is answered for certain or Lost."""

    name: str
    base_url: str
    ca_file: str
    clock: Clock
    facts: Facts
    cookies: dict[str, str] = field(factory=dict)
    lock: Any = field(factory=threading.RLock)
    key: Authenticator = field(init=False)
    _http: httpx.Client = field(init=False)
    _csrf: str | None = None

    def __attrs_post_init__(self) -> None:
        context = tls_context(Path(self.ca_file))
        self._http = httpx.Client(
            transport=Transport("127.0.0.1", context), timeout=20.0, follow_redirects=False
        )
        host = urlsplit(self.base_url).hostname or ""
        self.key = Authenticator(self.base_url, host, secrets.token_bytes(32))

    def close(self) -> None:
        self._http.close()

    # -- one request ---------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send one request; raises Lost when it has no certain answer."""
        headers = {"Accept": "application/json", "Origin": self.base_url}
        if method != "GET":
            headers["X-CSRF-Token"] = self._token()
        return self._send(method, path, headers, body)

    def _token(self) -> str:
        if self._csrf is None:
            answer = self._send("GET", "/auth/session", {"Accept": "application/json"}, None)
            self._csrf = str(answer.json()["csrf"])
        return self._csrf

    def _send(self, method: str, path: str, headers: dict[str, str], body: Any) -> httpx.Response:
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            answer = self._http.request(method, self.base_url + path, headers=headers, json=body)
        except httpx.TransportError as error:
            self.facts.lost += 1
            raise Lost(f"{method} {path}: {type(error).__name__}") from error
        self._keep(answer)
        if answer.status_code >= 500 or answer.status_code == 429:
            self.facts.lost += 1
            raise Lost(f"{method} {path}: {answer.status_code}")
        self.facts.answers += 1
        return answer

    def _keep(self, answer: httpx.Response) -> None:
        for line in answer.headers.get_list("set-cookie"):
            pair, *attributes = line.split(";")
            name, _, value = pair.strip().partition("=")
            gone = not value or any(one.strip().lower() == "max-age=0" for one in attributes)
            if self.cookies.get(name) != value:
                self._csrf = None
            if gone:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    # -- requests that get their answer --------------------------------------------------------------------------

    def safely(self, method: str, path: str, body: Any = None, *, ok: tuple[int, ...] = (200,)) -> Any:
        """Ask until it is answered; only for what may be asked twice. Raises Surprise for any other status."""
        for _ in self.clock.until(f"{method} {path}"):
            try:
                return self._checked(self.signed_in(method, path, body), ok)
            except Lost:
                continue
        raise Surprise("unreachable")

    def once(
        self,
        method: str,
        path: str,
        body: Any,
        lookup: Callable[[], Any],
        *,
        ok: tuple[int, ...] = (200, 201),
    ) -> Any:
        """Ask until it is answered, looking after each lost answer whether it had been a yes."""
        for _ in self.clock.until(f"{method} {path}"):
            try:
                return self._checked(self.signed_in(method, path, body), ok)
            except Lost:
                found = lookup()
                if found is not None:
                    return found
        raise Surprise("unreachable")

    def signed_in(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Ask as somebody who is signed in: a session that a lost answer had rotated is replaced by a new one."""
        answer = self.ask(method, path, body)
        if answer.status_code == 401 and "step-up" not in answer.text:
            if not self.login():
                raise Surprise(f"{self.name} cannot sign in any more")
            answer = self.ask(method, path, body)
        return answer

    def _checked(self, answer: httpx.Response, ok: tuple[int, ...]) -> Any:
        if answer.status_code not in ok:
            where = f"{answer.request.method} {answer.request.url.path}"
            raise Surprise(f"{self.name}: {where} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else {}

    # -- ceremonies ----------------------------------------------------------------------------------------------

    def login(self) -> bool:
        """Sign in with the passkey; False when the shop says for certain that it does not know it."""
        for _ in self.clock.until(f"{self.name} signs in"):
            try:
                options = self._checked(self.ask("POST", "/auth/login/options", {}), (200,))
                answer = self.ask("POST", "/auth/login/verify", {"credential": self.key.get(options)})
            except Lost:
                continue
            return answer.status_code == 200
        return False

    def join(self, begin: str, end: str, ask: dict[str, Any], more: dict[str, Any]) -> None:
        """Register a passkey; after a lost answer, see whether it opens an account before trying again."""
        for _ in self.clock.until(f"{self.name} joins"):
            sent = False
            try:
                options = self._checked(self.ask("POST", begin, ask), (200,))
                credential = self.key.create(options)
                sent = True
                self._checked(self.ask("POST", end, {"credential": credential, **more}), (201,))
                return
            except Lost:
                if sent and self.login():
                    return

    def enrol(self, link: str, email: str) -> None:
        """Take a one-time link."""
        token = urlsplit(link).path.rsplit("/", 1)[-1]
        self.join("/enrol/options", "/enrol/verify", {"token": token, "email": email}, {"token": token})

    def register(self, email: str) -> None:
        """Sign up."""
        self.join("/auth/register/options", "/auth/register/verify", {"email": email}, {})

    def step_up(self) -> None:
        """Give a fresh assertion."""
        for _ in self.clock.until(f"{self.name} steps up"):
            try:
                options = self._checked(self.signed_in("POST", "/auth/stepup/options", {}), (200,))
                answer = self.ask("POST", "/auth/stepup/verify", {"credential": self.key.get(options)})
                if answer.status_code == 200:
                    return
                if answer.status_code != 401:  # 401: a lost answer had rotated the session
                    self._checked(answer, (200,))
            except Lost:
                continue

    def pages(self, path: str) -> list[dict[str, Any]]:
        """Return every row of a list."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.safely("GET", f"{path}?limit=100{after}")
            found += page["items"]
            if not page["next"]:
                return found
            after = f"&after={page['next']}"


@define(eq=False)
class Story:
    """Everybody in it, and what they share."""

    ready: Callable[[], dict[str, Any]]
    seed: str
    github_secret: str
    clock: Clock = field(factory=Clock)
    facts: Facts = field(factory=Facts)
    operator: Client = field(init=False)
    second_operator: Client = field(init=False)
    support: Client = field(init=False)
    finance: Client = field(init=False)
    products: list[dict[str, Any]] = field(factory=list)
    _everybody: list[Client] = field(factory=list)

    def client(self, name: str) -> Client:
        """Return a new browser."""
        ready = self.ready()
        made = Client(name, ready["base_url"], ready["ca_file"], self.clock, self.facts)
        self._everybody.append(made)
        return made

    def close(self) -> None:
        for client in self._everybody:
            client.close()

    def open_shop(self) -> None:
        """Operators enrol from their links, bring support and finance in, and put products on sale."""
        first, second = self.ready()["operator_links"]
        self.operator = self.client("olga")
        self.operator.enrol(first, "olga@example.org")
        self.second_operator = self.client("otto")
        self.second_operator.enrol(second, "otto@example.org")
        self.support, self.finance = self._bring("sam", "support"), self._bring("fay", "finance")
        for number, price in enumerate((199, 450, 1250)):
            sku = f"{self.seed}-{number}"
            body = {"name": f"Thing {number}", "sku": sku, "price": price}
            made = self.operator.once(
                "POST", "/api/products", body, lambda sku=sku: _find(self.operator.pages("/api/products"), "sku", sku)
            )  # fmt: skip
            path = f"/api/products/{made['id']}"
            self.operator.once("POST", f"{path}/publish", {}, lambda path=path: self._on_sale(path))
            self.products.append(made)

    def _on_sale(self, path: str) -> Any:
        found = self.operator.safely("GET", path)
        return found if found["status"] == "on_sale" else None

    def _bring(self, name: str, role: str) -> Client:
        person = self.client(name)
        for _ in self.clock.until(f"a link for {role}"):
            self.operator.step_up()
            try:
                answer = self.operator.signed_in("POST", "/console/enrolments", {"role": role})
            except Lost:
                continue  # at worst a link stays unused
            if answer.status_code == 201:
                person.enrol(answer.json()["url"], f"{name}@example.org")
                return person
        raise Surprise(f"no link for {role}")

    # -- a customer ----------------------------------------------------------------------------------------------

    def customer(self, name: str, *, thorough: bool = False) -> None:
        """Sign up, buy once or twice, now and then cancel or want money back; somebody `thorough` gets some back."""
        chance = random.Random(f"{self.seed}:{name}")
        email = f"{name}@example.org"
        client = self.client(name)
        try:
            client.register(email)
            self.facts.people[email] = name
            for number in range(chance.randint(1, 2)):
                bought = self._order(client, chance, f"{self.seed}:{name}:{number}")
                if not thorough and chance.random() < 0.15:
                    self._cancel(client, bought)
                    continue
                self._pay(client, bought)
                if thorough or chance.random() < 0.5:
                    self._wait_paid(client, bought)
                    self._refund(bought, chance, "approve" if thorough else None)
        finally:
            client.close()

    def _order(self, client: Client, chance: random.Random, note: str) -> Bought:
        wanted = chance.sample(self.products, chance.randint(1, 2))
        items = [{"product": one["id"], "quantity": chance.randint(1, 3)} for one in wanted]
        made = client.once(
            "POST",
            "/api/orders",
            {"items": items, "note": note},
            lambda: _find(client.pages("/api/orders"), "note", note),
        )
        bought = Bought(made["id"], note, made["total"], client.name)
        self.facts.orders[bought.id] = bought
        return bought

    def _cancel(self, client: Client, bought: Bought) -> None:
        path = f"/api/orders/{bought.id}"

        def cancelled() -> Any:
            found = client.safely("GET", path)
            return found if found["status"] == "cancelled" else None

        client.once("POST", f"{path}/cancel", {}, cancelled)
        bought.end = "cancelled"

    def _pay(self, client: Client, bought: Bought) -> None:
        path = f"/api/orders/{bought.id}/pay"
        started = client.safely("POST", path, {})  # asking again answers the same payment
        bought.payment = started["payment_id"]
        where = started["redirect_url"]
        for _ in self.clock.until(f"the provider's page for {bought.id}"):
            if where:
                break
            where = client.safely("GET", f"/api/payments/{bought.payment}")["redirect_url"]
        self._hosted_page(where)
        bought.end = "paid"

    def _hosted_page(self, where: str) -> None:
        """Type the card at the provider until its page sends us back."""
        with httpx.Client(transport=Transport("127.0.0.1", tls_context(None)), timeout=15.0) as browser:
            for _ in self.clock.until(f"the provider takes the card at {where}"):
                try:
                    answer = browser.post(where, data=CARD)
                except httpx.TransportError:
                    continue
                if answer.status_code == 303:
                    return
                if answer.status_code < 500:
                    raise Surprise(f"the provider's page answered {answer.status_code}: {answer.text[:200]}")

    def _wait_paid(self, client: Client, bought: Bought) -> None:
        for _ in self.clock.until(f"the order {bought.id} is paid"):
            if client.safely("GET", f"/api/orders/{bought.id}")["status"] == "paid":
                return

    def _refund(self, bought: Bought, chance: random.Random, decision: str | None) -> None:
        amount = chance.randint(1, bought.total)
        if decision is None:
            decision = chance.choice(["approve", "approve", "reject", ""])
        reason = f"refund of {bought.note}"
        body = {"amount": amount, "currency": "EUR", "reason": reason}
        with self.support.lock:
            asked = self.support.once(
                "POST",
                f"/api/payments/{bought.payment}/refunds",
                body,
                lambda: self._asked(reason),
                ok=(202,),
            )
        refund = Refund(asked["approval_id"], bought.id, amount, reason)
        self.facts.refunds[refund.approval] = refund
        if decision:
            refund.decision = f"{decision}-sent"
            with self.finance.lock:
                self._decide(refund, decision)

    def _asked(self, reason: str) -> Any:
        """Look through finance's list for a request of this reason: it names the order."""
        with self.finance.lock:
            listed = self.finance.safely("GET", "/console/approvals?state=every")
        for item in listed["items"]:
            if item["ticket"] == reason:
                return {"approval_id": item["id"]}
        return None

    def _decide(self, refund: Refund, decision: str) -> None:
        path, finance = f"/console/approvals/{refund.approval}", self.finance
        for _ in self.clock.until(f"finance decides about {refund.approval}"):
            try:
                if decision == "approve":
                    options = finance.safely("POST", f"{path}/options", {})
                    answer = finance.signed_in(
                        "POST", f"{path}/approve", {"credential": finance.key.get(options)}
                    )
                else:
                    answer = finance.signed_in("POST", f"{path}/reject", {"reason": "not this time"})
                finance._checked(answer, (200,))
            except Lost:
                if finance.safely("GET", path)["status"] == "pending":
                    continue
            refund.decision = {"approve": "approved", "reject": "rejected"}[decision]
            return

    # -- GitHub --------------------------------------------------------------------------------------------------

    def github(self, number: int) -> None:
        """Deliver one signed release until it is taken, as GitHub does; one in six is delivered again after that."""
        chance = random.Random(f"{self.seed}:github:{number}")
        tag, delivery = f"v{number}-{self.seed}", str(UUID(int=chance.getrandbits(128), version=4))
        release = {"tag_name": tag, "name": f"Release {number}", "body": "What is new."}
        body = json.dumps({"action": "published", "release": release}).encode()
        headers = SCHEMES["github"].sign(body, self.github_secret, int(time.time()), delivery)
        headers["Content-Type"] = "application/json"
        times = 2 if chance.random() < 0.17 else 1
        ready = self.ready()
        context = tls_context(Path(ready["ca_file"]))
        with httpx.Client(transport=Transport("127.0.0.1", context), timeout=15.0) as sender:
            for _ in self.clock.until(f"GitHub's delivery {tag} is taken"):
                try:
                    answer = sender.post(
                        f"{ready['base_url']}/webhooks/github", content=body, headers=headers
                    )
                except httpx.TransportError:
                    continue
                if answer.status_code == 200:
                    self.facts.releases[tag] = delivery
                    times -= 1
                    if not times:
                        return
                elif answer.status_code < 500 and answer.status_code != 429:
                    raise Surprise(f"GitHub's delivery got {answer.status_code}: {answer.text[:200]}")


def _find(rows: list[dict[str, Any]], name: str, value: str) -> dict[str, Any] | None:
    return next((row for row in rows if row[name] == value), None)


__all__ = ["Bought", "Client", "Clock", "Facts", "Lost", "Refund", "Stopped", "Story", "Surprise"]
