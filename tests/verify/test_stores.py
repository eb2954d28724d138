"""Copies of an app's stores are made while the app goes on writing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from redoubt.verify.lab import Lab
from redoubt.verify.probes import stores


def lab_of(store: Path) -> Lab:
    return cast(Lab, SimpleNamespace(store=lambda name: store))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    for partial in ("009.p", "010.p"):
        (folder / "tiles" / partial).mkdir(parents=True)
        (folder / "tiles" / partial / "3").write_text("hashes")
    (folder / "checkpoint").write_text("signed")
    with closing(sqlite3.connect(folder / "app.db")) as db:
        db.execute("CREATE TABLE events (n INTEGER)")
        db.execute("INSERT INTO events VALUES (1)")
        db.commit()
    return folder / "app.db"


def test_a_copy_holds_the_folder_and_a_database_of_its_own(store: Path) -> None:
    with stores.copied(lab_of(store), "app") as (copy, variables):
        assert variables == {"ready:state_dir": str(copy.parent), "store": str(copy)}
        assert (copy.parent / "tiles" / "010.p" / "3").read_text() == "hashes"
        assert (copy.parent / "checkpoint").read_text() == "signed"
        with closing(sqlite3.connect(copy)) as db:
            db.execute("DELETE FROM events")
            db.commit()
    assert not copy.parent.exists()
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("SELECT COUNT(*) FROM events").fetchone() == (1,)


def test_what_vanishes_while_a_copy_is_made_is_left_out(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partial tile goes when the next one stands."""
    copy2 = shutil.copy2

    def grows(source: Any, target: Any) -> None:
        copy2(source, target)
        for partial in (store.parent / "tiles").iterdir():
            if partial != Path(source).parent != store.parent:
                shutil.rmtree(partial)

    monkeypatch.setattr(stores.shutil, "copy2", grows)
    with stores.copied(lab_of(store), "app") as (copy, _):
        assert copy.is_file()
        assert (copy.parent / "checkpoint").is_file()
        assert len(list((copy.parent / "tiles").rglob("3"))) == 1
