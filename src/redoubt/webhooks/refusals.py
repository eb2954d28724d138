"""Tells the audit log about refused deliveries without letting strangers fill it."""

from __future__ import annotations

from attrs import define

from ..audit import ANONYMOUS, RECORD, Event
from ..core.base import Core

_WINDOW = 60.0  # seconds


@define
class _Count:
    since: float
    more: int = 0


class Refusals:
    """Audits the first refusal of each endpoint and reason in a minute, and how many more there were afterwards."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._counts: dict[tuple[str, str], _Count] = {}

    async def note(self, endpoint: str, reason: str, tenant: str, request_id: str | None) -> None:
        """Count one refusal; `endpoint` is a declared name, so that the table stays small."""
        now = self._core.clock.monotonic()
        count = self._counts.get((endpoint, reason))
        if count is not None and now - count.since < _WINDOW:
            count.more += 1
            return
        self._counts[endpoint, reason] = _Count(now)
        if count is not None and count.more:
            await self._tell(endpoint, reason, tenant, None, count.more)
        await self._tell(endpoint, reason, tenant, request_id, 1)

    async def _tell(
        self, endpoint: str, reason: str, tenant: str, request_id: str | None, number: int
    ) -> None:
        event = Event(
            action="webhook.refused",
            outcome="denied",
            actor=ANONYMOUS,
            tenant=tenant,
            target=("webhook", f"in:{endpoint}"),
            data={"reason": reason, "count": number},
            request_id=request_id,
        )
        await self._core.db.group.submit(RECORD(self._core), event)
