"""Signing deliveries as their senders do, from the senders' own specifications; independent of any receiver's code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable

from attrs import frozen


@frozen
class Scheme:
    """How a sender signs: whether it stamps time, where its message id stands, and which header carries the proof."""

    name: str
    timestamped: bool
    header: str
    id_header: str = ""
    sign: Callable[[bytes, str, int, str], dict[str, str]] = lambda body, secret, at, message: {}


def _stripe(body: bytes, secret: str, at: int, _message: str) -> dict[str, str]:
    # Stripe, "Verify webhook signatures manually": HMAC-SHA256 over "t.body", hexadecimal, scheme v1.
    tag = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={tag}"}


def _github(body: bytes, secret: str, _at: int, message: str) -> dict[str, str]:
    # GitHub, "Validating webhook deliveries": HMAC-SHA256 over the body, hexadecimal, prefix sha256=.
    tag = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={tag}", "X-GitHub-Delivery": message, "X-GitHub-Event": "release"}


def _standard(body: bytes, secret: str, at: int, message: str) -> dict[str, str]:
    # Standard Webhooks 1.0.0: HMAC-SHA256 over "id.timestamp.body", base64; the key is the base64 after whsec_.
    raw = secret.removeprefix("whsec_")
    key = base64.b64decode(raw + "=" * (-len(raw) % 4))
    tag = base64.b64encode(
        hmac.new(key, f"{message}.{at}.".encode() + body, hashlib.sha256).digest()
    ).decode()
    return {"webhook-id": message, "webhook-timestamp": str(at), "webhook-signature": f"v1,{tag}"}


SCHEMES = {
    "stripe": Scheme("stripe", True, "Stripe-Signature", sign=_stripe),
    "github": Scheme("github", False, "X-Hub-Signature-256", sign=_github),
    "standard": Scheme("standard", True, "webhook-signature", "webhook-id", sign=_standard),
}


def payload(scheme: str, message: str, canary: str, sample: dict[str, object] | None = None) -> bytes:
    """Return a body that a sender of this scheme might send, with the message's id where the scheme keeps it."""
    if sample is not None:
        body: dict[str, object] = json.loads(
            json.dumps(sample).replace("{canary}", canary).replace("{id}", message)
        )
    elif scheme == "stripe":
        body = {
            "id": message,
            "object": "event",
            "type": "customer.updated",
            "data": {"object": {"name": canary}},
        }
    elif scheme == "github":
        release = {"tag_name": canary, "name": canary, "body": f"Release {canary}."}
        body = {"action": "published", "release": release, "delivery": message}
    else:
        body = {"type": "probe.sent", "id": message, "data": {"name": canary}}
    return json.dumps(body, separators=(",", ":")).encode()
