"""The verifier by itself: the W3C's fifteen ceremonies, then lies that those do not tell.

Formats read: `none` and `packed`; algorithms: ES256, EdDSA, RS256; user verification required; no framing. What the
vectors hold beyond that must be refused, each for its own reason.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from webauthn.helpers import parse_attestation_object, parse_authenticator_data

from redoubt.identity.ceremony import (
    KnownCredential,
    RelyingParty,
    verify_assertion,
    verify_registration,
)
from redoubt.identity.encoding import b64url, from_b64url
from redoubt.identity.errors import CeremonyRefused
from tests.identity.authenticator import BE, BS, UP, UV, Passkey

RP = RelyingParty("test.localhost", "Test", ("https://test.localhost:8443",))
ACCEPTED = "accepted"
# name -> (registration, authentication) as shipped; then with user verification waived, to reach the other checks.
VECTORS = {
    "none-es256": ("user-verification", "user-verification", ACCEPTED, ACCEPTED),
    "packed-self-es256": (ACCEPTED, "user-verification", ACCEPTED, ACCEPTED),
    "none-es256-crossOrigin": ("cross-origin", "cross-origin", "cross-origin", "cross-origin"),
    "none-es256-topOrigin": ("cross-origin", "cross-origin", "cross-origin", "cross-origin"),
    "none-es256-long-credential-id": ("user-verification", ACCEPTED, ACCEPTED, ACCEPTED),
    "packed-es256": (ACCEPTED, ACCEPTED, ACCEPTED, ACCEPTED),
    "packed-es384": ("algorithm", "algorithm", "algorithm", "algorithm"),
    "packed-es512": ("algorithm", "algorithm", "algorithm", "algorithm"),
    "packed-rs256": (ACCEPTED, "user-verification", ACCEPTED, ACCEPTED),
    "packed-eddsa": ("user-verification", "user-verification", ACCEPTED, ACCEPTED),
    "packed-ed448": ("algorithm", "algorithm", "algorithm", "algorithm"),
    "tpm-es256": ("attestation-format", ACCEPTED, "attestation-format", ACCEPTED),
    "android-key-es256": ("attestation-format", "user-verification", "attestation-format", ACCEPTED),
    "apple-es256": ("attestation-format", "user-verification", "attestation-format", ACCEPTED),
    "fido-u2f-es256": ("attestation-format", "user-verification", "attestation-format", ACCEPTED),
}


def vectors() -> dict[str, Any]:
    root = Path(
        os.environ.get("REDOUBT_VECTORS") or Path(__file__).resolve().parents[3] / "shared" / "vectors"
    )
    path = root / "webauthn" / "l3-section16.json"
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"the W3C vectors are not at {path}; set REDOUBT_VECTORS")
        pytest.skip(f"the W3C vectors are not at {path}; set REDOUBT_VECTORS")
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def outcome(check: Any, *args: Any) -> str:
    try:
        check(*args)
    except CeremonyRefused as refused:
        return refused.reason
    return ACCEPTED


def text(hexadecimal: str) -> str:
    return b64url(bytes.fromhex(hexadecimal))


@pytest.mark.parametrize("name", VECTORS)
def test_each_w3c_ceremony_is_accepted_or_refused_by_name(name: str) -> None:
    data = vectors()
    assert {vector["id"] for vector in data["vectors"]} == {f"sctn-test-vectors-{known}" for known in VECTORS}
    vector = next(item for item in data["vectors"] if item["id"] == f"sctn-test-vectors-{name}")
    made, used = vector["registration"], vector["authentication"]
    registration = {
        "id": text(made["credential_id"]),
        "type": "public-key",
        "response": {
            "clientDataJSON": text(made["clientDataJSON"]),
            "attestationObject": text(made["attestationObject"]),
        },
    }
    assertion = {
        "id": text(made["credential_id"]),
        "type": "public-key",
        "response": {
            "clientDataJSON": text(used["clientDataJSON"]),
            "authenticatorData": text(used["authenticatorData"]),
            "signature": text(used["signature"]),
        },
    }
    attested = parse_attestation_object(bytes.fromhex(made["attestationObject"])).auth_data
    assert attested.attested_credential_data is not None
    eligible = parse_authenticator_data(bytes.fromhex(used["authenticatorData"])).flags.be
    known = KnownCredential(
        bytes.fromhex(made["credential_id"]),
        attested.attested_credential_data.credential_public_key,
        0,
        eligible,
    )
    shipped = RelyingParty(data["rp_id"], "W3C", (data["origin"],))
    waived = attrs.evolve(shipped, user_verification=False)
    found = tuple(
        result
        for rp in (shipped, waived)
        for result in (
            outcome(verify_registration, rp, registration, bytes.fromhex(made["challenge"])),
            outcome(verify_assertion, rp, assertion, bytes.fromhex(used["challenge"]), known),
        )
    )
    assert found == VECTORS[name]
    assert RelyingParty("x", "x", ()).user_verification  # what ships requires it


def creation(challenge: bytes) -> dict[str, Any]:
    return {"publicKey": {"challenge": b64url(challenge), "user": {"id": b64url(b"h" * 32)}}}


@pytest.fixture
def passkey() -> Passkey:
    return Passkey(RP.origins[0], RP.id)


LIES = [
    ({"crossOrigin": True}, "cross-origin"),
    ({"crossOrigin": 0}, "cross-origin"),
    ({"crossOrigin": None}, "cross-origin"),
    ({"crossOrigin": ..., "topOrigin": "https://evil.example"}, "top-origin"),
    ({"topOrigin": "https://test.localhost:8443"}, "top-origin"),
    ({"topOrigin": None}, "top-origin"),
    ({"origin": "https://test.localhost:8443/"}, "origin"),
    ({"origin": "https://TEST.localhost:8443"}, "origin"),
    ({"origin": ["https://test.localhost:8443"]}, "origin"),
    ({"type": "webauthn.get "}, "type"),
    ({"challenge": b64url(b"d" * 32)}, "challenge"),
    ({"challenge": b64url(b"c" * 32) + "="}, "malformed"),
    ({"challenge": b64url(b"c" * 32)[:-1] + "N"}, "malformed"),
    ({"flags": UP | UV | BS}, "backup-flags"),
    ({"flags": UP}, "user-verification"),
    ({"flags": UV}, "user-presence"),
]


@pytest.mark.parametrize(("lie", "reason"), LIES)
def test_each_lie_is_named(passkey: Passkey, lie: dict[str, Any], reason: str) -> None:
    challenge = b"c" * 32
    new = verify_registration(RP, passkey.register(creation(challenge)), challenge)
    known = KnownCredential(new.credential_id, new.public_key, new.sign_count, new.backup_eligible)
    options = {"publicKey": {"challenge": b64url(challenge)}}
    assert outcome(verify_assertion, RP, passkey.answer(options), challenge, known) == ACCEPTED
    assert outcome(verify_assertion, RP, passkey.answer(options, **lie), challenge, known) == reason
    assert outcome(verify_registration, RP, passkey.register(creation(challenge), **lie), challenge) == reason


def test_a_member_given_twice_is_refused(passkey: Passkey) -> None:
    challenge = b"c" * 32
    twice = f'"origin":"https://evil.example","origin":"{RP.origins[0]}"'
    raw = f'{{"type":"webauthn.create","challenge":"{b64url(challenge)}",{twice}}}'.encode()
    credential = passkey.register(creation(challenge), raw_client_data=raw)
    assert outcome(verify_registration, RP, credential, challenge) == "malformed"


def test_keys_that_do_not_fit_their_algorithm_are_refused(passkey: Passkey) -> None:
    challenge = b"c" * 32
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    short = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    keys = {
        "P-384 as ES256": {
            1: 2,
            3: -7,
            -1: 2,
            -2: p384.x.to_bytes(48, "big"),
            -3: p384.y.to_bytes(48, "big"),
        },
        "Ed25519 as ES256": {1: 1, 3: -7, -1: 6, -2: bytes(32)},
        "short RSA": {1: 3, 3: -257, -1: short.n.to_bytes(128, "big"), -2: b"\x01\x00\x01"},
    }
    for name, cose in keys.items():
        credential = passkey.register(creation(challenge), cose=cose)
        assert outcome(verify_registration, RP, credential, challenge) == "key", name
    unknown = passkey.register(
        creation(challenge), cose={1: 2, 3: -65535, -1: 1, -2: bytes(32), -3: bytes(32)}
    )
    assert outcome(verify_registration, RP, unknown, challenge) != ACCEPTED


@pytest.mark.parametrize(
    "fmt", ["tpm", "android-key", "android-safetynet", "apple", "fido-u2f", "compound", "x"]
)
def test_other_attestation_formats_are_refused(passkey: Passkey, fmt: str) -> None:
    credential = passkey.register(creation(b"c" * 32), fmt=fmt)
    assert outcome(verify_registration, RP, credential, b"c" * 32) == "attestation-format"


def test_an_answer_cut_anywhere_is_refused(passkey: Passkey) -> None:
    challenge = b"c" * 32
    credential = passkey.register(creation(challenge))
    raw = from_b64url(credential["response"]["attestationObject"], 4096)
    for changed in (raw[:-1], raw[: len(raw) // 2], b"", cbor2.dumps({"fmt": "none"})):
        broken = credential | {"response": credential["response"] | {"attestationObject": b64url(changed)}}
        assert outcome(verify_registration, RP, broken, challenge) != ACCEPTED
    other = credential | {"id": b64url(b"x" * 32), "rawId": b64url(b"x" * 32)}
    assert outcome(verify_registration, RP, other, challenge) == "credential-id"


def test_unknown_transports_are_dropped(passkey: Passkey) -> None:
    assert verify_registration(RP, passkey.register(creation(b"c" * 32)), b"c" * 32).transports == (
        "internal",
    )


def test_the_counter_must_rise_once_it_counts(passkey: Passkey) -> None:
    challenge = b"c" * 32
    new = verify_registration(RP, passkey.register(creation(challenge)), challenge)
    options = {"publicKey": {"challenge": b64url(challenge)}}

    def at(stored: int, shown: int) -> str:
        known = KnownCredential(new.credential_id, new.public_key, stored, BE != 0)
        return outcome(verify_assertion, RP, passkey.answer(options, count=shown), challenge, known)

    assert at(0, 0) == ACCEPTED
    assert at(0, 1) == ACCEPTED
    assert at(5, 6) == ACCEPTED
    assert [at(5, shown) for shown in (5, 4, 0)] == ["sign-count"] * 3
