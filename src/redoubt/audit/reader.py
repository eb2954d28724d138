"""Reading the log: search with keyset pages, one entry with its proof, and what lies behind a commitment."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from attrs import frozen

from ..core.base import Core
from ..core.db import Tx
from . import store, treestore
from .errors import EntryUnknown, ProofInvalid
from .merkle import consistency_proof, inclusion_proof
from .models import Actor, Entry, Event, Outcome, ProvenEntry
from .note import VerifierKey, open_note
from .personal import Disclosure, lookups_of, open_disclosure
from .service import record
from .store import entries, personal
from .tiles import Tree
from .treestore import DatabaseTiles

MAX_PAGE = 200


@frozen
class Filters:
    """What to look for; None leaves a field open. `action` also finds what is below it (`identity` finds all logins)."""

    action: str | None = None
    outcome: Outcome | None = None
    actor_id: str | None = None
    target: tuple[str, str] | None = None
    request_id: str | None = None
    min_severity: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@frozen
class Page:
    """One page, newest first; `next` goes into `before` for the following one and is None on the last."""

    entries: tuple[Entry, ...]
    next: str | None


class AuditStore:
    """Reads one log; every look-up is of one tenant, or of all with `tenant=None`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def search(
        self,
        filters: Filters = Filters(),
        *,
        tenant: str | None = "main",
        person: tuple[str, str] | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return entries, newest first. `person` is a kind and a value, such as `("email", "a@example.org")`."""
        limit = max(1, min(limit, MAX_PAGE))
        query = _filtered(filters, tenant)
        if person is not None:
            tags = lookups_of(self._core, *person)
            query = query.where(
                entries.c.id.in_(sa.select(personal.c.entry_id).where(personal.c.lookup.in_(tags)))
            )
        if before is not None:
            query = query.where(entries.c.id < before)
        query = query.order_by(entries.c.id.desc()).limit(limit + 1)
        found = self._core.db.read_sync(lambda tx: [store.to_entry(row) for row in tx.execute(query)])
        more = len(found) > limit
        return Page(tuple(found[:limit]), found[limit - 1].id if more else None)

    def get(self, entry_id: str, *, tenant: str | None = "main") -> Entry:
        """Return one entry; raises EntryUnknown."""
        return self._core.db.read_sync(lambda tx: self._get(tx, entry_id, tenant))

    def prove(self, entry_id: str, *, tenant: str | None = "main") -> ProvenEntry:
        """Return one entry with its audit path to the newest signed checkpoint.

        Raises EntryUnknown, or ProofInvalid while no checkpoint covers it yet.
        """
        return self._core.db.read_sync(lambda tx: self._prove(tx, entry_id, tenant))

    def consistency(self, old: int) -> tuple[bytes, ...]:
        """Return the proof that the newest checkpoint continues the log at `old` entries."""

        def read(tx: Tx) -> tuple[bytes, ...]:
            size = self._signed(tx)[1]
            return tuple(consistency_proof(Tree(DatabaseTiles(tx), size).subtree, old, size))

        return self._core.db.read_sync(read)

    def disclosed(self, entry_id: str, *, tenant: str | None = "main") -> dict[str, str]:
        """Return what stands behind the commitments of an entry, by commitment; erased ones are not there."""

        def read(tx: Tx) -> dict[str, str]:
            self._get(tx, entry_id, tenant)
            found = {}
            for row in tx.execute(sa.select(personal).where(personal.c.entry_id == entry_id)):
                one = Disclosure(row.commitment, row.kind, row.lookup, bytes(row.salt), bytes(row.sealed))
                value = open_disclosure(self._core, entry_id, one)
                if value is not None:
                    found[row.commitment] = value
            return found

        return self._core.db.read_sync(read)

    def erase(self, tx: Tx, kind: str, value: str, *, by: Actor, reason: str, tenant: str = "main") -> int:
        """Forget one person's data in this tenant's entries for good, with an audit entry, and say how many places.

        Entries and proofs stay as they are; the commitments in them can never be opened or guessed again.
        """
        tags = lookups_of(self._core, kind, value)
        count = tx.execute(
            sa.delete(personal).where(personal.c.lookup.in_(tags), personal.c.tenant == tenant)
        ).rowcount
        data = {"kind": kind, "places": count, "reason": reason}
        record(
            tx, self._core, Event(action="audit.erase", outcome="success", actor=by, tenant=tenant, data=data)
        )
        return count

    def _get(self, tx: Tx, entry_id: str, tenant: str | None) -> Entry:
        query = sa.select(*store.entry_columns()).where(entries.c.id == entry_id)
        if tenant is not None:
            query = query.where(entries.c.tenant == tenant)
        row = tx.execute(query).one_or_none()
        if row is None:
            raise EntryUnknown("there is no such audit entry.")
        return store.to_entry(row)

    def _prove(self, tx: Tx, entry_id: str, tenant: str | None) -> ProvenEntry:
        entry = self._get(tx, entry_id, tenant)
        note, size = self._signed(tx)
        if entry.leaf_index is None or entry.leaf_index >= size:
            raise ProofInvalid("no signed checkpoint covers this entry yet.", hint="Try again in a second.")
        tree = Tree(DatabaseTiles(tx), size)
        path = tuple(inclusion_proof(tree.subtree, entry.leaf_index, size))
        return ProvenEntry(entry, size, tree.root(), path, note)

    def _signed(self, tx: Tx) -> tuple[str, int]:
        from .sequencer import SIGNING

        note = treestore.state(tx).checkpoint
        if not note:
            raise ProofInvalid("no checkpoint is signed yet.", hint="Try again in a second.")
        name = note.split("\n", 1)[0]
        keys = [VerifierKey(name, key) for key in self._core.keys.verification_keys(SIGNING).values()]
        return note, open_note(note, keys).size


def _filtered(filters: Filters, tenant: str | None) -> sa.Select[tuple[object, ...]]:
    query = sa.select(*store.entry_columns())
    if tenant is not None:
        query = query.where(entries.c.tenant == tenant)
    if filters.action is not None:
        below = entries.c.action.startswith(filters.action + ".", autoescape=True)
        query = query.where(sa.or_(entries.c.action == filters.action, below))
    for name in ("outcome", "actor_id", "request_id"):
        value = getattr(filters, name)
        if value is not None:
            query = query.where(entries.c[name] == value)
    if filters.target is not None:
        query = query.where(
            entries.c.target_type == filters.target[0], entries.c.target_id == filters.target[1]
        )
    if filters.min_severity is not None:
        query = query.where(entries.c.severity_id >= filters.min_severity)
    if filters.since is not None:
        query = query.where(entries.c.at >= filters.since)
    if filters.until is not None:
        query = query.where(entries.c.at < filters.until)
    return query
