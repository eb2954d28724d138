"""Commands from one warm process: the same answers as from a fresh one, and nothing left behind for the next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from redoubt.core.forkserver import ForkServer
from redoubt.verify.launch import child_environment
from redoubt.verify.warm import run
from redoubt.verify.warm import warm as warmed

COMMANDS = [["controls", "list"], ["--version"], ["audit", "list", "--dir", "nowhere"], ["nonsense"], []]


@pytest.fixture(scope="module")
def warm() -> Iterator[ForkServer]:
    server = warmed(child_environment({}, []))
    yield server
    server.close()


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_command_says_and_ends_as_from_a_fresh_process(
    warm: ForkServer, tmp_path: Path, arguments: list[str]
) -> None:
    environment = child_environment({}, [])
    fresh = subprocess.run(
        [sys.executable, "-c", "from redoubt.cli import main; main()", *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    done = run(warm, arguments, str(tmp_path), environment, 60)
    assert done.returncode == fresh.returncode
    assert done.stdout == fresh.stdout.replace("Usage: -c", "Usage: redoubt")
    assert done.stderr.replace("redoubt", "-c") == fresh.stderr.replace("redoubt", "-c")


def test_each_call_has_its_own_environment_and_folder(warm: ForkServer, tmp_path: Path) -> None:
    for value in ("nonsense", "other"):
        (tmp_path / value).mkdir()
        environment = child_environment({"REDOUBT_APP__STATE_DIR": str(tmp_path / value / "state")}, [])
        done = run(warm, ["audit", "list"], str(tmp_path / value), environment, 60)
        assert done.returncode != 0
        assert not done.stdout
    assert "REDOUBT_APP__STATE_DIR" not in os.environ


def test_calls_from_several_threads_get_their_own_answers(warm: ForkServer, tmp_path: Path) -> None:
    environment = child_environment({}, [])
    ids = ["IDN-1", "AUZ-1", "WHK-1", "PAY-1", "SUP-1", "OPS-1", "VAL-1", "IDN-9"]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(
            lambda one: run(warm, ["controls", "explain", one], str(tmp_path), environment, 60), ids
        )
        for control, done in zip(ids, answers, strict=True):
            assert control in done.stdout, done.stderr


def test_a_command_that_takes_too_long_is_ended(warm: ForkServer, tmp_path: Path) -> None:
    held = tmp_path / "pipe"
    os.mkfifo(held)
    with pytest.raises((subprocess.TimeoutExpired, TimeoutError)):
        run(warm, ["spec", "check", str(held)], str(tmp_path), child_environment({}, []), 1.0)
    assert run(warm, ["--version"], str(tmp_path), child_environment({}, []), 60).returncode == 0


def test_a_server_that_is_gone_is_an_error_and_no_answer(tmp_path: Path) -> None:
    server = warmed(child_environment({}, []))
    server.close()
    with pytest.raises(OSError, match=r"."):
        run(server, ["--version"], str(tmp_path), child_environment({}, []), 5)
