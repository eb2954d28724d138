"""Offline verification: does the store still hold exactly what was signed?

Reads a database and checkpoints, nothing else: no running app, no keyring. Bodies are hashed again, columns compared with
them, the tree built anew, and its root compared with every checkpoint at that checkpoint's own size. Against one that was
kept elsewhere, a store that was rewritten from the root up is found out too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from attrs import define, field, frozen

from ..core.db import Database, Tx
from . import ocsf, treestore
from .errors import NoteInvalid, ProofInvalid
from .merkle import Appender, leaf_hash
from .note import Checkpoint, VerifierKey, open_note
from .publish import CHECKPOINT
from .store import entries, tiles
from .tiles import WIDTH, split_hashes

Kind = Literal[
    "edited", "deleted", "reordered", "inserted", "truncated", "rolled-back", "forked", "bad-checkpoint"
]
_PAGE = 2048
MAX_FINDINGS = 200


@frozen
class Finding:
    """One contradiction: what kind, where, and what was seen."""

    kind: Kind
    detail: str
    index: int | None = None
    entry_id: str | None = None


@frozen
class Checked:
    """A checkpoint whose signature holds, where it came from, and whether the store agrees with it."""

    source: str
    size: int
    root: bytes
    agrees: bool


@frozen
class Report:
    """What verification found. `ok` means: no contradiction, and at least one signed checkpoint agreed."""

    size: int
    root: bytes
    pending: int
    checkpoints: tuple[Checked, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the store holds exactly what was signed."""
        return not self.findings and any(one.agrees for one in self.checkpoints)

    @property
    def covered(self) -> int:
        """How many entries an agreeing checkpoint covers; younger ones are not shown to be untouched."""
        return max((one.size for one in self.checkpoints if one.agrees), default=0)


def verify(
    db: Database,
    keys: Sequence[VerifierKey],
    *,
    directory: Path | None = None,
    against: Iterable[Path] = (),
    origin: str | None = None,
) -> Report:
    """Verify the log in `db` with the checkpoints of `directory` and those kept elsewhere (`against`).

    `keys` must come from a place that whoever could change the store could not change. `origin` is the log's name when
    the keys are of several logs. Never raises for what the store holds: that is a finding.
    """
    walk = _Walk()
    # In this order, so that a log that grows meanwhile contradicts nothing: checkpoints, newest place, size.
    wanted = _checkpoints(walk, keys, directory, list(against), origin or (keys[0].name if keys else ""))
    newest = db.read_sync(lambda tx: tx.execute(sa.select(sa.func.max(entries.c.leaf_index))).scalar())
    state = db.read_sync(treestore.state)
    walk.roots = {checkpoint.size: walk.tree.root() for _, checkpoint in wanted}
    highest = max(state.size - 1, -1 if newest is None else newest)
    for rows, signed in _pages(db, highest):
        walk.take(rows, signed)
    walk.finish(state.size)
    if state.size == walk.tree.size and not _fits(state, walk.tree):
        walk.note("forked", "the stored state of the tree is not that of its entries")
    checked = tuple(_compare(walk, source, checkpoint) for source, checkpoint in wanted)
    pending = db.read_sync(
        lambda tx: tx.execute(
            sa.select(sa.func.count()).select_from(entries).where(entries.c.leaf_index.is_(None))
        ).scalar_one()
    )
    return Report(walk.tree.size, walk.tree.root(), pending, checked, tuple(walk.findings[:MAX_FINDINGS]))


def _fits(state: treestore.TreeState, tree: Appender) -> bool:
    try:
        return state.appender().root() == tree.root()
    except ProofInvalid:
        return False


