"""The command line shows, verifies, replays and rotates, and leaves its trace in the audit log."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from redoubt.cli.webhooks import app
from redoubt.core.clock import SystemClock
from redoubt.core.db import Database, migrate
from redoubt.core.secrets import Secret
from redoubt.webhooks.models import EndpointConfig
from redoubt.webhooks.service import Webhooks
from tests.conftest import all_domains
from tests.support.core import make_core

from .conftest import WHSEC, actions, file_ref, payload, standard, write_effect

SETTINGS = """
[app]
name = "test"
profile = "development"
base_url = "https://test.localhost:8443"
[keys]
master = "file:master.key"
file = "keyring"
"""


@pytest.fixture
async def home(tmp_path):
    """An app's folder with one delivery in it."""
    home = tmp_path / "home"
    db = Database(f"sqlite:///{home / 'var' / 'app.db'}")
    migrate(db, all_domains())
    core = make_core(db, SystemClock(), home, SETTINGS)
    file_ref(core, "master.key", Secret(b"k" * 32).reveal())
    hooks = Webhooks(
        core, [EndpointConfig("partner", "standard", [file_ref(core, "p.key", WHSEC)], write_effect)]
    )
    await hooks.start()
    body = payload()
    received = await hooks.receive("partner", standard(body, core.clock.now()), body)
    yield home, core, received.id
    db.close()


def run(home, *arguments):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(home)], catch_exceptions=False)
    return result.exit_code, result.stdout


def test_a_delivery_is_listed_shown_and_read_back_byte_for_byte(home):
    where, core, delivery = home
    code, out = run(where, "list", "--json")
    assert (code, [row["id"] for row in json.loads(out)]) == (0, [delivery])
    assert delivery in run(where, "list", "--endpoint", "partner", "--state", "accepted")[1]
    assert delivery not in run(where, "list", "--state", "dead")[1]
    code, out = run(where, "show", delivery)
    assert json.loads(out)["endpoint"] == "partner"
    assert "evt_1" not in out
    result = CliRunner().invoke(app, ["show", delivery, "--raw", "--dir", str(where)])
    assert result.stdout_bytes == payload()
    assert actions(core).count("webhook.raw.read") == 1


def test_rotation_shows_the_secret_once_and_verification_still_holds_as_of_its_time(home):
    where, core, delivery = home
    code, made = run(where, "rotate", "partner", "--overlap", "0")
    assert code == 0
    assert "whsec_" in made
    assert run(where, "verify", delivery, "--at-received")[0] == 0
    assert run(where, "verify", delivery)[0] == 1
    assert actions(core).count("webhook.reverified") == 2


def test_a_dead_delivery_is_replayed_and_a_held_one_is_kept(home):
    where, core, delivery = home
    core.db.write_sync(lambda tx: tx.execute(sa.text("UPDATE webhook_inbox SET state = 'dead'")))
    assert run(where, "replay", delivery)[0] == 0
    assert run(where, "hold", delivery)[1].strip() == "held"
    assert run(where, "hold", delivery, "--release")[1].strip() == "released"
    assert {"webhook.replayed", "webhook.held", "webhook.released"} <= set(actions(core))
