"""A fork server: what it forks has its own folder, environment, streams and group, and never outlives it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redoubt.core.forkserver import ForkServer

MODULE = """
import json, os, sys, time
LOADED_BY = os.getpid()
def main():
    what = sys.argv[1]
    if what == "say":
        print(json.dumps({
            "argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "pid": os.getpid(), "group": os.getpgrp(),
            "session": os.getsid(0), "stdin": sys.stdin.read(), "here": LOADED_BY == os.getpid(),
            "fds": sorted(os.listdir("/proc/self/fd")),
        }))
    if what == "fail":
        sys.exit("no database here")
    if what == "code":
        return int(sys.argv[2])
    if what == "raise":
        raise RuntimeError("a fault")
    if what == "sleep":
        time.sleep(60)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "forked_module.py").write_text(MODULE)
    path = [str(tmp_path / "lib"), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "A_SECRET": "of the caller"}


@pytest.fixture
def forks(environment: dict[str, str]) -> Iterator[ForkServer]:
    server = ForkServer.start(["forked_module"], environment)
    yield server
    server.close()


def ran(
    server: ForkServer, cwd: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return server.run("forked_module", ["forked_module", *arguments], cwd, environment, 60)


def gone(pid: int) -> bool:
    return wait_for(
        lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()
    )


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except FileNotFoundError:
            continue
        time.sleep(0.02)
    return False


def test_a_child_has_exactly_what_it_was_given(forks: ForkServer, tmp_path: Path) -> None:
    done = ran(forks, tmp_path, "say", ONLY="this")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["argv"] == ["forked_module", "say"]
    assert said["cwd"] == str(tmp_path)
    assert said["env"] == {"ONLY": "this"}
    assert said["pid"] == said["group"] == said["session"]
    assert said["stdin"] == ""
    assert not said["here"], "it was imported again"
    assert said["fds"] == ["0", "1", "2", "3"]  # the last is the listing's own


def test_the_server_keeps_no_secret_of_its_caller(forks: ForkServer, tmp_path: Path) -> None:
    ran(forks, tmp_path, "say")
    environ = Path(f"/proc/{forks._process.pid}/environ").read_bytes()
    assert b"PYTHONPATH=" in environ
    assert b"A_SECRET" not in environ


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("code", "0"), 0, ""),
        (("code", "7"), 7, ""),
        (("fail",), 1, "no database here"),
        (("raise",), 1, "RuntimeError: a fault"),
    ],
)
def test_it_ends_as_an_interpreter_does(
    forks: ForkServer,
    tmp_path: Path,
    environment: dict[str, str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    done = ran(forks, tmp_path, *arguments)
    fresh = subprocess.run(
        [sys.executable, "-m", "redoubt.start", "forked_module", *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (fresh.returncode, fresh.stdout) == (code, "")
    assert said in done.stderr
    assert said in fresh.stderr


def test_nothing_stays_for_the_next(forks: ForkServer, tmp_path: Path) -> None:
    ran(forks, tmp_path, "say", FIRST="1")
    assert "FIRST" not in ran(forks, tmp_path, "say").stdout


def sleeping(forks: ForkServer, cwd: Path) -> tuple[int, Callable[[], int | None]]:
    with open(os.devnull, "wb") as out:
        child = forks.spawn("forked_module", ["forked_module", "sleep"], cwd, {}, out.fileno(), out.fileno())
    return child.pid, child.poll


def test_a_killed_child_is_reported(forks: ForkServer, tmp_path: Path) -> None:
    pid, poll = sleeping(forks, tmp_path)
    assert poll() is None
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: poll() is not None)
    assert poll() == -signal.SIGKILL


@pytest.mark.parametrize("end", ["close", "kill"])
def test_children_end_with_the_server(forks: ForkServer, tmp_path: Path, end: str) -> None:
    pid, poll = sleeping(forks, tmp_path)
    if end == "close":
        forks.close()
    else:
        forks._process.kill()
    assert gone(pid)
    assert wait_for(lambda: poll() is not None)


def test_a_child_ends_with_what_waits_for_it(forks: ForkServer, tmp_path: Path) -> None:
    pid, poll = sleeping(forks, tmp_path)
    waiter = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(waiter, signal.SIGKILL)
    assert gone(pid)
    assert wait_for(lambda: poll() is not None)
    assert poll() == -signal.SIGKILL


def test_a_process_with_many_open_files_can_fork(forks: ForkServer, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2048), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert max(files) > 1023, "the test opens too few"
        assert ran(forks, tmp_path, "code", "7").returncode == 7
    finally:
        for one in files:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_takes_too_long_is_killed(forks: ForkServer, tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run("forked_module", ["forked_module", "sleep"], tmp_path, {}, 0.5)
    assert ran(forks, tmp_path, "code", "0").returncode == 0


def test_whoever_runs_what_cannot_be_imported_hears_why(tmp_path: Path, environment: dict[str, str]) -> None:
    server = ForkServer.start(["no_such_module_anywhere", "forked_module"], environment)
    done = server.run("no_such_module_anywhere", ["no_such_module_anywhere"], tmp_path, {}, 60)
    assert done.returncode == 1
    assert "No module named 'no_such_module_anywhere'" in done.stderr
    assert ran(server, tmp_path, "code", "0").returncode == 0
    server.close()


def test_a_server_that_is_gone_is_an_error(tmp_path: Path, environment: dict[str, str]) -> None:
    closed = ForkServer.start([], environment)
    closed.close()
    with pytest.raises(OSError, match=r"."):
        ran(closed, tmp_path, "code", "0")


def test_a_call_that_is_too_long_is_refused(forks: ForkServer, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        ran(forks, tmp_path, "say", LONG="x" * (1 << 17))