@define
class _Walk:
    """One pass over the entries in the order of their places."""

    tree: Appender = field(factory=Appender)
    findings: list[Finding] = field(factory=list)
    roots: dict[int, bytes] = field(factory=dict)
    moved: list[tuple[int, bytes, bytes]] = field(
        factory=list
    )  # place, hash found there, hash that was signed there
    expected: int = 0

    def note(self, kind: Kind, detail: str, index: int | None = None, entry_id: str | None = None) -> None:
        """Keep a finding, up to a bound."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind, detail, index, entry_id))

    def take(self, rows: Sequence[Any], signed: Mapping[int, bytes]) -> None:
        """Check one page of rows against themselves and the stored tiles, and append them to the tree."""
        for row in rows:
            if row.leaf_index != self.expected:
                missing = row.leaf_index - self.expected
                self.note(
                    "deleted", f"{missing} entries are missing before this place", self.expected, row.id
                )
                self.expected = row.leaf_index
            found = leaf_hash(row.body.encode())
            if found != bytes(row.leaf_hash):
                self.note("edited", "the body is not the one that was recorded", row.leaf_index, row.id)
            elif wrong := _differs(row):
                self.note("edited", f"the column {wrong} contradicts the body", row.leaf_index, row.id)
            if signed.get(row.leaf_index, found) != found:
                self.moved.append((row.leaf_index, found, signed[row.leaf_index]))
            self.tree.append(found)
            self.expected += 1
            if self.tree.size in self.roots:
                self.roots[self.tree.size] = self.tree.root()

    def finish(self, size: int) -> None:
        """Tell editing from reordering, and compare with the stored size."""
        if self.expected < size:
            self.note("truncated", f"the last {size - self.expected} entries are missing", self.expected)
        elif self.expected > size:
            self.note(
                "inserted", f"{self.expected - size} entries have places that the tree does not know", size
            )
        places = {found: index for index, found, _ in self.moved}
        for index, _, signed in self.moved:
            known = signed in places
            detail = f"stands at {places[signed]} now" if known else "is not there any more"
            self.note("reordered" if known else "edited", f"the entry that was placed here {detail}", index)


def _compare(walk: _Walk, source: str, checkpoint: Checkpoint) -> Checked:
    agrees = False
    if checkpoint.size > walk.tree.size:
        kind: Kind = "truncated" if any(one.kind == "truncated" for one in walk.findings) else "rolled-back"
        walk.note(
            kind,
            f"{source} covers {checkpoint.size} entries, the store holds {walk.tree.size}",
            walk.tree.size,
        )
    elif walk.roots[checkpoint.size] != checkpoint.root:
        walk.note("forked", f"{source} signed other entries up to {checkpoint.size}", checkpoint.size)
    else:
        agrees = True
    return Checked(source, checkpoint.size, checkpoint.root, agrees)


def _checkpoints(
    walk: _Walk, keys: Sequence[VerifierKey], directory: Path | None, against: list[Path], origin: str
) -> list[tuple[str, Checkpoint]]:
    """Open every checkpoint at hand; one that does not open is a finding, one that is not there is not."""
    paths = list(against)
    if directory is not None:
        archive = directory / "archive"
        paths += sorted(archive.iterdir()) if archive.is_dir() else []
        paths += [directory / CHECKPOINT] if (directory / CHECKPOINT).exists() else []
    found = []
    for path in paths:
        try:
            checkpoint = open_note(path.read_text(encoding="utf-8"), keys)
            if checkpoint.origin != origin:
                raise NoteInvalid("it is another log's.")
            found.append((path.name if path not in against else str(path), checkpoint))
        except (NoteInvalid, OSError, UnicodeDecodeError) as error:
            reason = error.message if isinstance(error, NoteInvalid) else type(error).__name__
            walk.note("bad-checkpoint", f"{path.name}: {reason}")
    return found


def _pages(db: Database, highest: int) -> Iterator[tuple[Sequence[Any], dict[int, bytes]]]:
    """Yield placed rows in order with the hashes that full tiles hold for them, in short transactions."""
    columns = [entries.c[name] for name in (
        "id", "tenant", "at", "action", "outcome", "class_uid", "severity_id", "actor_kind", "actor_id", "session",
        "target_type", "target_id", "request_id", "body", "leaf_hash", "leaf_index",
    )]  # fmt: skip
    after = -1

    def page(tx: Tx) -> tuple[Sequence[Any], dict[int, bytes]]:
        query = sa.select(*columns).where(entries.c.leaf_index > after, entries.c.leaf_index <= highest)
        rows = tx.execute(query.order_by(entries.c.leaf_index).limit(_PAGE)).all()
        if not rows:
            return rows, {}
        first, last = rows[0].leaf_index // WIDTH, rows[-1].leaf_index // WIDTH
        stored = sa.select(tiles.c.idx, tiles.c.hashes).where(
            tiles.c.level == 0, tiles.c.idx >= first, tiles.c.idx <= last
        )
        signed = {
            tile.idx * WIDTH + offset: found
            for tile in tx.execute(stored)
            for offset, found in enumerate(split_hashes(bytes(tile.hashes)))
        }
        return rows, signed

    while (found := db.read_sync(page))[0]:
        yield found
        after = found[0][-1].leaf_index


def _differs(row: Any) -> str | None:
    """Return the first column that says something else than the body, or None."""
    try:
        body = json.loads(row.body)
        metadata, user = body["metadata"], body["actor"]["user"]
        resource = body.get("resources", [{}])[0]
        shown = {
            "id": metadata["uid"],
            "tenant": metadata["tenant_uid"],
            "action": metadata["event_code"],
            "request_id": metadata.get("correlation_uid"),
            "outcome": body["status_code"],
            "class_uid": body["class_uid"],
            "severity_id": body["severity_id"],
            "actor_kind": user["type"],
            "actor_id": user["uid"],
            "session": body["actor"].get("session", {}).get("uid"),
            "target_type": resource.get("type"),
            "target_id": resource.get("uid"),
        }
        if body["time"] != ocsf.millis(row.at):
            return "at"
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "body"
    return next((name for name, value in shown.items() if getattr(row, name) != value), None)
