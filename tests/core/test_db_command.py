"""`redoubt db`: what it lists of a database on SQLite and PostgreSQL, and what it does not pretend to know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redoubt.build.builder import build
from redoubt.cli.db import app
from redoubt.core.db import Database

RELAY = Path(__file__).parents[2] / "examples" / "relay" / "spec.yaml"
run = CliRunner().invoke


@pytest.fixture
def relay(db: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app's folder whose database is this test's."""
    build(RELAY, tmp_path / "relay")
    url = database_url.replace("postgresql+psycopg:", "postgresql:")
    monkeypatch.setenv("REDOUBT_DATABASE__URL", url)
    monkeypatch.setenv("REDOUBT_APP__STATE_DIR", str(tmp_path / "var"))
    return tmp_path / "relay"


def test_tables_are_listed_with_their_columns(relay: Path) -> None:
    done = run(app, ["tables", str(relay), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {"jobs", "audit_entries", "role_steps"} <= set(found)
    assert {"id", "payload", "state"} <= set(found["jobs"])
    assert f"role_steps ({', '.join(found['role_steps'])})" in run(app, ["tables", str(relay)]).stdout


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_use_that_is_not_recorded_is_not_taken_for_none(relay: Path) -> None:
    done = run(app, ["unused", str(relay), "--json"])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "on SQLite only" in done.stderr
