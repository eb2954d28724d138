"""Limits on every login and verification endpoint that never lock out the real user.

What is guessed here cannot be guessed (signatures, 256-bit tokens), so limits bound cost, mail and noise; an account
is never *locked*. Three layers, each of sliding windows in `guard.limits`:

1. *Who asks*, counted per attempt, before any work: by host (IPv4 address, IPv6 /64) and, more widely, by network.
   A browser that has been signed in here before (its `__Host-pre` cookie is a device of some user) is counted by
   itself instead: an attacker beside it, or one who fills its network's window, takes nothing from it. An attacker
   who registers to get such a browser gets one small window for it, and registering is counted by host.
2. *Whose account*, counted per failure, after the check: first by (account, network), then by account. A full
   window turns the answers to further *failures* into 429; an attempt that verifies is never refused by it. So a
   valid passkey passes from anywhere that layer 1 lets ask, whatever others do to the account.
3. *Mail*, counted per request by (address, host), by address, and for a browser that has signed this address in
   before by that browser instead, so that nobody else can use up its mails. What remains: during an attack from
   many networks a person without a passkey, in a browser never used here, waits for the window of the address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redoubt.guard.limits import Limiter, Rule, account_key

from .errors import TooManyAttempts
from .models import Browser
from .network import host_of, network_of

ASK_HOST = Rule("auth-host", 60, 60)
ASK_NETWORK = Rule("auth-network", 240, 60)
ASK_DEVICE = Rule("auth-device", 60, 60)
FAIL_ACCOUNT_NETWORK = Rule("auth-account-network", 5, 900)
FAIL_ACCOUNT = Rule("auth-account", 25, 900)
FAIL_HOST = Rule("auth-failures-host", 20, 300)
MAIL_HOST = Rule("magic-address-host", 5, 900)
MAIL_ADDRESS = Rule("magic-address", 20, 3600)
MAIL_DEVICE = Rule("magic-device", 5, 900)


class Throttle:
    """Counts attempts and failures; raises TooManyAttempts."""

    def __init__(self, limiter: Limiter, tenant: str = "main") -> None:
        self._limiter = limiter
        self._tenant = tenant

    async def ask(self, endpoint: str, browser: Browser, *, known_device: bool) -> None:
        """Count one attempt at `endpoint` by who asks; raises TooManyAttempts before any work is done."""
        if known_device:
            hits = [(ASK_DEVICE, self._key(endpoint, browser.mac.hex()))]
        else:
            hits = [
                (ASK_HOST, self._key(endpoint, host_of(browser.address))),
                (ASK_NETWORK, self._key(endpoint, network_of(browser.address))),
            ]
        await asyncio.to_thread(self._hit, hits)

    async def failed(
        self, endpoint: str, browser: Browser, account: str | None, *, known_device: bool
    ) -> None:
        """Count one failure; raises TooManyAttempts where failures are answered by 429 from here on."""
        hits = []
        if account is not None:
            network = network_of(browser.address)
            hits.append((FAIL_ACCOUNT_NETWORK, self._key(endpoint, account_key(account, network))))
            hits.append((FAIL_ACCOUNT, self._key(endpoint, account)))
        if not known_device:
            hits.append((FAIL_HOST, self._key(endpoint, host_of(browser.address))))
        await asyncio.to_thread(self._hit, hits)

    async def mail(self, email: str, browser: Browser, *, known_device: bool) -> None:
        """Count one mail to `email`; raises TooManyAttempts. The same for addresses that are nobody's."""
        await asyncio.to_thread(self.mail_sync, email, browser, known_device=known_device)

    def mail_sync(self, email: str, browser: Browser, *, known_device: bool) -> None:
        """Do what `mail` does, inside a transaction's thread."""
        if known_device:
            device = browser.mac.hex()
            self._hit([(MAIL_DEVICE, self._key(account_key(email, "", device=device)))])
            return
        host = host_of(browser.address)
        self._hit([(MAIL_HOST, self._key(account_key(email, host))), (MAIL_ADDRESS, self._key(email))])

    def _hit(self, hits: Sequence[tuple[Rule, str]]) -> None:
        verdict = self._limiter.hit_all(hits)
        if not verdict.allowed:
            raise TooManyAttempts(verdict.retry_after, ", ".join(rule.name for rule, _ in hits))

    def _key(self, *parts: str) -> str:
        return "\0".join((self._tenant, *parts))
