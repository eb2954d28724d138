"""The charge service over mutual TLS: the app's only way to move money."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redoubt.core.egress import Egress, EgressError, EgressPolicy, EgressResponse, EgressTls
from redoubt.core.settings import Settings

from .errors import ChargeRefused, ChargeUnavailable, CommandConflict
from .models import OutboxCommand

_FORWARDED = ("stripe-signature", "content-type")


class ChargeClient:
    """Calls the charge service with this process's own certificate; a replaced certificate is taken up by itself."""

    def __init__(self, address: str, *, ca: Path, cert: Path, key: Path, timeout: float = 25.0) -> None:
        self._address, self._timeout = address.rstrip("/"), timeout
        self._ca, self._cert, self._key = ca, cert, key
        parts = urlsplit(address)
        self._policy = EgressPolicy(internal=[f"{parts.hostname}:{parts.port or 443}"])
        self._egress: Egress | None = None
        self._stamp: tuple[int, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings, identity: str) -> ChargeClient:
        """Return the client of the process called `identity` ("app" or "worker"), by its certificate in the TLS folder."""
        charge = settings.charge
        folder = settings.base / charge.tls_dir if charge.tls_dir else settings.state_dir / "tls"
        return cls(
            charge.address,
            ca=folder / "ca.pem",
            cert=folder / f"client-{identity}.pem",
            key=folder / f"client-{identity}.key",
        )

    async def command(self, command: OutboxCommand) -> Mapping[str, Any]:
        """Deliver a command and return what became of it.

        Raises ChargeUnavailable when it should be sent again, CommandConflict when its id has another body there.
        """
        response = await self._call("POST", "/v1/commands", json.dumps(command.wire()).encode())
        if response.status == 409:
            raise CommandConflict("the charge service knows this command with another body.")
        if response.status == 400:
            return {"status": "refused", "reason": "command-invalid", "intent": None}
        return _json(response)

    async def provider_event(self, raw: bytes, headers: Mapping[str, str]) -> str:
        """Hand a provider's event on, byte for byte; the charge service verifies the signature again."""
        kept = {name: value for name, value in headers.items() if name.lower() in _FORWARDED}
        response = await self._call("POST", "/v1/provider-events", raw, kept)
        if response.status in (400, 401):
            raise ChargeRefused("the charge service did not accept the event.", reason="event-refused")
        return str(_json(response).get("result"))

    async def changes(self, after: int, wait: int = 0) -> list[dict[str, Any]]:
        """Return state changes after number `after`; where there are none, the service waits up to `wait` seconds."""
        response = await self._call("GET", f"/v1/events?after={int(after)}&wait={int(wait)}", b"")
        events = _json(response).get("events")
        return events if isinstance(events, list) else []

    async def aclose(self) -> None:
        """Close the connections."""
        if self._egress is not None:
            await self._egress.aclose()
            self._egress = None

    async def _call(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str] | None = None
    ) -> EgressResponse:
        try:
            egress = await self._open()
            return await egress.request(
                method,
                self._address + path,
                headers={"Content-Type": "application/json", **(headers or {})},
                content=content,
                timeout=self._timeout,
                purpose="payments.charge",
            )
        except (EgressError, OSError) as error:
            raise ChargeUnavailable(f"the charge service did not answer ({type(error).__name__}).") from error

    async def _open(self) -> Egress:
        files = (self._ca, self._cert, self._key)
        stamp = tuple(path.stat().st_mtime_ns ^ path.stat().st_ino for path in files)
        if self._egress is None or stamp != self._stamp:
            old = self._egress
            self._egress = Egress(
                self._policy, tls=EgressTls(ca_file=self._ca, client_cert=self._cert, client_key=self._key)
            )
            self._stamp = stamp
            if old is not None:
                await old.aclose()
        return self._egress


def _json(response: EgressResponse) -> Mapping[str, Any]:
    if response.status != 200:
        raise ChargeUnavailable(f"the charge service answered {response.status}.")
    try:
        data = json.loads(response.body)
    except ValueError as error:
        raise ChargeUnavailable("the charge service answered something else than JSON.") from error
    if not isinstance(data, dict):
        raise ChargeUnavailable("the charge service answered something else than an object.")
    return data
