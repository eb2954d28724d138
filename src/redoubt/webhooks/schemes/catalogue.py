"""The schemes that we know, each from its sender's own specification."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .model import Body, BodyMember, Field, Header, Members, Prefixed, Scheme, VersionedList

STANDARD = Scheme(
    name="standard",  # Standard Webhooks 1.0.0, "Signature scheme", symmetric v1
    signatures=VersionedList("webhook-signature", "v1"),
    encoding="base64",
    secret="whsec",  # noqa: S106 - names the form of a secret
    base=(Header("webhook-id"), b".", Header("webhook-timestamp"), b".", Body()),
    timestamp=Header("webhook-timestamp"),
    identity=Header("webhook-id"),
    keep=("content-type", "user-agent"),
)

STRIPE = Scheme(
    name="stripe",  # Stripe, "Verify webhook signatures manually": v1 only, v0 is a test scheme
    signatures=Members("stripe-signature", "v1"),
    encoding="hex",
    secret="text",  # noqa: S106
    base=(Field("stripe-signature", "t"), b".", Body()),
    timestamp=Field("stripe-signature", "t"),
    identity=BodyMember("id"),  # t changes with each attempt, the event's id does not
    volatile=("pending_webhooks",),  # counts the endpoints that have not answered yet
    keep=("content-type", "user-agent"),
)

GITHUB = Scheme(
    name="github",  # GitHub, "Validating webhook deliveries": the body alone is signed
    signatures=Prefixed("x-hub-signature-256", "sha256="),
    encoding="hex",
    secret="text",  # noqa: S106
    base=(Body(),),
    timestamp=None,
    identity=None,  # x-github-delivery is not signed: whoever replays may change it
    keep=("content-type", "user-agent", "x-github-event", "x-github-delivery", "x-github-hook-id"),
)

SCHEMES: Mapping[str, Scheme] = MappingProxyType({s.name: s for s in (STANDARD, STRIPE, GITHUB)})
