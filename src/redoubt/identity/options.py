"""The options that pages hand to `navigator.credentials` (WebAuthn Level 3, sections 5.4 and 5.5), as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from .ceremony import ALGORITHMS, RelyingParty
from .encoding import b64url


def creation_options(
    rp: RelyingParty,
    challenge: bytes,
    handle: bytes,
    email: str,
    ttl: timedelta,
    exclude: Iterable[sa.Row[Any]] = (),
) -> dict[str, Any]:
    """Return PublicKeyCredentialCreationOptionsJSON: a discoverable passkey, its user verified, no attestation."""
    return {
        "publicKey": {
            "challenge": b64url(challenge),
            "rp": {"id": rp.id, "name": rp.name},
            "user": {"id": b64url(handle), "name": email, "displayName": email},
            "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in ALGORITHMS],
            "timeout": _millis(ttl),
            "excludeCredentials": [_descriptor(row) for row in exclude],
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": True,
                "userVerification": "required",
            },
            "attestation": "none",
        }
    }


def request_options(
    rp: RelyingParty, challenge: bytes, ttl: timedelta, allow: Iterable[sa.Row[Any]] = ()
) -> dict[str, Any]:
    """Return PublicKeyCredentialRequestOptionsJSON; with no `allow` any discoverable passkey may answer."""
    return {
        "publicKey": {
            "challenge": b64url(challenge),
            "rpId": rp.id,
            "timeout": _millis(ttl),
            "userVerification": "required",
            "allowCredentials": [_descriptor(row) for row in allow],
        }
    }


def _descriptor(row: sa.Row[Any]) -> dict[str, Any]:
    return {"type": "public-key", "id": b64url(row.credential_id), "transports": list(row.transports)}


def _millis(ttl: timedelta) -> int:
    return int(ttl.total_seconds() * 1000)
