"""Checking what an authenticator answers: WebAuthn Level 3, sections 7.1 and 7.2, over `webauthn`.

Pure: bytes in, a verdict out. The library parses attestation and checks signatures; what it lets through is
refused here first: framed ceremonies (`crossOrigin`, `topOrigin`), spellings of base64url that are not canonical,
keys whose curve does not fit their algorithm, short RSA keys, backup flags that contradict themselves or the
registration, and counters that went back.

Offered: ES256, EdDSA (Ed25519) and RS256. Attestation is not asked for; the formats `none` and `packed` are read
(some password managers attest themselves unasked) and nothing is concluded from them. Every other algorithm and
format is refused by name.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers import decode_credential_public_key, parse_attestation_object, parse_authenticator_data
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    RegistrationCredential,
)

from .encoding import b64url, from_b64url
from .errors import CeremonyRefused

ES256, EDDSA, RS256 = -7, -8, -257
ALGORITHMS: Final = (ES256, EDDSA, RS256)
FORMATS: Final = frozenset({"none", "packed"})
TRANSPORTS: Final = frozenset({"ble", "cable", "hybrid", "internal", "nfc", "smart-card", "usb"})
_MAX_CLIENT_DATA = 4096
_MAX_ATTESTATION = 32_768
_MAX_CREDENTIAL_ID = 1023  # section 5.8.3
_MIN_RSA_BITS = 2048


@frozen
class RelyingParty:
    """Whom a passkey must have answered: its id (a domain) and the exact origins of its pages."""

    id: str
    name: str
    origins: tuple[str, ...]
    user_verification: bool = True


@frozen
class NewCredential:
    """A passkey as it was just registered; `public_key` is its COSE_Key bytes."""

    credential_id: bytes
    public_key: bytes
    algorithm: int
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    aaguid: str
    transports: tuple[str, ...]


@frozen
class KnownCredential:
    """What an assertion is checked against."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool


@frozen
class Assertion:
    """An assertion that holds: the counter and backup state to store next."""

    credential_id: bytes
    sign_count: int
    backed_up: bool


def client_challenge(credential: Mapping[str, Any]) -> bytes:
    """Return the challenge that a response claims to answer; it decides nothing but which row to look up."""
    _, client_data = _client_data(_response(credential))
    return _bytes(client_data, "challenge", 1024)


def verify_registration(rp: RelyingParty, credential: Mapping[str, Any], challenge: bytes) -> NewCredential:
    """Check a registration response (section 7.1) or raise CeremonyRefused."""
    response = _response(credential)
    raw_id = _credential_id(credential)
    raw_client_data = _check_client_data(rp, response, "webauthn.create", challenge)
    attestation = _bytes(response, "attestationObject", _MAX_ATTESTATION)
    try:
        parsed = parse_attestation_object(attestation)
        attested = parsed.auth_data.attested_credential_data
        if attested is None:
            raise CeremonyRefused("malformed")
        if parsed.fmt not in FORMATS:
            raise CeremonyRefused("attestation-format")
        algorithm = _check_key(attested.credential_public_key)
        _check_flags(rp, parsed.auth_data.flags)
        verified = verify_registration_response(
            credential=RegistrationCredential(
                id=b64url(raw_id),
                raw_id=raw_id,
                response=AuthenticatorAttestationResponse(raw_client_data, attestation),
            ),
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=list(rp.origins),
            require_user_verification=rp.user_verification,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(value) for value in ALGORITHMS],
        )
    except CeremonyRefused:
        raise
    except Exception as error:  # the parsers under it raise whatever bad bytes provoke
        raise CeremonyRefused("registration") from error
    if verified.credential_id != raw_id:
        raise CeremonyRefused("credential-id")
    return NewCredential(
        credential_id=raw_id,
        public_key=verified.credential_public_key,
        algorithm=algorithm,
        sign_count=verified.sign_count,
        backup_eligible=parsed.auth_data.flags.be,
        backed_up=parsed.auth_data.flags.bs,
        aaguid=verified.aaguid,
        transports=_transports(response),
    )


