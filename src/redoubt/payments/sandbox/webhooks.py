"""Signed deliveries of events, at least once and in no promised order (docs.stripe.com/webhooks)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from ...core.clock import Clock
from ...core.egress import Egress, EgressError, EgressPolicy, EgressTls
from ...core.secrets import Secret
from . import faults
from .store import Store

_LOG = logging.getLogger(__name__)
_MAX_ATTEMPTS = 100
_LONGEST_WAIT = 60.0


@frozen
class Endpoint:
    """Where events go: an address, the secret that signs them, and the authority of its certificate."""

    url: str
    secret: Secret
    ca_file: Path | None = None


def sign(secret: Secret, payload: bytes, at: int) -> str:
    """Return the `Stripe-Signature` header over `payload` (docs.stripe.com/webhooks/signature)."""
    tag = hmac.new(secret.reveal_bytes(), str(at).encode() + b"." + payload, hashlib.sha256).hexdigest()
    return f"t={at},v1={tag}"


class Dispatcher:
    """Delivers what waits, oldest first, again and again until the endpoint says 2xx."""

    def __init__(self, store: Store, clock: Clock, endpoint: Endpoint | None) -> None:
        self._store = store
        self._clock = clock
        self._endpoint = endpoint
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look for work now."""
        self._changed.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        if self._endpoint is None:
            return
        parts = urlsplit(self._endpoint.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        policy = EgressPolicy(private=[f"{host}:{port}"], profile="development")
        async with Egress(policy, tls=EgressTls(ca_file=self._endpoint.ca_file)) as egress:
            while True:
                self._changed.clear()
                try:
                    while (row := self._due()) is not None:
                        await self._deliver(egress, self._endpoint, *row)
                except Exception:  # one bad delivery must not end all others
                    _LOG.exception("webhook delivery failed")
                    await asyncio.sleep(1)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.25):
                        await self._changed.wait()

    def _due(self) -> tuple[int, str, int] | None:
        rows = self._store.run(
            "SELECT id, event, attempts FROM deliveries WHERE state = 'waiting' AND due <= ? ORDER BY due, id LIMIT 1",
            self._clock.now().timestamp(),
        )
        return rows[0] if rows else None

    async def _deliver(
        self, egress: Egress, endpoint: Endpoint, row: int, event_id: str, attempts: int
    ) -> None:
        event = self._store.get("event", event_id)
        if event is None:
            self._store.run("DELETE FROM deliveries WHERE id = ?", row)
            return
        if attempts == 0 and self._faulted(row, event["type"]):
            return
        payload = json.dumps(event, indent=2).encode()
        now = self._clock.now().timestamp()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(endpoint.secret, payload, int(now)),
            "User-Agent": "Stripe/1.0 (sandbox)",
        }
        try:
            answer = await egress.request(
                "POST", endpoint.url, headers=headers, content=payload, timeout=10, purpose="sandbox.webhook"
            )
            said, good = str(answer.status), 200 <= answer.status < 300
        except EgressError as error:
            said, good = error.code, False
        state = "delivered" if good else "failed" if attempts + 1 >= _MAX_ATTEMPTS else "waiting"
        self._store.run(
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, due = ?, answer = ? WHERE id = ?",
            state,
            now + min(_LONGEST_WAIT, 0.5 * 2 ** min(attempts, 10)),
            said,
            row,
        )
        if not good:
            _LOG.info(
                "webhook not delivered", extra={"event": event_id, "answer": said, "attempt": attempts + 1}
            )

    def _faulted(self, row: int, kind: str) -> bool:
        """Let an armed fault have the first attempt; say whether the delivery is over or put off."""
        fault = faults.take(self._store, faults.WEBHOOK_KINDS, kind)
        if fault is None:
            return False
        now = self._clock.now().timestamp()
        if fault.kind == "webhook_duplicate":
            self._store.run(
                "INSERT INTO deliveries (event, state, attempts, due) SELECT event, 'waiting', 1, ? FROM deliveries WHERE id = ?",
                now,
                row,
            )
            return False
        state, wait = (
            ("dropped", 0.0) if fault.kind == "webhook_drop" else ("waiting", min(fault.seconds, 5.0))
        )
        self._store.run(
            "UPDATE deliveries SET state = ?, attempts = 1, due = ? WHERE id = ?", state, now + wait, row
        )
        return True
