"""Who does what with deliveries: the app takes them in and writes what goes out; only the worker reads payloads again."""

from __future__ import annotations

from ..core.db import Use, use
from .store import attempts, dedupe, endpoints, inbox, keys, outbox, targets

INCOMING, OUTGOING = "webhooks-in", "webhooks-out"
"""The features of apps that take deliveries, and of those that send them."""

_TARGET = (
    "tenant", "url", "events", "timeout_ms", "max_attempts", "disable_after_s", "state", "failing_since", "reason",
    "updated_at",
)  # fmt: skip
_ENDPOINT = ("tenant", "scheme", "tolerance_s", "dedupe_window_s", "updated_at")
_KEY = ("not_before", "not_after", "ended_by")


def _declared() -> tuple[Use, ...]:
    """What every process does when it starts: it stores what the settings declare."""
    return (
        use(targets, update=("state", "updated_at")),
        use(keys),
        use(endpoints, select=("name",), insert=True, update=_ENDPOINT, when=INCOMING),
        use(keys, insert=True, update=_KEY, when=INCOMING),
        use(targets, insert=True, update=_TARGET, when=OUTGOING),
        use(keys, insert=True, update=_KEY, when=OUTGOING),
    )


GRANTS = {
    "app": (
        *_declared(),
        use(
            dedupe,
            select=("endpoint", "tenant", "identity", "digest", "inbox_id", "duplicates"),
            insert=True,
            update=("duplicates", "last_at"),
            when=INCOMING,
        ),
        use(inbox, select=False, insert=True, when=INCOMING),
        use(outbox, select=False, insert=True, when=OUTGOING),
    ),
    "worker": (
        *_declared(),
        use(dedupe, select=("endpoint", "tenant", "identity", "expires_at"), delete=True),
        use(inbox, update=("sealed", "purged_at")),
        use(inbox, update=("state", "runs", "finished_at", "last_error"), when=INCOMING),
        use(outbox, insert=True, update=("state", "finished_at"), when=OUTGOING),
        use(attempts, select=False, insert=True, when=OUTGOING),
    ),
}
