"""Sequencing and verification: every entry gets one place, and every tampering is found."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa

from redoubt.audit import RECORD, Actor, Event, record, store, treestore
from redoubt.audit.errors import LeaseLost, LogRolledBack, LogTampered
from redoubt.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from redoubt.audit.note import Checkpoint, VerifierKey, open_note, sign
from redoubt.audit.reader import AuditStore
from redoubt.audit.sequencer import SIGNING, Sequencer
from redoubt.audit.tiles import unbundle
from redoubt.audit.verify import Report, verify
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, Tx

BOB = Actor(kind="user", id="bob")


def add(core: Core, count: int, start: int = 0) -> None:
    events = [
        Event(action="api.read", outcome="success", actor=BOB, data={"n": n})
        for n in range(start, start + count)
    ]
    core.db.write_sync(lambda tx: RECORD(core).apply(tx, events))


def key(core: Core) -> VerifierKey:
    return VerifierKey("test", core.keys.signer(SIGNING).public_key)


def folder(core: Core) -> Path:
    return core.settings.checkpoint_dir


def checked(core: Core, *against: Path) -> Report:
    return verify(core.db, [key(core)], directory=folder(core), against=against)


def bare(core: Core, *statements: str) -> None:
    """What somebody with the database file does: triggers and keys are no obstacle to them."""

    def write(tx: Tx) -> None:
        if tx.dialect == "sqlite":
            names = (
                tx.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            )
            for name in names:
                tx.execute(sa.text(f"DROP TRIGGER {name}"))
        else:
            for table in ("audit_entries", "audit_tiles", "audit_tree"):
                tx.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        for statement in statements:
            tx.conn.exec_driver_sql(statement)

    core.db.write_sync(write)


@pytest.mark.parametrize("batches", [[1], [3, 1, 255], [256], [257, 255, 600]])
def test_every_entry_gets_one_place_in_order_and_the_log_verifies(core: Core, batches: list[int]) -> None:
    sequencer, total = Sequencer(core), 0
    for count in batches:
        add(core, count, total)
        total += count
        assert sequencer.run_once().size == total
    table = store.entries
    rows = core.db.read_sync(
        lambda tx: tx.execute(sa.select(table.c.id, table.c.leaf_index).order_by(table.c.id)).all()
    )
    assert [row.leaf_index for row in rows] == list(range(total))
    report = checked(core)
    assert report.ok
    assert (report.size, report.covered, report.pending) == (total, total, 0)
    add(core, 2, total)
    assert checked(core).pending == 2


def test_the_files_alone_hold_the_whole_log(core: Core) -> None:
    sequencer = Sequencer(core)
    for start, count in ((0, 100), (100, 300), (400, 200)):
        add(core, count, start)
        sequencer.run_once()
    checkpoint = open_note((folder(core) / "checkpoint").read_text(), [key(core)])
    bodies = []
    for name in ("tile/entries/000", "tile/entries/001", "tile/entries/002.p/88"):
        bodies += unbundle((folder(core) / name).read_bytes())
    assert len(bodies) == checkpoint.size == 600
    from redoubt.audit.merkle import root_of

    hashes = [leaf_hash(body) for body in bodies]
    assert root_of(hashes) == checkpoint.root
    assert (folder(core) / "tile/0/002.p/88").read_bytes() == b"".join(hashes[512:])
    assert (folder(core) / "tile/1/000.p/2").read_bytes() == root_of(hashes[:256]) + root_of(hashes[256:512])
    assert not (folder(core) / "tile/0/000.p").exists()
    assert (folder(core) / "checkpoint.vkey").read_text().strip() == str(key(core))


def test_a_transaction_that_commits_late_is_not_lost(core: Core) -> None:
    if core.db.dialect == "sqlite":
        return  # one writer at a time: nothing commits late
    open_, go = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        record(tx, core, Event(action="api.slow", outcome="success", actor=BOB))
        open_.set()
        go.wait(10)

    thread = threading.Thread(target=core.db.write_sync, args=(slow,))
    thread.start()
    open_.wait(10)
    add(core, 3)
    sequencer = Sequencer(core)
    assert sequencer.run_once().size == 3
    go.set()
    thread.join()
    assert sequencer.run_once().size == 4
    assert checked(core).ok


def test_two_workers_never_both_sequence(core: Core, database_url: str, tmp_path: Path) -> None:
    db = Database(database_url)
    cores = [core, Core(core.settings, db, core.clock, core.ids, core.keys, core.redactor)]
    workers = [Sequencer(one) for one in cores]
    errors: list[BaseException] = []

    def run(worker: Sequencer) -> None:
        try:
            for _ in range(15):
                worker.run_once()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for n in range(20):
        add(core, 7, n * 7)
    for thread in threads:
        thread.join()
    while any(worker.run_once().placed for worker in workers):
        pass
    db.close()
    assert errors == []
    report = checked(core)
    assert report.ok
    assert report.size == 140


def test_a_worker_that_lost_its_lease_writes_nothing(core: Core, clock: ManualClock) -> None:
    first, second = Sequencer(core), Sequencer(core)
    add(core, 3)
    assert first.run_once().leading
    assert not second.run_once().leading
    clock.advance(timedelta(minutes=1))
    assert second.run_once().leading
    add(core, 2, 3)
    with pytest.raises(LeaseLost):
        core.db.write_sync(first._place)  # it was paused after its lease was renewed, and wakes up now
    assert core.db.read_sync(treestore.state).size == 3
    assert not first.run_once().leading
    assert second.run_once().size == 5


def test_a_crash_before_the_files_are_written_is_made_good(core: Core) -> None:
    add(core, 300)
    sequencer = Sequencer(core)
    sequencer.run_once()
    shutil.rmtree(folder(core))
    add(core, 1, 300)
    assert sequencer.run_once().size == 301
    assert checked(core).ok
    assert (folder(core) / "tile/0/000").exists()


Tamper = Callable[[Core], None]
TAMPERINGS: dict[str, tuple[list[str], set[str]]] = {
    "edit a body": (
        ["UPDATE audit_entries SET body = replace(body, '\"n\":7', '\"n\":8') WHERE leaf_index = 7"],
        {"edited"},
    ),
    "edit a column": (["UPDATE audit_entries SET actor_id = 'eve' WHERE leaf_index = 9"], {"edited"}),
    "edit a time": (["UPDATE audit_entries SET at = at + 1000000 WHERE leaf_index = 9"], {"edited"}),
    "delete one": (["DELETE FROM audit_entries WHERE leaf_index = 5"], {"deleted"}),
    "delete the first": (["DELETE FROM audit_entries WHERE leaf_index = 0"], {"deleted"}),
    "truncate": (["DELETE FROM audit_entries WHERE leaf_index >= 290"], {"truncated"}),
    "empty": (["DELETE FROM audit_entries"], {"truncated"}),
    "reorder": (
        [
            "UPDATE audit_entries SET leaf_index = 100000 WHERE leaf_index = 3",
            "UPDATE audit_entries SET leaf_index = 3 WHERE leaf_index = 4",
            "UPDATE audit_entries SET leaf_index = 4 WHERE leaf_index = 100000",
        ],
        {"reordered"},
    ),
    "delete and close the gap": (
        [
            "DELETE FROM audit_entries WHERE leaf_index = 5",
            "UPDATE audit_entries SET leaf_index = 5 WHERE leaf_index = 299",
        ],
        {"truncated", "edited"},
    ),
    "insert at the end": (
        [
            "INSERT INTO audit_entries (id, at, action, outcome, class_uid, severity_id, actor_kind, actor_id, body, leaf_hash,"
            " leaf_index) SELECT 'forged', at, action, outcome, class_uid, severity_id, actor_kind, actor_id, body, leaf_hash, 300"
            " FROM audit_entries WHERE leaf_index = 1"
        ],
        {"inserted", "edited"},
    ),
    "cut rows and state": (
        ["DELETE FROM audit_entries WHERE leaf_index >= 256", "UPDATE audit_tree SET size = 256"],
        {"rolled-back"},
    ),
}


@pytest.mark.parametrize("name", sorted(TAMPERINGS))
def test_verification_finds(core: Core, name: str) -> None:
    add(core, 300)
    Sequencer(core).run_once()
    assert checked(core).ok
    statements, kinds = TAMPERINGS[name]
    bare(core, *statements)
    report = checked(core)
    assert not report.ok
    assert kinds <= {one.kind for one in report.findings}


def rewrite(core: Core, drop: int) -> None:
    """Forget one entry and build everything anew, perfectly: tree, tiles and state, as the log itself would."""
    bare(
        core, f"DELETE FROM audit_entries WHERE leaf_index = {drop}", "UPDATE audit_entries SET leaf_index = NULL",
        "DELETE FROM audit_tiles", "DELETE FROM audit_tree",
    )  # fmt: skip


def test_a_perfect_rewrite_is_found_by_a_checkpoint_kept_elsewhere(core: Core, tmp_path: Path) -> None:
    add(core, 300)
    sequencer = Sequencer(core)
    sequencer.run_once()
    kept = tmp_path / "kept"
    shutil.copy(folder(core) / "checkpoint", kept)
    rewrite(core, 7)
    shutil.rmtree(folder(core))  # and every file on this host
    add(core, 20, 300)
    sequencer.run_once()
    assert checked(core).ok  # from here alone it looks whole
    report = checked(core, kept)
    assert not report.ok
    assert [one.kind for one in report.findings] == ["forked"]


def test_a_checkpoint_of_another_key_or_log_agrees_with_nothing(core: Core, tmp_path: Path) -> None:
    add(core, 3)
    Sequencer(core).run_once()
    root = core.db.read_sync(treestore.state).appender().root()
    forged = sign(Checkpoint("test", 3, root), core.keys.signer("another"))
    foreign = sign(Checkpoint("shop", 3, root), core.keys.signer(SIGNING))
    shutil.rmtree(folder(core))
    assert not checked(core).ok  # nothing signed: nothing shown
    for note in (forged, foreign):
        (tmp_path / "note").write_text(note)
        report = checked(core, tmp_path / "note")
        assert not report.ok
        assert [one.kind for one in report.findings] == ["bad-checkpoint"]


def test_the_sequencer_signs_nothing_that_does_not_continue_what_it_published(core: Core) -> None:
    add(core, 300)
    sequencer = Sequencer(core)
    sequencer.run_once()
    before = (folder(core) / "checkpoint").read_text()
    rewrite(core, 7)
    add(core, 20, 300)
    with pytest.raises(LogTampered):
        sequencer.run_once()
    assert (folder(core) / "checkpoint").read_text() == before


def test_an_older_copy_of_the_store_is_not_signed(core: Core) -> None:
    add(core, 300)
    sequencer = Sequencer(core)
    sequencer.run_once()
    rewrite(core, 299)
    bare(
        core,
        "DELETE FROM audit_entries WHERE id IN (SELECT id FROM audit_entries ORDER BY id DESC LIMIT 100)",
    )
    with pytest.raises(LogRolledBack):
        sequencer.run_once()


def test_an_entry_changed_before_it_was_placed_stops_the_sequencer(core: Core) -> None:
    add(core, 3)
    bare(core, "UPDATE audit_entries SET body = replace(body, '\"n\":1', '\"n\":9')")
    with pytest.raises(LogTampered):
        Sequencer(core).run_once()


def test_proofs_of_the_store_hold_for_whoever_has_the_checkpoint(core: Core) -> None:
    sequencer, reader = Sequencer(core), AuditStore(core)
    add(core, 300)
    sequencer.run_once()
    old = open_note((folder(core) / "checkpoint").read_text(), [key(core)])
    add(core, 400, 300)
    sequencer.run_once()
    table = store.entries
    ids = core.db.read_sync(lambda tx: list(tx.execute(sa.select(table.c.id).order_by(table.c.id)).scalars()))
    for index in (0, 255, 256, 511, 699):
        proven = reader.prove(ids[index])
        assert proven.entry.leaf_index == index
        signed = open_note(proven.checkpoint, [key(core)])
        assert (signed.size, signed.root) == (700, proven.root)
        leaf = leaf_hash(proven.entry.body.encode())
        assert verify_inclusion(leaf, index, signed.size, proven.path, signed.root)
    path = reader.consistency(old.size)
    assert verify_consistency(old.size, 700, old.root, proven.root, path)


def test_erasure_keeps_every_proof(core: Core) -> None:
    reader = AuditStore(core)
    events = [
        Event(action="identity.login", outcome="success", actor=BOB, data={"email": f"{name}@example.org"})
        for name in ("ann", "ben", "ann")
    ]
    ids = core.db.write_sync(lambda tx: [record(tx, core, event) for event in events])
    Sequencer(core).run_once()
    assert list(reader.disclosed(ids[0]).values()) == ["ann@example.org"]
    assert [entry.id for entry in reader.search(person=("email", "Ann@example.org ")).entries] == [
        ids[2],
        ids[0],
    ]
    assert (
        core.db.write_sync(
            lambda tx: reader.erase(tx, "email", "ann@example.org", by=attrs.evolve(BOB), reason="asked")
        )
        == 2
    )
    assert reader.disclosed(ids[0]) == {}
    assert list(reader.disclosed(ids[1]).values()) == ["ben@example.org"]
    assert reader.search(person=("email", "ann@example.org")).entries == ()
    assert checked(core).ok
