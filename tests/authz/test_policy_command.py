"""`redoubt policy` on an app's own folder and store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import Result
from typer.testing import CliRunner

from redoubt.audit import record
from redoubt.authz import versions
from redoubt.authz.access import AccessModel, Action
from redoubt.authz.decide import Decider
from redoubt.authz.enforce import decision_event
from redoubt.authz.errors import ReviewRequired
from redoubt.authz.models import AuthzRequest, Caller, app_entity
from redoubt.authz.roles import Roles
from redoubt.cli.policy import app
from redoubt.core.base import Core
from redoubt.core.clock import SystemClock
from redoubt.core.db import Database, migrate
from redoubt.core.keys import Keyring
from redoubt.core.redact import Redactor
from redoubt.core.secrets import Secret
from redoubt.core.settings import Settings
from tests.conftest import all_domains

from .model import SHOP, WIDER, policies, source

TOML = (
    '[app]\nname = "test"\nprofile = "development"\nbase_url = "https://test.localhost:8443"\n'
    '[keys]\nmaster = "file:var/keys/master.key"\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from redoubt.core.files import write_private
    from redoubt.core.ids import SystemIds

    (tmp_path / "redoubt.toml").write_text(TOML)
    settings = Settings.load(tmp_path, {})
    (tmp_path / "var" / "keys").mkdir(parents=True, mode=0o700)
    write_private(tmp_path / "var" / "keys" / "master.key", b"m" * 48)
    keys = Keyring.create(settings.keyring_path, settings.reveal(settings.master_ref))
    assert isinstance(settings.reveal(settings.master_ref), Secret)
    db = Database(settings.database_url().reveal())
    migrate(db, all_domains())
    clock = SystemClock()
    core = Core(settings, db, clock, SystemIds(clock), keys, Redactor(keys.mac("redact")))

    def begin(tx: object) -> None:
        versions.genesis(tx, core, policies())  # type: ignore[arg-type]
        Roles(core).assign(tx, "main", "u1", "customer", "self-sign-up")  # type: ignore[arg-type]

    db.write_sync(begin)
    operator = AuthzRequest.of(
        Caller(user_id="o1").principal(), "Console.view", app_entity("main"), {"risk": 0, "step_up": False}
    )
    event = decision_event(
        Caller(user_id="o1"), "Console.view", ("App", "app"), Decider(policies()).decide(operator)
    )
    entry = db.write_sync(lambda tx: record(tx, core, event))
    (tmp_path / "entry").write_text(entry)
    db.write_sync(
        lambda tx: tx.execute(
            sa.text(
                "INSERT INTO identity_users (id, tenant, handle, email, email_verified_at, epoch, created_at)"
                " VALUES ('0190aaaa-0000-7000-8000-000000000001', 'main', x'01', 'op@example.org', 1, 0, 1)"
            )
        )
    )
    db.close()
    (tmp_path / "policies").mkdir()
    wider = source(WIDER)
    (tmp_path / "policies" / "app.cedarschema").write_text(wider.schema)
    for name, text in wider.policies.items():
        (tmp_path / "policies" / name).write_text(text)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_decide_answers_by_the_head_with_stored_roles(folder: Path) -> None:
    asked = [
        "decide",
        folder,
        "--action",
        "Order.read",
        "--resource",
        "Order:1",
        "--owner",
        "u1",
        "--state",
        "paid",
    ]
    allowed = run(*asked, "--user", "u1")
    assert (allowed.exit_code, allowed.stdout) == (0, "ALLOW  Order.read:customer+own\n")
    assert run(*asked, "--user", "u2").exit_code == 3
    assert run(*asked).exit_code == 3
    answer = json.loads(run(*asked, "--user", "u1", "--json").stdout)
    assert answer["version"] == policies().version


def test_decide_by_a_folder_shows_what_an_edit_would_allow(folder: Path) -> None:
    asked = [
        "decide", folder, "--action", "Order.update", "--resource", "Order:1", "--owner", "u1", "--state", "draft",
        "--user", "s", "--role", "support", "--step-up",
    ]  # fmt: skip
    assert run(*asked).exit_code == 3
    assert run(*asked, "--policies", folder / "policies").exit_code == 0


def test_explain_names_the_first_failed_condition(folder: Path) -> None:
    answer = run(
        "explain", folder, "--action", "Payment.refund", "--resource", "Payment:1", "--user", "f",
        "--role", "finance", "--step-up", "--amount", "10001",
    )  # fmt: skip
    assert answer.exit_code == 3
    assert "failed on amount" in answer.stdout


def test_history_and_show_name_the_version(folder: Path) -> None:
    answer = run("history", folder)
    assert policies().version[:12] in answer.stdout
    assert "genesis" in answer.stdout
    shown = run("show", folder, policies().version[:8])
    assert '@id("Order.read:customer+own")' in shown.stdout
    assert "entity Order" in run("show", folder, "--schema").stdout


def test_a_recorded_decision_is_replayed(folder: Path) -> None:
    answer = run("replay", folder, (folder / "entry").read_text())
    assert answer.exit_code == 0
    assert "decided the same again" in answer.stdout


def test_a_proposal_waits_for_a_second_person_and_needs_a_known_author(folder: Path) -> None:
    answer = run("propose", folder, "--by", "OP@example.org", "--ticket", "T-1")
    assert answer.exit_code == 3, answer.output
    assert answer.stdout.startswith("wider: ")
    assert "User · Order.update · Order: allows a request that was denied" in answer.stdout
    assert "gain at User · Order.update · Order: nobody" in answer.stdout
    assert "dry run: of 1 recorded decisions 0 would turn from deny to allow" in answer.stdout
    assert "waits for a second person" in answer.stdout
    assert "added    Order.update:support+step-up" in answer.stdout
    assert len(run("history", folder).stdout.splitlines()) == 1
    for stranger in ("nobody@example.org", "0190aaaa-0000-7000-8000-00000000000f"):
        assert run("propose", folder, "--by", stranger, "--ticket", "T-1").exit_code == 2


def test_a_rehearsal_shows_what_would_turn_and_writes_nothing(folder: Path) -> None:
    answer = run("rehearse", folder)
    assert answer.exit_code == 3
    assert answer.stdout.startswith("wider: ")
    assert "dry run: of 1 recorded decisions 0 would turn from deny to allow" in answer.stdout
    found = json.loads(run("rehearse", folder, "--json").stdout)
    assert (found["verdict"], found["passes"], found["rehearsal"]["decisions"]) == ("wider", False, 1)
    kept = source(
        AccessModel(SHOP.roles, SHOP.resources, [a for a in SHOP.actions if a.name != "Console.view"])
    )
    (folder / "policies" / "app.cedarschema").write_text(kept.schema)
    for name, text in kept.policies.items():
        (folder / "policies" / name).write_text(text)
    taken = json.loads(run("rehearse", folder, "--json").stdout)
    assert (taken["verdict"], taken["keepers"], taken["passes"]) == ("narrower", ["Console.view"], False)
    assert len(run("history", folder).stdout.splitlines()) == 1


def test_a_widening_needs_a_ticket(folder: Path) -> None:
    answer = run("propose", folder, "--by", "op@example.org")
    assert isinstance(answer.exception, ReviewRequired)


def test_a_narrowing_runs_at_once_and_its_way_back_waits(folder: Path) -> None:
    kept = [
        Action(a.name, a.resource, a.scope, a.allow[:1]) if a.name == "Payment.read" else a
        for a in SHOP.actions
    ]
    for name, text in source(AccessModel(SHOP.roles, SHOP.resources, tuple(kept))).policies.items():
        (folder / "policies" / name).write_text(text)
    answer = run("propose", folder, "--by", "op@example.org", "--note", "less")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.startswith("narrower: ")
    assert "runs now" in answer.stdout
    assert len(run("history", folder).stdout.splitlines()) == 2
    back = run("rollback", folder, policies().version[:12], "--by", "op@example.org", "--ticket", "T-2")
    assert (back.exit_code, back.stdout.splitlines()[0].partition(":")[0]) == (3, "wider")


def test_a_roll_back_to_what_runs_or_to_nothing_is_refused(folder: Path) -> None:
    for version in (policies().version, "ffff"):
        answer = run("rollback", folder, version, "--by", "op@example.org", "--ticket", "T")
        assert answer.exit_code == 1
        assert answer.exception is not None
    assert len(run("history", folder).stdout.splitlines()) == 1
