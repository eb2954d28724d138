"""What `redoubt run` chooses for a development run, and what the environment's own values do to it."""

from __future__ import annotations

from pathlib import Path

from redoubt.core.settings import Settings
from redoubt.runtime.launch import RunOptions, _addresses_for

TOML = '[app]\nname = "shop"\nprofile = "development"\n[charge]\nprovider_key = "env:KEY"\n'


def chosen(folder: Path, environment: dict[str, str]) -> Settings:
    (folder / "redoubt.toml").write_text(TOML)
    settings = Settings.load(folder, environment)
    more = _addresses_for(settings, environment, RunOptions(folder, port=0, environment=environment))
    return Settings.load(folder, {**environment, **more})


def test_private_hosts_of_the_environment_stand_beside_our_own(tmp_path: Path) -> None:
    settings = chosen(tmp_path, {"REDOUBT_EGRESS__PRIVATE": "127.0.0.1:7001"})
    own = {
        settings.charge.address.removeprefix("https://"),
        settings.charge.provider_url.removeprefix("http://"),
    }
    assert set(settings.egress.private) == {"127.0.0.1:7001", *own}


def test_what_the_environment_gives_wins(tmp_path: Path) -> None:
    settings = chosen(tmp_path, {"REDOUBT_SERVER__MAILBOX_PORT": "8123"})
    assert settings.server.mailbox_port == 8123
