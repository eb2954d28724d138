"""One verifier for every scheme: proof over the raw bytes first, then freshness, then identity."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from ..errors import NotFresh, Unidentified, Unproven
from .keys import SigningKey
from .model import BodyMember, Encoding, Header, Scheme
from .parse import RawHeaders, part_value, pick, presented, signature_base, signed_moment

_MAX_IDENTITY = 255


@frozen
class Verified:
    """What a proven delivery says about itself, all of it from signed material.

    `identity` is what it is deduplicated by; `digest` tells two bodies of one identity apart.
    """

    key_id: str
    signed_at: datetime | None
    identity: str
    digest: str


def verify(
    scheme: Scheme,
    keys: Sequence[SigningKey],
    headers: RawHeaders,
    body: bytes,
    *,
    now: datetime,
    tolerance: timedelta,
) -> Verified:
    """Prove that a holder of a live key signed `body` at about `now`.

    Nothing of the body is parsed before the proof. Every live key is tried against every presented signature, in
    constant time and without stopping at the first hit, so that time tells nothing about which one fits.
    Raises Unproven, then NotFresh (outside `tolerance` in either direction), then Unidentified.
    """
    found = pick(scheme, headers)
    signatures = [signature.encode("ascii") for signature in presented(scheme, found)]
    base = signature_base(scheme, found, body)
    key_id = ""
    for key in keys:
        if not key.live(now):
            continue
        expected = mac_text(key.secret, base, scheme.encoding).encode("ascii")
        # The text is compared, not the decoded bytes: one signature has one spelling.
        for signature in signatures:
            if hmac.compare_digest(expected, signature):
                key_id = key.id
    if not key_id:
        raise Unproven("no live key made any of the signatures.")
    signed_at = signed_moment(scheme, found)
    if signed_at is not None and not now - tolerance <= signed_at <= now + tolerance:
        raise NotFresh("the signed moment is outside the tolerance.")
    if isinstance(scheme.identity, BodyMember):
        identity, digest = _from_body(scheme.identity, scheme.volatile, body)
    elif isinstance(scheme.identity, Header):
        identity, digest = part_value(scheme.identity, found), hashlib.sha256(body).hexdigest()
    else:
        identity, digest = hashlib.sha256(base).hexdigest(), hashlib.sha256(body).hexdigest()
    return Verified(key_id, signed_at, identity, digest)


def mac_text(secret: bytes, base: bytes, encoding: Encoding) -> str:
    """Return the HMAC-SHA256 of `base` as a scheme spells it."""
    mac = hmac.digest(secret, base, "sha256")
    return mac.hex() if encoding == "hex" else base64.b64encode(mac).decode("ascii")


def _from_body(member: BodyMember, volatile: tuple[str, ...], body: bytes) -> tuple[str, str]:
    try:
        value = json.loads(
            body, object_pairs_hook=_unique, parse_float=_number, parse_int=_number, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise Unidentified("the signed body is not one clear JSON value.") from None
    identity = value.get(member.name) if isinstance(value, dict) else None
    if not isinstance(identity, str) or not 1 <= len(identity) <= _MAX_IDENTITY or not identity.isprintable():
        raise Unidentified("the signed body carries no identity.")
    for name in volatile:
        value.pop(name, None)
    kept = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return identity, hashlib.sha256(kept).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A doubled member would let two readers see two identities in one body."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a member comes twice")
    return result


def _number(text: str) -> dict[str, str]:
    """Numbers keep their spelling: the digest must not depend on how they are rounded."""
    return {"\x00number": text}


def _refuse(_text: str) -> Any:
    raise ValueError("not a JSON value")
