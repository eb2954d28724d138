"""Stripe's webhook signature: HMAC-SHA256 over `t.body`, several live secrets, freshness both ways."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

from ..errors import EventRefused


def verify(
    raw: bytes,
    header: str | None,
    secrets: Sequence[bytes],
    *,
    now: datetime,
    max_age: timedelta,
    skew: timedelta,
) -> None:
    """Raise EventRefused unless `header` carries a `v1` signature over exactly `raw` by one of `secrets`.

    `max_age` is wide on purpose: the app's inbox held the provider's five minutes when it took the delivery, and
    what it forwards later, after an outage, must still get in. Replays die at the event id, which never expires.
    """
    if not header or len(header) > 4096 or not secrets:
        raise EventRefused("the event carries no signature.")
    stamp: int | None = None
    given: list[bytes] = []
    for item in header.split(","):
        name, _, value = item.strip().partition("=")
        if name == "t" and value.isascii() and value.isdigit() and len(value) <= 12 and stamp is None:
            stamp = int(value)
        elif name == "v1" and value.isascii() and len(given) < 16:
            given.append(value.encode())
    if stamp is None or not given:
        raise EventRefused("the signature header is malformed.")
    signed = str(stamp).encode() + b"." + raw
    matched = False
    for secret in secrets:
        wanted = hmac.new(secret, signed, hashlib.sha256).hexdigest().encode()
        for signature in given:
            matched |= hmac.compare_digest(wanted, signature)
    if not matched:
        raise EventRefused("no signature matches.")
    age = now.timestamp() - stamp
    if age > max_age.total_seconds() or age < -skew.total_seconds():
        raise EventRefused("the event is too old or from the future.")
