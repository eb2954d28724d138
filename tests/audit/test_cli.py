"""`redoubt audit` and `redoubt switch` on a real app folder, through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from redoubt.audit import DOMAIN as AUDIT
from redoubt.audit import Actor, Event, record
from redoubt.audit.merkle import leaf_hash, verify_inclusion
from redoubt.audit.note import VerifierKey, open_note
from redoubt.audit.sequencer import Sequencer
from redoubt.cli.audit import app as audit
from redoubt.cli.switches import app as switch
from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json
from redoubt.core.clock import SystemClock
from redoubt.core.db import Database, migrate
from redoubt.core.files import write_private
from redoubt.core.ids import SystemIds
from redoubt.core.keys import Keyring
from redoubt.core.redact import Redactor
from redoubt.core.secrets import SecretRef
from redoubt.core.settings import Settings
from redoubt.guard import DOMAIN as GUARD

RUN = CliRunner()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "app"
    home.mkdir()
    (home / "redoubt.toml").write_text('[app]\nname = "shop"\nprofile = "development"\n')
    write_private(home / "var/keys/master.key", b"m" * 48)
    return home


@pytest.fixture
def core(home: Path) -> Iterator[Core]:
    settings, clock = Settings.load(home, {}), SystemClock()
    keys = Keyring.create(settings.keyring_path, settings.reveal(settings.master_ref))
    db = Database(settings.database_url().reveal())
    migrate(db, [AUDIT, GUARD])
    yield Core(settings, db, clock, SystemIds(clock), keys, Redactor(keys.mac("redact")))
    db.close()


def fill(core: Core, count: int = 20) -> None:
    for n in range(count):
        event = Event(
            action="identity.login", outcome="failure" if n % 5 == 0 else "success", actor=Actor("user", f"u{n}"),
            data={"email": f"u{n}@example.org"}, target=("User", f"u{n}"),
        )  # fmt: skip
        core.db.write_sync(lambda tx, e=event: record(tx, core, e))
    Sequencer(core).run_once()


def invoke(command: object, *words: str, code: int = 0) -> str:
    result = RUN.invoke(command, list(words))  # type: ignore[arg-type]
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def test_verify_says_yes_to_an_untouched_log_and_no_to_a_touched_one(core: Core, home: Path) -> None:
    fill(core)
    assert "exactly what was signed" in invoke(audit, "verify", "--dir", str(home))
    core.db.write_sync(lambda tx: tx.execute(sa.text("DROP TRIGGER audit_entries_delete")))
    for attack in ("DELETE FROM audit_personal", "DELETE FROM audit_entries WHERE leaf_index = 3"):
        core.db.write_sync(lambda tx, sql=attack: tx.execute(sa.text(sql)))  # type: ignore[misc]
    assert "DELETED at 3" in invoke(audit, "verify", "--dir", str(home), code=1)
    report = json.loads(invoke(audit, "verify", "--dir", str(home), "--json", code=1))
    assert report["ok"] is False
    assert report["findings"][0]["kind"] == "deleted"


def test_a_copied_database_verifies_with_a_kept_checkpoint_and_key_alone(
    core: Core, home: Path, tmp_path: Path
) -> None:
    fill(core)
    kept = tmp_path / "kept.note"
    kept.write_text(invoke(audit, "checkpoint", "--dir", str(home)))
    key = invoke(audit, "checkpoint", "--dir", str(home), "--public-key").strip()
    core.db.close()
    copy = tmp_path / "copy.db"
    shutil.copy(home / "var/app.db", copy)
    shutil.rmtree(home)
    url = f"sqlite:///{copy}"
    invoke(audit, "verify", "--database", url, "--key", key, "--against", str(kept))
    invoke(audit, "verify", "--database", url, "--key", key, code=2)  # nothing signed at hand: nothing shown
    other = str(VerifierKey("shop", bytes(32)))
    invoke(audit, "verify", "--database", url, "--key", other, "--against", str(kept), code=1)


def test_a_database_that_is_not_there_is_not_called_whole(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    key = str(VerifierKey("shop", bytes(32)))
    invoke(audit, "verify", "--database", f"sqlite:///{missing}", "--key", key, code=2)
    assert not missing.exists()


def test_list_filters_and_pages_without_showing_anybody(core: Core, home: Path) -> None:
    fill(core)
    page = json.loads(
        invoke(audit, "list", "--dir", str(home), "--outcome", "failure", "--limit", "3", "--json")
    )
    assert [one["actor_id"] for one in page["entries"]] == ["u15", "u10", "u5"]
    rest = json.loads(
        invoke(audit, "list", "--dir", str(home), "--outcome", "failure", "--before", page["next"], "--json")
    )
    assert [one["actor_id"] for one in rest["entries"]] == ["u0"]
    assert rest["next"] is None
    found = json.loads(
        invoke(audit, "list", "--dir", str(home), "--person", "email:u7@example.org", "--json")
    )
    assert [one["actor_id"] for one in found["entries"]] == ["u7"]
    assert json.loads(invoke(audit, "list", "--dir", str(home), "--action", "identity", "--json"))["entries"]
    assert (
        json.loads(invoke(audit, "list", "--dir", str(home), "--action", "ident", "--json"))["entries"] == []
    )
    assert (
        json.loads(invoke(audit, "list", "--dir", str(home), "--tenant", "other", "--json"))["entries"] == []
    )
    assert "@example.org" not in invoke(audit, "list", "--dir", str(home), "--json")


def test_show_gives_a_proof_that_anybody_can_check(core: Core, home: Path) -> None:
    fill(core)
    entry_id: str = json.loads(invoke(audit, "list", "--dir", str(home), "--json"))["entries"][7]["id"]
    shown = json.loads(invoke(audit, "show", entry_id, "--dir", str(home)))
    key = VerifierKey.parse(invoke(audit, "checkpoint", "--dir", str(home), "--public-key"))
    signed = open_note(shown["proof"]["checkpoint"], [key])
    path = [bytes.fromhex(item) for item in shown["proof"]["path"]]
    leaf = leaf_hash(canonical_json(shown["entry"]["body"]))
    assert verify_inclusion(leaf, shown["proof"]["index"], signed.size, path, signed.root)


def test_kill_by_command_and_status(core: Core, home: Path) -> None:
    assert "everything is live" in invoke(switch, "status", "--dir", str(home))
    invoke(switch, "kill", "payments", "--reason", "a drill", "--dir", str(home))
    assert "KILLED  payments  *" in invoke(switch, "status", "--dir", str(home), code=3)
    assert "KILLED  payments" in invoke(switch, "list", "--dir", str(home))
    found = json.loads(invoke(audit, "list", "--dir", str(home), "--action", "switch", "--json"))
    assert [one["action"] for one in found["entries"]] == ["switch.kill"]
    assert "enable" not in invoke(switch, "--help").split("Commands")[1]


def test_the_charge_services_own_log_verifies_beside_the_apps(core: Core, home: Path) -> None:
    settings = core.settings
    write_private(home / "var/charge/master.key", b"c" * 48)
    keys = Keyring.create(
        home / "var/charge/keyring", settings.reveal(SecretRef("file", "var/charge/master.key"))
    )
    db = Database(settings.charge_database_url().reveal())
    migrate(db, [AUDIT])
    charge = Core(settings, db, core.clock, core.ids, keys, core.redactor)
    event = Event(
        action="charge.settled", outcome="success", actor=Actor("service", "charge"), data={"amount": 5}
    )
    db.write_sync(lambda tx: record(tx, charge, event))
    Sequencer(charge, origin="shop-charge", directory=settings.checkpoint_dir / "charge").run_once()
    db.close()
    fill(core, 3)
    assert "1 entries" in invoke(audit, "verify", "--charge", "--dir", str(home))
    assert "3 entries" in invoke(audit, "verify", "--dir", str(home))
    assert invoke(audit, "checkpoint", "--charge", "--dir", str(home)).startswith("shop-charge\n1\n")
