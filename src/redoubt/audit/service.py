"""Recording: an event becomes one row in its effect's transaction, or one item of group commit."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.base import Core
from ..core.canonical import sha256_hex
from ..core.db import Command, Tx, microseconds
from . import ocsf, store
from .errors import EventInvalid
from .merkle import leaf_hash
from .models import MAX_ID, Event
from .personal import Committer, Disclosure
from .plain import canonical_text, plain_text

MAX_BODY = 16 * 1024  # an entry bundle of the tile format holds at most 65,535 bytes an entry


def record(tx: Tx, core: Core, event: Event) -> str:
    """Store `event` in the open transaction and return its id; it is durable exactly when its effect is.

    The place in the Merkle tree is given later, by the sequencer. Raises EventInvalid for ids beyond bounds.
    """
    row, disclosures = prepare(core, event)
    store.insert(tx, [row], [(row[0], event.tenant, found) for found in disclosures])
    return str(row[0])


class RecordCommand(Command[Event, str]):
    """Group commit of events that have no other effect, such as decisions; the answer is the entry's id."""

    name = "audit.record"

    def __init__(self, core: Core) -> None:
        self._core = core

    def key(self, item: Event) -> str:
        """Return the tenant: entries touch no row in common, so any stable order will do."""
        return item.tenant

    def apply(self, tx: Tx, items: Sequence[Event]) -> Sequence[str]:
        """Store all `items` in one statement."""
        prepared = [prepare(self._core, item) for item in items]
        opened = [(row[0], row[1], one) for row, found in prepared for one in found]
        store.insert(tx, [row for row, _ in prepared], opened)
        return [row[0] for row, _ in prepared]


RECORD = RecordCommand


def prepare(core: Core, event: Event) -> tuple[store.Row, list[Disclosure]]:
    """Return the row of `event`, redacted, and what opens the commitments in it."""
    entry_id, at = core.ids.uuid7(), core.clock.now()
    committer = Committer(core, entry_id)
    actor, request_id, session = event.actor, event.request_id, event.actor.session
    actor_id = committer.text(_bounded(actor.id, "an actor's id"))
    target_type, target_id = event.target or (None, None)
    if target_id is not None:
        target_id = committer.text(_bounded(target_id, "a target's id"))
    for value, what in ((request_id, "a request's id"), (session, "a session's id"), (actor_id, "an actor's id"),
                        (target_type, "a target's type")):  # fmt: skip
        if value is not None:
            _bounded(value, what)
    text = plain_text(event.data)
    if text is None:
        text = canonical_text(committer.value(event.data))
    head = ocsf.head(event, entry_id, at, actor_id, target_id)
    written = _with_data(head, text)
    if len(written) > MAX_BODY:
        whole = text.encode()
        text = canonical_text({"cut": True, "bytes": len(written), "sha256": sha256_hex(whole)})
        written = _with_data(head, text)
    kind = ocsf.kind_of(event.action)
    row = (
        entry_id,
        event.tenant,
        microseconds(at),
        event.action,
        event.outcome,
        kind.class_uid,
        ocsf.severity_of(event),
        actor.kind,
        actor_id,
        session,
        target_type,
        target_id,
        request_id,
        written.decode(),
        leaf_hash(written),
    )
    return row, committer.disclosures


def _with_data(head: str, data: str) -> bytes:
    """Return the canonical JSON of an entry; its data are its last member, written already."""
    return (head if data == "{}" else f'{head[:-1]},"{ocsf.DATA}":{data}}}').encode()


def _bounded(value: str, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_ID:
        raise EventInvalid(f"{what} is text of at most {MAX_ID} characters.")
    return value
