"""What webhook probes share: a sender that signs, and an observer that counts effects."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from ..browser import Answer, Browser
from ..errors import NoSubject, Unshown
from ..lab import Lab
from ..people import Person
from ..probe import Attack
from ..signing import SCHEMES, payload
from ..target import Webhook, call


class Sender:
    """Signs deliveries to one endpoint as its sender would."""

    def __init__(self, lab: Lab, hook: Webhook) -> None:
        self.lab, self.hook, self.scheme = lab, hook, SCHEMES[hook.scheme]
        self.secret = lab.world.secret(hook.secret)
        self.browser = Browser(
            "sender", f"127.{lab.number % 240 + 10}.251.1", lab.world.base_url,
            lab.world.client(f"127.{lab.number % 240 + 10}.251.1"), lab.world.masker, lab.trial.record,
        )  # fmt: skip

    def through(self, browser: Browser) -> Sender:
        """Return the same sender, sending by another browser."""
        other = Sender(self.lab, self.hook)
        other.browser = browser
        return other

    def message(self) -> str:
        """Return a new message id."""
        return ("evt_" if self.hook.scheme == "stripe" else "msg_") + self.lab.random.randbytes(12).hex()

    def body(self, message: str, canary: str) -> bytes:
        """Return a body with the canary in it."""
        return payload(self.hook.scheme, message, canary, self.hook.sample)

    def headers(
        self, body: bytes, message: str, *, offset: int = 0, secret: str | None = None
    ) -> dict[str, str]:
        """Return the headers that prove a body, signed `offset` seconds from now."""
        return self.scheme.sign(body, secret or self.secret, int(time.time()) + offset, message)

    def send(
        self,
        body: bytes,
        headers: dict[str, str],
        *,
        offset: int = 0,
        source: str | None = None,
        signed: bool = True,
    ) -> Answer:
        """Deliver a body."""
        browser = self.browser
        if source is not None:
            browser = self.lab.browser("another sender")
        return browser.send(
            "POST",
            self.hook.path,
            content=body,
            headers={"Content-Type": "application/json", **headers},
            signing=f"{self.hook.scheme} {self.hook.secret} {offset}" if signed else "",
        )

    def deliver(self, canary: str, message: str | None = None) -> tuple[Answer, bytes, dict[str, str]]:
        """Sign and send a proper delivery; return the answer and what was sent."""
        message = message or self.message()
        body = self.body(message, canary)
        headers = self.headers(body, message)
        return self.send(body, headers), body, headers


class Effects:
    """Counts what deliveries did, where the target file says that it can be seen."""

    def __init__(self, lab: Lab, hook: Webhook) -> None:
        self._lab, self._effect = lab, hook.effect
        self._reader: Person | Browser | None = None
        if self._effect is not None:
            role = self._effect.role
            self._reader = lab.person(role, "reader") if role else lab.anonymous()

    @property
    def seen(self) -> bool:
        """Whether effects can be counted at all."""
        return self._effect is not None

    def count(self, canary: str) -> int:
        """Return how many entries of the list hold the canary."""
        return self.counts([canary])[canary]

    def counts(self, canaries: Sequence[str]) -> dict[str, int]:
        """Return for each canary how many entries hold it, all from one reading of the list."""
        if self._effect is None or self._reader is None:
            raise Unshown(
                "what a delivery does cannot be seen",
                add="webhooks: [{effect: {read: GET /api/things, as: user}}]",
            )
        browser = self._reader.browser if isinstance(self._reader, Person) else self._reader
        rows = [json.dumps(row) for row in self._rows(browser, call(self._effect.read)[1])]
        return {canary: sum(canary in row for row in rows) for canary in canaries}

    def _rows(self, browser: Browser, path: str) -> list[Any]:
        """Return the whole list, page by page where it has pages."""
        described = self._lab.world.api.find(f"GET {path}") if self._lab.world.api is not None else None
        names = {str(one.get("name")) for one in described.parameters} if described is not None else set()
        query = {"limit": "100"} if "limit" in names else {}
        rows: list[Any] = []
        for _ in range(20):
            found = browser.get(f"{path}?{urlencode(query)}" if query else path).json()
            if not isinstance(found, dict):
                return found if isinstance(found, list) else rows
            rows += next((found[key] for key in ("items", "results", "data") if key in found), [])
            if not found.get("next") or "after" not in names:
                break
            query["after"] = str(found["next"])
        return rows

    def happened(self, canary: str, seconds: float = 10.0) -> bool:
        """Wait until the canary shows."""
        return bool(self._lab.wait(lambda: self.count(canary), seconds, 0.1))

    def settled(self, canary: str, seconds: float = 1.5) -> int:
        """Wait for what may still come, then count."""
        time.sleep(seconds)
        return self.count(canary)


def hooks(lab: Lab) -> list[Webhook]:
    """Return the app's incoming webhooks; raises NoSubject when the description shows that it has none."""
    if lab.target.webhooks:
        return lab.target.webhooks
    if lab.world.api is not None and not any(
        "webhook" in one.path or "hook" in one.path for one in lab.world.api.operations
    ):
        raise NoSubject("the app takes no webhooks")
    raise Unshown(
        "the target names no webhook", add="webhooks: [{path: /webhooks/x, scheme: github, secret: env:X}]"
    )


def refused_without_effect(attack: Attack, answer: Answer, effects: Effects, canary: str, words: str) -> None:
    """State that a delivery was neither accepted nor had an effect."""
    if answer.ok:
        attack.broke(f"{words} was accepted ({answer.status})", answer)
    elif effects.seen and effects.count(canary):
        attack.broke(f"{words} had an effect though it was answered {answer.status}", answer)
