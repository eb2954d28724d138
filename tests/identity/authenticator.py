"""A passkey in software, for tests: ES256, Ed25519 or RS256, and every lie that the verifier must catch."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from redoubt.identity.encoding import b64url, from_b64url

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


class Passkey:
    """One credential; `lie` arguments replace what an honest authenticator and browser would say."""

    def __init__(self, origin: str, rp_id: str, algorithm: int = -7) -> None:
        self.origin, self.rp_id, self.algorithm = origin, rp_id, algorithm
        self.credential_id = os.urandom(32)
        self.handle = b""
        self.count = 0
        self.flags = UP | UV | BE | BS
        self.key: Any
        if algorithm == -7:
            self.key = ec.generate_private_key(ec.SECP256R1())
        elif algorithm == -8:
            self.key = ed25519.Ed25519PrivateKey.generate()
        else:
            self.key = rsa.generate_private_key(65537, 2048)

    def cose(self) -> dict[int, Any]:
        public = self.key.public_key()
        if self.algorithm == -7:
            numbers = public.public_numbers()
            return {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        if self.algorithm == -8:
            return {1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()}
        numbers = public.public_numbers()
        return {
            1: 3,
            3: -257,
            -1: numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big"),
            -2: b"\x01\x00\x01",
        }

    def register(
        self, options: dict[str, Any], *, fmt: str = "none", cose: Any = None, **lie: Any
    ) -> dict[str, Any]:
        public_key = options["publicKey"]
        self.handle = from_b64url(public_key["user"]["id"], 64)
        credential_id = lie.pop("credential_id", self.credential_id)
        attested = (
            bytes(16)
            + len(credential_id).to_bytes(2, "big")
            + credential_id
            + cbor2.dumps(cose or self.cose())
        )
        flags = lie.pop("flags", self.flags) | AT
        data = self._auth_data(flags, lie.pop("rp_id", self.rp_id)) + attested
        client = self._client_data("webauthn.create", public_key["challenge"], lie)
        attestation = cbor2.dumps({"fmt": fmt, "attStmt": {}, "authData": data})
        return {
            "id": b64url(credential_id),
            "rawId": b64url(credential_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": b64url(client),
                "attestationObject": b64url(attestation),
                "transports": ["internal", "nonsense"],
            },
        }

    def answer(self, options: dict[str, Any], **lie: Any) -> dict[str, Any]:
        challenge = options["publicKey"]["challenge"]
        self.count = lie.pop("count", self.count + 1)
        data = self._auth_data(lie.pop("flags", self.flags), lie.pop("rp_id", self.rp_id))
        handle = lie.pop("handle", self.handle)
        key = lie.pop("key", self.key)
        client = self._client_data("webauthn.get", challenge, lie)
        signed = data + hashlib.sha256(client).digest()
        if self.algorithm == -7:
            signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
        elif self.algorithm == -8:
            signature = key.sign(signed)
        else:
            signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return {
            "id": b64url(self.credential_id),
            "rawId": b64url(self.credential_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": b64url(client),
                "authenticatorData": b64url(data),
                "signature": b64url(signature),
                "userHandle": b64url(handle) if handle is not None else None,
            },
        }

    def _auth_data(self, flags: int, rp_id: str) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str, lie: dict[str, Any]) -> bytes:
        raw = lie.pop("raw_client_data", None)
        members = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False} | lie
        return raw or json.dumps({k: v for k, v in members.items() if v is not ...}).encode()