def verify_assertion(
    rp: RelyingParty, credential: Mapping[str, Any], challenge: bytes, known: KnownCredential
) -> Assertion:
    """Check an authentication response (section 7.2) against a stored passkey or raise CeremonyRefused."""
    response = _response(credential)
    raw_id = _credential_id(credential)
    if not hmac.compare_digest(raw_id, known.credential_id):
        raise CeremonyRefused("credential-id")
    raw_client_data = _check_client_data(rp, response, "webauthn.get", challenge)
    raw_auth_data = _bytes(response, "authenticatorData", _MAX_ATTESTATION)
    try:
        _check_key(known.public_key)
        auth_data = parse_authenticator_data(raw_auth_data)
        _check_flags(rp, auth_data.flags)
        verify_authentication_response(
            credential=AuthenticationCredential(
                id=b64url(raw_id),
                raw_id=raw_id,
                response=AuthenticatorAssertionResponse(
                    raw_client_data, raw_auth_data, _bytes(response, "signature", 1024)
                ),
            ),
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=list(rp.origins),
            credential_public_key=known.public_key,
            credential_current_sign_count=0,  # judged below, under a name of its own
            require_user_verification=rp.user_verification,
        )
    except CeremonyRefused:
        raise
    except Exception as error:
        raise CeremonyRefused("assertion") from error
    if auth_data.flags.be != known.backup_eligible:
        raise CeremonyRefused("backup-eligibility")
    if (auth_data.sign_count or known.sign_count) and auth_data.sign_count <= known.sign_count:
        raise CeremonyRefused("sign-count")
    return Assertion(raw_id, auth_data.sign_count, auth_data.flags.bs)


def user_handle(credential: Mapping[str, Any]) -> bytes | None:
    """Return the user handle that a discoverable credential answered with (section 5.2.2)."""
    response = _response(credential)
    return _bytes(response, "userHandle", 64) if response.get("userHandle") is not None else None


def credential_id(credential: Mapping[str, Any]) -> bytes:
    """Return the credential id that a response names."""
    return _credential_id(credential)


def _check_client_data(rp: RelyingParty, response: Mapping[str, Any], kind: str, challenge: bytes) -> bytes:
    raw, client_data = _client_data(response)
    if client_data.get("type") != kind:
        raise CeremonyRefused("type")
    if not hmac.compare_digest(_bytes(client_data, "challenge", 1024), challenge):
        raise CeremonyRefused("challenge")
    if client_data.get("origin") not in rp.origins:
        raise CeremonyRefused("origin")
    if client_data.get("crossOrigin", False) is not False:
        raise CeremonyRefused("cross-origin")
    if "topOrigin" in client_data:
        raise CeremonyRefused("top-origin")
    return raw


def _check_flags(rp: RelyingParty, flags: Any) -> None:
    if not flags.up:
        raise CeremonyRefused("user-presence")
    if rp.user_verification and not flags.uv:
        raise CeremonyRefused("user-verification")
    if flags.bs and not flags.be:
        raise CeremonyRefused("backup-flags")


def _check_key(public_key: bytes) -> int:
    """Return the algorithm of a key that fits it: P-256 for ES256, Ed25519 for EdDSA, RSA of 2048 bits for RS256."""
    key: Any = decode_credential_public_key(public_key)
    algorithm = int(key.alg)
    if algorithm not in ALGORITHMS:
        raise CeremonyRefused("algorithm")
    kind, curve = int(key.kty), int(getattr(key, "crv", 0))
    fits = {ES256: (2, 1), EDDSA: (1, 6), RS256: (3, 0)}[algorithm] == (kind, curve)
    if not fits or (algorithm == RS256 and int.from_bytes(key.n, "big").bit_length() < _MIN_RSA_BITS):
        raise CeremonyRefused("key")
    return algorithm


def _credential_id(credential: Mapping[str, Any]) -> bytes:
    raw_id = _bytes(credential, "id", _MAX_CREDENTIAL_ID)
    if not raw_id or credential.get("rawId", credential["id"]) != credential["id"]:
        raise CeremonyRefused("malformed")
    if credential.get("type") != "public-key":
        raise CeremonyRefused("malformed")
    return raw_id


def _response(credential: Mapping[str, Any]) -> Mapping[str, Any]:
    response = credential.get("response")
    if not isinstance(response, Mapping):
        raise CeremonyRefused("malformed")
    return response


def _client_data(response: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    raw = _bytes(response, "clientDataJSON", _MAX_CLIENT_DATA)
    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise CeremonyRefused("malformed") from None
    if not isinstance(parsed, dict):
        raise CeremonyRefused("malformed")
    return raw, parsed


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member occurs twice")
    return found


def _bytes(source: Mapping[str, Any], name: str, limit: int) -> bytes:
    value = source.get(name)
    if not isinstance(value, str):
        raise CeremonyRefused("malformed")
    try:
        return from_b64url(value, limit)
    except ValueError:
        raise CeremonyRefused("malformed") from None


def _transports(response: Mapping[str, Any]) -> tuple[str, ...]:
    given = response.get("transports")
    if not isinstance(given, list):
        return ()
    return tuple(sorted({item for item in given if isinstance(item, str) and item in TRANSPORTS}))
