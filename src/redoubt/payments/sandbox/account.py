"""One provider account: its store, its time and ids, and the events that its changes leave."""

from __future__ import annotations

import json
import re
from typing import Any

from ...core.clock import Clock
from ...core.ids import Ids
from .errors import missing
from .store import Store

API_VERSION = "2026-10-28.endive"
_ALNUM = re.compile(r"[^0-9A-Za-z]")


class Account:
    """What every operation works with; call its methods inside `store.transaction()`."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, base_url: str) -> None:
        self.store = store
        self.clock = clock
        self.ids = ids
        self.base_url = base_url

    def now(self) -> int:
        """Return the time in whole seconds since 1970, as Stripe counts."""
        return int(self.clock.now().timestamp())

    def new_id(self, prefix: str) -> str:
        """Return a new id with a prefix, such as `pi_3f…`."""
        return f"{prefix}_{_ALNUM.sub('', self.ids.token(30))[:24]}"

    def make(self, prefix: str, kind: str, **members: Any) -> dict[str, Any]:
        """Store a new object."""
        head = {"id": self.new_id(prefix), "object": kind, "created": self.now(), "livemode": False}
        return self.store.put(head | members)

    def need(self, kind: str, object_id: str, param: str = "id") -> dict[str, Any]:
        """Return an object, or raise 404 in Stripe's shape."""
        found = self.store.get(kind, object_id)
        if found is None:
            raise missing(kind, object_id, param)
        return found

    def emit(self, kind: str, item: dict[str, Any]) -> None:
        """Leave an event with a snapshot of `item`, and one delivery of it to make."""
        snapshot = json.loads(json.dumps(item))
        event = self.make(
            "evt",
            "event",
            api_version=API_VERSION,
            data={"object": snapshot},
            pending_webhooks=1,
            request={"id": None, "idempotency_key": None},
            type=kind,
        )
        self.store.run(
            "INSERT INTO deliveries (event, state, attempts, due) VALUES (?, 'waiting', 0, ?)",
            event["id"],
            self.clock.now().timestamp(),
        )
