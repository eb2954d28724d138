"""What callers record, and what readers get back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, get_args

from attrs import Factory, frozen

from .errors import EventInvalid

Outcome = Literal["success", "failure", "denied"]
ActorKind = Literal["user", "service", "anonymous", "operator"]

_ACTION = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*){1,5}")
_OUTCOMES: frozenset[str] = frozenset(get_args(Outcome))
_ACTORS: frozenset[str] = frozenset(get_args(ActorKind))
MAX_ID = 512


class Written(Mapping[str, Any]):
    """An event's data whose canonical JSON is known already, so that they need not be encoded again.

    The text stands for the data: it must be what `canonical_json` makes of them. It is parsed when somebody looks in.
    """

    __slots__ = ("_value", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._value: dict[str, Any] | None = None

    def _parsed(self) -> dict[str, Any]:
        if self._value is None:
            self._value = json.loads(self.text)
        return self._value

    def __getitem__(self, key: str) -> Any:
        """Return one member."""
        return self._parsed()[key]

    def __iter__(self) -> Iterator[str]:
        """Go through the members' names."""
        return iter(self._parsed())

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self._parsed())


@frozen
class Actor:
    """Who did it: a person, an operator, a service of ours, or somebody unknown; `session` is an id, never a token."""

    kind: ActorKind
    id: str
    session: str | None = None


ANONYMOUS = Actor(kind="anonymous", id="anonymous")


@frozen
class Event:
    """One thing that happened: what is to be recorded, before redaction.

    `action` is `domain.verb` in lower case; it selects the OCSF class. `data` is JSON-like; secrets in it are
    replaced and personal data become salted commitments before anything is stored.
    """

    action: str
    outcome: Outcome
    actor: Actor
    tenant: str = "main"
    target: tuple[str, str] | None = None
    data: Mapping[str, Any] = Factory(dict)
    request_id: str | None = None

    def __attrs_post_init__(self) -> None:
        if not _is_action(self.action):
            raise EventInvalid("an action is lower-case words joined by dots, such as identity.login.")
        if self.outcome not in _OUTCOMES:
            raise EventInvalid("an outcome is success, failure or denied.")
        if self.actor.kind not in _ACTORS:
            raise EventInvalid("an actor is a user, service, anonymous or operator.")
        if not self.tenant or len(self.tenant) > 100:
            raise EventInvalid("a tenant is a name of 1 to 100 characters.")


@lru_cache(1024)
def _is_action(action: str) -> bool:
    return len(action) <= 100 and _ACTION.fullmatch(action) is not None


@frozen
class Entry:
    """One stored entry; `leaf_index` is None until the sequencer has placed it."""

    id: str
    at: datetime
    tenant: str
    action: str
    outcome: Outcome
    severity_id: int
    actor_kind: ActorKind
    actor_id: str
    session: str | None
    target_type: str | None
    target_id: str | None
    request_id: str | None
    leaf_index: int | None
    body: str


@frozen
class ProvenEntry:
    """An entry with what shows that the signed tree holds it: audit path, tree size, root and checkpoint."""

    entry: Entry
    size: int
    root: bytes
    path: tuple[bytes, ...]
    checkpoint: str
