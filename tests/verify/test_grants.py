"""Least privilege of a database role: one that owns the tables is found, one that has only what it uses is proven."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from redoubt.controls import Finding, Outcome, Verdict
from redoubt.verify import Options, verify
from tests.support.postgres import fresh_database

SOUND = Path(__file__).parents[1] / "foreign" / "sound"
_ASK = """
import sys, psycopg
with psycopg.connect(sys.argv[1]) as db:
    db.execute(sys.argv[2])
    db.rollback()
"""


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url) as url:
        plain = url.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(plain, autocommit=True) as db:
            for role in ("grants_owner", "grants_limited"):
                db.execute(f"DROP ROLE IF EXISTS {role}")
                db.execute(f"CREATE ROLE {role} LOGIN")
            db.execute("GRANT CREATE ON SCHEMA public TO grants_owner")
            db.execute("SET ROLE grants_owner")
            db.execute("CREATE TABLE notes (id INTEGER)")
            db.execute("RESET ROLE")
            db.execute("GRANT SELECT, INSERT ON notes TO grants_limited")
        yield plain
        with psycopg.connect(plain, autocommit=True) as db:
            db.execute("DROP OWNED BY grants_owner, grants_limited CASCADE")
            db.execute("DROP ROLE grants_owner, grants_limited")


def judged(database: str, role: str, tmp_path: Path) -> Finding:
    target = yaml.safe_load((SOUND / "target.yaml").read_text())
    as_role = database.replace("postgresql://redoubt@", f"postgresql://{role}@")
    assert role in as_role
    target["commands"] = {
        "db_statement": [sys.executable, "-c", _ASK, as_role, "{sql}"],
        "db_table": [sys.executable, "-c", "print('notes')"],
    }
    path = tmp_path / "target.yaml"
    path.write_text(yaml.safe_dump(target))
    return verify(Options(str(SOUND), target=path, only=("AUZ-5",), browser=False)).of("AUZ-5")


def test_a_role_that_has_only_what_it_uses_is_refused_everything_else(database: str, tmp_path: Path) -> None:
    finding = judged(database, "grants_limited", tmp_path)
    assert finding.verdict is Verdict.PROVEN, finding.reason


def test_a_role_that_owns_its_tables_may_drop_them_and_that_is_found(database: str, tmp_path: Path) -> None:
    finding = judged(database, "grants_owner", tmp_path)
    assert finding.verdict is Verdict.BROKEN, finding.reason
    (one,) = [one for one in finding.evidence if one.outcome is Outcome.BROKE]
    assert 'DROP TABLE "notes" is obeyed' in one.detail
    assert all(check.held for check in one.positives)
