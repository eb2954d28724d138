"""`redoubt payments` reads the charge database offline; a restricted PostgreSQL role cannot change the past."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from redoubt.audit import DOMAIN as AUDIT
from redoubt.cli.payments import app
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, NotGranted, migrate, roles
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.payments.charge import DOMAIN as CHARGE
from redoubt.payments.charge import ledger
from redoubt.payments.charge.ledger_verify import recorded_heads, verify
from redoubt.payments.charge.process import service_access
from redoubt.payments.charge.service import ChargeService
from tests.payments.support import Account, Charge, Person, pay, refund, refund_payload
from tests.support.core import make_core

APP = "spiffe://redoubt/app"


async def story(service: ChargeService) -> None:
    bob = Person("bob")
    await service.command(bob.enrolment(), APP)
    answer = await service.command(pay(), APP)
    payload = refund_payload(service.core, answer["intent"]["provider_payment"], 1000)
    assert (await service.command(refund(payload, bob), APP))["reason"] is None


@pytest.fixture
async def shop(tmp_path: Path, account: Account) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    core = make_core(Database(f"sqlite:///{folder / 'var' / 'charge.db'}"), ManualClock(), folder)
    migrate(core.db, [CORE, AUDIT, CHARGE])
    async with Charge(core, account) as service:
        await story(service)
    core.db.close()
    return folder


def test_a_sound_ledger_is_said_to_be_sound(shop: Path) -> None:
    result = CliRunner().invoke(app, ["ledger", "verify", str(shop), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert (told["sound"], told["entries"]) == (True, 3)
    assert (
        CliRunner().invoke(app, ["ledger", "verify", str(shop), "--head", told["heads"]["main"]]).exit_code
        == 0
    )
    wrong = "main:3:" + "a" * 64
    assert CliRunner().invoke(app, ["ledger", "verify", str(shop), "--head", wrong]).exit_code == 1
    assert CliRunner().invoke(app, ["ledger", "verify", str(shop), "--head", "x"]).exit_code == 2
    listed = CliRunner().invoke(app, ["list", str(shop)])
    assert "succeeded" in listed.output
    assert "50.00 EUR" in listed.output
    assert CliRunner().invoke(app, ["list", str(shop), "--state", "unknown", "--json"]).output.strip() == "[]"


@pytest.mark.parametrize("table", ["ledger_entries", "ledger_postings"])
def test_a_ledger_cut_short_behind_the_database_is_found(shop: Path, table: str) -> None:
    raw = sqlite3.connect(shop / "var" / "charge.db")
    for trigger in (f"{table}_no_delete", "ledger_postings_no_delete"):
        raw.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    if table == "ledger_entries":
        last = raw.execute("SELECT id FROM ledger_entries WHERE seq = 3").fetchone()[0]
        raw.execute("DELETE FROM ledger_postings WHERE entry = ?", (last,))
        raw.execute("DELETE FROM ledger_entries WHERE id = ?", (last,))
    else:
        raw.execute("DELETE FROM ledger_postings WHERE rowid = 1")
    raw.commit()
    raw.close()
    result = CliRunner().invoke(app, ["ledger", "verify", str(shop)])
    assert result.exit_code == 1
    assert "broken:" in result.output


async def test_every_posting_leaves_its_head_in_the_audit_log(service: ChargeService) -> None:
    await story(service)
    heads = service.core.db.read_sync(recorded_heads)
    assert [head.seq for head in sorted(heads, key=lambda head: head.seq)] == [1, 2, 3]
    assert service.core.db.read_sync(lambda tx: ledger.head(tx, "main")) in heads
    assert service.core.db.read_sync(lambda tx: verify(tx, known_heads=heads)).sound


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_restricted_role_serves_and_cannot_change_the_past(
    charge_core: Core, account: Account, database_url: str, tmp_path: Path
) -> None:
    role = "charge_" + tmp_path.name.lower()[-20:].replace("-", "_")
    charge_core.db.write_sync(lambda tx: tx.conn.exec_driver_sql(f'CREATE ROLE "{role}" LOGIN'))
    roles.grant(charge_core.db, service_access(), role)
    url = sa.make_url(database_url).set(username=role).render_as_string(hide_password=False)
    db = Database(url)
    try:
        core = make_core(db, ManualClock(), tmp_path / "restricted")
        async with Charge(core, account) as service:
            await story(service)
        for sql in (
            "UPDATE ledger_entries SET currency = 'USD'",
            "DELETE FROM ledger_postings",
            "TRUNCATE ledger_postings",
            "DELETE FROM charge_intents",
            "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
            "DROP TRIGGER ledger_entries_no_update ON ledger_entries",
            "ALTER TABLE ledger_entries DROP COLUMN hash",
            "SET LOCAL session_replication_role = replica",
        ):
            with pytest.raises(NotGranted):
                db.write_sync(lambda tx, sql=sql: tx.conn.exec_driver_sql(sql))
        assert db.read_sync(verify).sound
    finally:
        db.close()
        charge_core.db.write_sync(
            lambda tx: tx.conn.exec_driver_sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
        )
