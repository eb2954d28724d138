"""What the charge service does in its own database. It deletes nothing, and changes nothing that only grows."""

from __future__ import annotations

from redoubt.core.db import use

from . import store

_INTENT = (
    "state", "provider_object", "provider_payment", "redirect_url", "captured", "reserved", "refunded", "calls",
    "maybe_sent", "first_call_at", "lease_until", "next_at", "paged_at", "failure", "updated_at",
)  # fmt: skip

GRANTS = {
    "charge": (
        use(store.commands, insert=True, update=("status", "intent", "answer")),
        use(store.intents, insert=True, update=_INTENT),
        use(store.events, insert=True),
        use(store.ledger_entries, insert=True),
        use(store.ledger_postings),
        use(store.approvers, insert=True, update=("revoked_at",)),
        use(store.consumed, insert=True),
        use(store.velocity, insert=True, update=("touched",)),
        use(store.switches, insert=True, update=("killed", "revision", "at")),
        use(store.feed, insert=True),
    ),
}
DEFINERS = {"ledger_entries_post": frozenset({"ledger_postings"})}
