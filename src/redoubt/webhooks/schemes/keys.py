"""A signing key with the span of time in which it counts."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from attrs import field, frozen

from ..errors import ConfigError
from .model import SecretForm

_PREFIX = "whsec_"
_LEAST = 16  # bytes; Standard Webhooks asks for 24 to 64, real senders go lower


@frozen
class SigningKey:
    """One shared secret of an endpoint: valid from `not_before` until just before `not_after`."""

    id: str
    secret: bytes = field(repr=False)
    not_before: datetime | None = None
    not_after: datetime | None = None

    def live(self, at: datetime) -> bool:
        """Say whether the key counts at the moment `at`."""
        started = self.not_before is None or self.not_before <= at
        ended = self.not_after is not None and self.not_after <= at
        return started and not ended


def decode_secret(text: str, form: SecretForm) -> bytes:
    """Return the HMAC key that a secret's text stands for.

    `whsec` is base64 behind an optional prefix (Standard Webhooks 1.0.0, "Signature scheme"); `text` is the UTF-8 of
    the text itself, prefix and all. Raises ConfigError for what is empty, too short or not base64.
    """
    text = text.strip()
    if form == "text":
        key = text.encode()
    else:
        encoded = text.removeprefix(_PREFIX)
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(
                "a webhook secret is not base64.", hint="Give it as whsec_<base64>, as its sender shows it."
            ) from None
    if len(key) < _LEAST:
        raise ConfigError(
            f"a webhook secret is shorter than {_LEAST} bytes.", hint="Let the sender make a new one."
        )
    return key


def encode_secret(key: bytes, form: SecretForm) -> str:
    """Return the text of a key that we made, in the form its scheme expects."""
    if form == "whsec":
        return _PREFIX + base64.b64encode(key).decode("ascii")
    return key.decode("ascii")
