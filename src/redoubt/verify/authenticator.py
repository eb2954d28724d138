"""A passkey in software: what a browser and its authenticator answer to WebAuthn options, as JSON (WebAuthn Level 3).

ES256 keys, no attestation, discoverable credentials, user presence and verification, a signature counter. It is
honest by default; arguments replace what an honest one would say, so that attacks can lie.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


def b64url(data: bytes) -> str:
    """Return base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64url(text: str) -> bytes:
    """Return the bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def cbor(value: Any) -> bytes:
    """Encode what an attestation needs: integers, bytes, text, maps, in the order given (RFC 8949, section 3)."""
    if isinstance(value, bool):
        raise TypeError("no booleans are needed here")
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())
    raise TypeError(f"cannot encode {type(value).__name__}")


def _head(major: int, value: int) -> bytes:
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 24:
            return bytes([major << 5 | value])
        if value < 1 << 8 * size:
            return bytes([major << 5 | code]) + value.to_bytes(size, "big")
    raise ValueError("too large")


@define(eq=False)
class Authenticator:
    """One discoverable credential of one person on one origin."""

    origin: str
    rp_id: str
    credential_id: bytes
    handle: bytes = b""
    count: int = 0
    key: ec.EllipticCurvePrivateKey = field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    def create(self, options: Mapping[str, Any], **lie: Any) -> dict[str, Any]:
        """Answer `navigator.credentials.create` (section 7.1): a RegistrationResponseJSON.

        `lie` may hold `origin`, `rp_id`, `flags`, `challenge` or `type`.
        """
        public_key = options.get("publicKey", options)
        self.handle = from_b64url(public_key["user"]["id"])
        attested = (
            bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor(self._cose())
        )
        data = self._auth_data(int(lie.get("flags", UP | UV | BE | BS)) | AT, lie) + attested
        client = self._client_data("webauthn.create", public_key["challenge"], lie)
        attestation = cbor({"fmt": "none", "attStmt": {}, "authData": data})
        return self._credential(
            {
                "clientDataJSON": b64url(client),
                "attestationObject": b64url(attestation),
                "transports": ["internal"],
            }
        )

    def get(self, options: Mapping[str, Any], **lie: Any) -> dict[str, Any]:
        """Answer `navigator.credentials.get` (section 7.2): an AuthenticationResponseJSON, signed over what it says."""
        public_key = options.get("publicKey", options)
        self.count += 1
        data = self._auth_data(int(lie.get("flags", UP | UV | BE | BS)), lie)
        client = self._client_data("webauthn.get", public_key["challenge"], lie)
        key: ec.EllipticCurvePrivateKey = lie.get("key", self.key)
        signature = key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._credential(
            {
                "clientDataJSON": b64url(client),
                "authenticatorData": b64url(data),
                "signature": b64url(signature),
                "userHandle": b64url(self.handle),
            }
        )

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        identity = b64url(self.credential_id)
        return {
            "id": identity,
            "rawId": identity,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }

    def _cose(self) -> dict[int, Any]:
        # RFC 9053, section 7.1.1: EC2 key, ES256, P-256.
        numbers = self.key.public_key().public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}

    def _auth_data(self, flags: int, lie: Mapping[str, Any]) -> bytes:
        rp_id = str(lie.get("rp_id", self.rp_id))
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str, lie: Mapping[str, Any]) -> bytes:
        members = {
            "type": lie.get("type", kind),
            "challenge": lie.get("challenge", challenge),
            "origin": lie.get("origin", self.origin),
            "crossOrigin": False,
        }
        return json.dumps(members, separators=(",", ":")).encode()
