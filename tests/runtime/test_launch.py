"""What `redoubt run` chooses for a development run, and what the environment's own values do to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from redoubt.core.forkserver import ForkServer
from redoubt.core.settings import Settings
from redoubt.runtime import launch
from redoubt.runtime.launch import RunOptions, _addresses_for, _once, running
from redoubt.runtime.supervisor import StartError

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


@pytest.mark.parametrize(("profile", "forking"), [("development", True), ("production", False)])
def test_only_a_development_run_forks_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, forking: bool
) -> None:
    """In production processes share neither the layout of their memory nor the seed of their hashes."""
    started: list[ForkServer] = []
    start = ForkServer.start

    def seen(*given: object) -> ForkServer:
        started.append(start([], {}))
        return started[-1]

    def no_further(_: Settings) -> None:
        raise StartError("far enough")

    monkeypatch.setattr(launch.ForkServer, "start", seen)
    monkeypatch.setattr(launch, "make_state_folder", no_further)
    (tmp_path / "redoubt.toml").write_text(f'[app]\nname = "shop"\nprofile = "{profile}"\n')
    with pytest.raises(StartError, match="far enough"), running(RunOptions(tmp_path, environment={}), str):
        pass
    assert len(started) == forking
    assert all(one._process.poll() is not None for one in started), "it outlives the run"


def test_where_the_fork_server_is_gone_the_first_start_needs_none(tmp_path: Path) -> None:
    (tmp_path / "initialises.py").write_text("import sys\ndef main():\n    print(sys.argv[1:])\n")
    paths = [str(tmp_path), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    gone = ForkServer.start([], environment)
    gone.close()
    said = _once(tmp_path, environment, "the app", gone, "initialises", "--init")
    assert said.split() == ["['--init',", "'--dir',", f"'{tmp_path}']"]
