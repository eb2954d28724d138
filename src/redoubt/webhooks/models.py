"""Typed values of the webhooks domain."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from attrs import Attribute, Factory, field, frozen

from ..core.db import Tx
from ..core.secrets import SecretRef
from .errors import ConfigError
from .schemes import SCHEMES, Scheme, Verified

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_LONGEST_TOLERANCE = timedelta(hours=1)
_LEAST_UNTIMED_WINDOW = timedelta(days=1)
_LARGEST_BODY = 4 * 1024 * 1024

Answer = Literal["accepted", "duplicate", "reused"]
InboxState = Literal["accepted", "done", "dead"]


def _named(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not _NAME.fullmatch(value):
        raise ConfigError(f"{value!r} is not a name for a webhook.", hint="Use lower case, digits, - and _.")


def _scheme(value: str | Scheme) -> Scheme:
    if isinstance(value, Scheme):
        return value
    if value not in SCHEMES:
        raise ConfigError(f"there is no scheme {value!r}.", hint=f"Use one of {', '.join(sorted(SCHEMES))}.")
    return SCHEMES[value]


@frozen
class Delivery:
    """One proven delivery as its handler sees it.

    `body` is what was signed. `headers` are kept as they came: those that the scheme does not sign are hints, never
    grounds for a decision. `identity` is what the delivery was deduplicated by.
    """

    id: str
    endpoint: str
    tenant: str
    received_at: datetime
    signed_at: datetime | None
    identity: str
    key_id: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    def json(self) -> Any:
        """Return the body parsed as JSON; raises ValueError when it is something else."""
        return json.loads(self.body)


Handler = Callable[[Tx, Delivery], None]


def _references(values: Iterable[SecretRef]) -> tuple[SecretRef, ...]:
    return tuple(values)


@frozen
class EndpointConfig:
    """How one incoming webhook is accepted, and what handles it.

    The dedupe window is at least twice the tolerance: a message dated into the future stays fresh that long. A scheme
    that signs no moment is safe from replay only for as long as its window lasts, so it is at least a day.
    """

    name: str = field(validator=_named)
    scheme: Scheme = field(converter=_scheme)
    secrets: tuple[SecretRef, ...] = field(converter=_references)
    handler: str | Handler = field(repr=False)
    tolerance: timedelta = timedelta(minutes=5)
    dedupe_window: timedelta = timedelta(days=30)
    max_body: int = 256 * 1024
    tenant: str = "main"
    retention: timedelta = field(
        default=Factory(lambda self: max(timedelta(days=90), self.dedupe_window), takes_self=True)
    )
    max_attempts: int = 12

    def __attrs_post_init__(self) -> None:
        if not timedelta(seconds=1) <= self.tolerance <= _LONGEST_TOLERANCE:
            raise ConfigError(f"webhook {self.name}: the tolerance is between a second and an hour.")
        if self.dedupe_window < 2 * self.tolerance:
            raise ConfigError(
                f"webhook {self.name}: the dedupe window is shorter than twice the tolerance.",
                hint="A message may be replayed while it is fresh; remember it for longer.",
            )
        if self.scheme.timestamp is None and self.dedupe_window < _LEAST_UNTIMED_WINDOW:
            raise ConfigError(
                f"webhook {self.name}: its scheme signs no time, so its dedupe window is at least a day.",
                hint="Nothing but the window stops a replay; the default is 30 days.",
            )
        if not 1 <= self.max_body <= _LARGEST_BODY:
            raise ConfigError(f"webhook {self.name}: max_body is between 1 and {_LARGEST_BODY} bytes.")
        if not self.secrets:
            raise ConfigError(f"webhook {self.name}: no secret is declared.", hint="Reference one: env:NAME.")
        if self.retention < self.dedupe_window:
            raise ConfigError(
                f"webhook {self.name}: payloads are kept for less than the dedupe window.",
                hint="A duplicate could not be compared with its first; raise the retention.",
            )


@frozen
class TargetConfig:
    """Where events of some types are sent, signed by Standard Webhooks; `*` stands for every type."""

    name: str = field(validator=_named)
    url: str
    events: tuple[str, ...] = field(converter=tuple)
    secrets: tuple[SecretRef, ...] = field(converter=_references)
    tenant: str = "main"
    timeout: timedelta = timedelta(seconds=10)
    max_attempts: int = 12
    disable_after: timedelta = timedelta(days=5)
    pins: tuple[str, ...] = field(default=(), converter=tuple)

    def __attrs_post_init__(self) -> None:
        if self.pins:
            raise ConfigError(
                f"webhook {self.name}: TLS pins are not enforced yet.", hint="Leave pins out for now."
            )
        if not self.events or not all(event == "*" or _EVENT.fullmatch(event) for event in self.events):
            raise ConfigError(f"webhook {self.name}: events are names such as order.paid, or *.")
        if not self.url.startswith(("https://", "http://")) or len(self.url) > 2048:
            raise ConfigError(f"webhook {self.name}: the address is not an http(s) URL.")
        if not timedelta(seconds=1) <= self.timeout <= timedelta(seconds=30):
            raise ConfigError(f"webhook {self.name}: the timeout is between 1 and 30 seconds.")
        if not self.secrets:
            raise ConfigError(f"webhook {self.name}: no secret is declared.", hint="Reference one: env:NAME.")


@frozen
class Arrival:
    """A proven delivery on its way into the inbox."""

    id: str
    endpoint: str
    tenant: str
    scheme: str
    received_at: datetime
    verified: Verified
    tolerance: timedelta
    size: int
    expires_at: datetime
    retain_until: datetime
    max_attempts: int
    request_id: str | None
    sealed: bytes = field(repr=False)


@frozen
class Received:
    """What became of an arrival: `accepted`, or what it repeats; `id` is the first delivery's."""

    answer: Answer
    id: str
