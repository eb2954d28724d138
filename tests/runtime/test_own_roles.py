"""Each process of a run on PostgreSQL has a role of its own, and is told no other's address."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from redoubt.core.settings import Settings
from redoubt.runtime.launch import _base_environment, _charge_environment
from redoubt.runtime.own_roles import FILE, development_roles, hidden_from

OWNER = "postgresql://owner:secret@db.example/shop"
CHARGE = "postgresql://owner:secret@db.example/money"


def settings(folder: Path, profile: str, more: dict[str, str]) -> tuple[Settings, dict[str, str]]:
    (folder / "redoubt.toml").write_text(
        f'[app]\nname = "shop"\nprofile = "{profile}"\nbase_url = "https://shop.example"\n'
        '[database]\nurl = "env:OWNER"\n[charge]\ndatabase = "env:MONEY"\nprovider_key = "env:PROVIDER"\n'
    )
    (folder / "var").mkdir(exist_ok=True)
    environment = {"OWNER": OWNER, "MONEY": CHARGE, "PROVIDER": "sk_test_x", **more}
    return Settings.load(folder, environment), environment


def test_in_development_each_process_gets_a_role_and_keeps_its_password(tmp_path: Path) -> None:
    before, environment = settings(tmp_path, "development", {})
    made = development_roles(before, charges=True)
    assert made == development_roles(before, charges=True)
    after = Settings.load(tmp_path, environment | made)
    urls = {
        "app": after.database_url("app"), "worker": after.database_url("worker"), "charge": after.charge_database_url("charge"),
    }  # fmt: skip
    parsed = {process: sa.make_url(url.reveal()) for process, url in urls.items()}
    assert {process: (url.username, url.database) for process, url in parsed.items()} == {
        "app": ("shop_app", "shop"),
        "worker": ("shop_worker", "shop"),
        "charge": ("money_charge", "money"),
    }
    assert len({url.password for url in parsed.values()} | {"secret"}) == 4
    assert after.database_url().reveal() == OWNER
    assert stat.S_IMODE((tmp_path / "var" / FILE).stat().st_mode) == 0o600


def test_elsewhere_nothing_is_made_up(tmp_path: Path) -> None:
    production, _ = settings(tmp_path, "production", {})
    assert development_roles(production, charges=True) == {}
    own = {"REDOUBT_DATABASE__URL": "sqlite:///x.db", "REDOUBT_CHARGE__DATABASE": "sqlite:///y.db"}
    sqlite, _ = settings(tmp_path, "development", own)
    assert development_roles(sqlite, charges=True) == {}


@pytest.mark.parametrize("process", ["app", "worker", "charge"])
def test_no_process_is_told_the_owners_address_nor_anothers(tmp_path: Path, process: str) -> None:
    before, environment = settings(tmp_path, "development", {})
    environment |= development_roles(before, charges=True)
    after = Settings.load(tmp_path, environment)
    if process == "charge":
        told = _charge_environment(after, environment)
    else:
        told = {
            name: value
            for name, value in _base_environment(after, environment).items()
            if name not in hidden_from(after, process)
        }
    addresses = {sa.make_url(value).username for value in told.values() if value.startswith("postgresql://")}
    assert addresses == {{"app": "shop_app", "worker": "shop_worker", "charge": "money_charge"}[process]}
