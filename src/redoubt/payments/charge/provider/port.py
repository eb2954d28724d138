"""What the charge service needs of a payment provider, and the five things that a call can come to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from attrs import frozen

from ..models import Intent, Observed


@frozen
class Seen:
    """The provider holds an object for the intent."""

    observed: Observed


@frozen
class Refused:
    """The provider refused for good, and nothing happened: declined, or a request that it will never take."""

    code: str
    object_id: str | None = None


@frozen
class NotSent:
    """Nothing reached the provider, or it turned the call away unread (rate limit, key): it may be made again."""

    code: str


@frozen
class Unknown:
    """The call may have taken effect or not: time-out, lost connection, server error, key in use."""

    code: str


@frozen
class Absent:
    """A look-up found no object of the intent. It may still appear: this alone decides nothing."""


Created = Seen | Refused | NotSent | Unknown
Found = Seen | Absent | Unknown


@frozen
class ProviderEvent:
    """A provider's event after its signature was verified; `intent` is what its object's metadata names."""

    id: str
    type: str
    object_id: str | None
    intent: str | None
    tenant: str | None
    observed: Observed | None


class Provider(Protocol):
    """A payment provider. Methods never raise for what a provider or a network does: they return it."""

    name: str
    honours_keys: bool
    """Whether the same idempotency key within `key_window` never makes a second object."""
    key_window: timedelta

    async def create(self, intent: Intent) -> Created:
        """Make the intent's object under its idempotency key; one attempt, no retry."""
        ...

    async def look_up(self, intent: Intent) -> Found:
        """Read the intent's object by its id, or find it by its metadata."""
        ...

    def read_event(self, raw: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Verify the signature over the raw bytes, then parse; raises EventRefused."""
        ...
