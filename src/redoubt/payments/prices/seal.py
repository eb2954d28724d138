"""Seals on versions of prices: what was written past the code that checks passkeys is charged to nobody.

The database refuses a version without an approved proposal, but it cannot check a passkey: whoever may write its tables
could invent an approval. They have no key, so what they write has no seal.
"""

from __future__ import annotations

from attrs import asdict, evolve

from redoubt.core.canonical import canonical_json
from redoubt.core.db import microseconds
from redoubt.core.keys import Keyring

from .models import PriceVersion

_PURPOSE = "price-version"


def sealed(version: PriceVersion, keys: Keyring) -> PriceVersion:
    """Return the version with its seal: an HMAC over everything else in it."""
    return evolve(version, seal=keys.mac(_PURPOSE).hexdigest(_bytes(version)))


def genuine(version: PriceVersion, keys: Keyring) -> bool:
    """Say whether this app made the price count."""
    return keys.mac(_PURPOSE).seals(_bytes(version), version.seal)


def _bytes(version: PriceVersion) -> bytes:
    values = asdict(version)
    del values["seal"]
    for name in ("proposed_at", "effective_at"):
        values[name] = microseconds(values[name])
    return canonical_json(values)
