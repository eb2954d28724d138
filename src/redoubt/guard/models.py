"""Change requests and switches as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from attrs import frozen

from ..core.canonical import sha256_hex

State = Literal["pending", "approved", "rejected"]
Status = Literal["pending", "approved", "rejected", "expired"]
CHALLENGE_PREFIX = b"redoubt-approval-v1\0"


def challenge_of(payload_bytes: bytes) -> bytes:
    """Return the WebAuthn challenge that stands for exactly these bytes: SHA-256 over a domain prefix and them."""
    return sha256(CHALLENGE_PREFIX + payload_bytes).digest()


@frozen
class Approval:
    """One change request: what exactly is asked for, by whom, until when, and how it was decided.

    `payload_bytes` are canonical JSON. They are unique among all requests (a nonce sees to that), so an assertion over
    their challenge cannot serve another request. The database refuses any change of them.
    """

    id: str
    tenant: str
    kind: str
    payload_bytes: bytes
    payload_hash: str
    requester: str
    ticket: str
    dry_run: Any
    created_at: datetime
    expires_at: datetime
    state: State
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    credential: str | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """The payload as a fresh dict."""
        result: dict[str, Any] = json.loads(self.payload_bytes)
        return result

    @property
    def challenge(self) -> bytes:
        """What the approver's passkey signs."""
        return challenge_of(self.payload_bytes)

    @property
    def intact(self) -> bool:
        """Whether the bytes still have the hash that they were stored with."""
        return sha256_hex(self.payload_bytes) == self.payload_hash

    def status(self, now: datetime) -> Status:
        """Return the state as it counts at `now`."""
        return "expired" if self.state == "pending" and now >= self.expires_at else self.state


@frozen
class VerifiedAssertion:
    """What an assertion proved: whose passkey, which credential, and that its owner was verified (PIN, biometrics)."""

    user_id: str
    credential_id: str
    user_verified: bool


@frozen
class Decision:
    """An approval that was given: handed to the executor, which may pass the raw assertion on to be checked again."""

    approver: str
    at: datetime
    assertion: Mapping[str, Any]
    verified: VerifiedAssertion


@frozen
class Switch:
    """One kill switch; a capability without a row is live."""

    tenant: str
    capability: str
    state: Literal["killed", "live"]
    version: int
    reason: str
    changed_by: str
    changed_at: datetime
    approval_id: str | None

    @property
    def killed(self) -> bool:
        """Whether this capability is switched off."""
        return self.state == "killed"
