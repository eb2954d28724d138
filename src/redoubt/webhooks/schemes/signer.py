"""Signs what we send, by the same values that the verifier reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..errors import ConfigError
from .keys import SigningKey
from .model import Scheme, VersionedList
from .parse import signature_base
from .verifier import mac_text


def sign(
    scheme: Scheme, keys: Sequence[SigningKey], message_id: str, at: datetime, body: bytes
) -> dict[str, str]:
    """Return the headers that prove `body`, one signature a live key so that receivers can change keys at leisure.

    Schemes with a versioned list of signatures only (Standard Webhooks 1.0.0, "Webhook headers"). Raises ConfigError
    when no key is live: an unsigned delivery is never sent.
    """
    where = scheme.signatures
    if not isinstance(where, VersionedList) or scheme.timestamp is None or scheme.identity is None:
        raise ConfigError(f"the scheme {scheme.name} is for receiving only.", hint="Send with `standard`.")
    live = [key for key in keys if key.live(at)]
    if not live:
        raise ConfigError("no signing key is live.", hint="Rotate the target's key: redoubt webhooks rotate.")
    stamp = str(int(at.timestamp()))
    headers = dict(zip(scheme.headers, ("", message_id, stamp), strict=True))
    base = signature_base(scheme, headers, body)
    headers[where.header] = " ".join(
        f"{where.version},{mac_text(key.secret, base, scheme.encoding)}" for key in live
    )
    return headers
