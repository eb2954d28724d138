"""The supervisor: what dies is started again, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redoubt.core.forkserver import ForkServer
from redoubt.runtime.supervisor import PLACE, Service, StartError, Supervisor, python


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


def wait_for(condition: object, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def sleeper(tmp_path: Path) -> Service:
    marker = tmp_path / "started"
    code = f"import pathlib, time; pathlib.Path({str(marker)!r}).touch(); time.sleep(60)"
    return Service("sleeper", [sys.executable, "-c", code], marker.exists)


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "log", dict(os.environ))
    try:
        supervisor.start(sleeper(tmp_path))
        first = supervisor.pids["sleeper"]
        os.kill(first, signal.SIGKILL)
        restarted: list[int] = []
        deadline = time.monotonic() + 10
        supervisor.watch(lambda: bool(restarted) or time.monotonic() > deadline, lambda: restarted.append(1))
        assert restarted
        assert supervisor.pids["sleeper"] != first
        assert alive(supervisor.pids["sleeper"])
    finally:
        supervisor.stop()


def test_stopping_ends_the_whole_group(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "log", dict(os.environ))
    marker = tmp_path / "grandchild"
    code = (
        "import subprocess, sys, pathlib, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(marker)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)"
    )
    supervisor.start(
        Service("parent", [sys.executable, "-c", code], lambda: marker.exists() and marker.read_text() != "")
    )
    grandchild = int(marker.read_text())
    supervisor.stop()
    assert wait_for(lambda: not alive(grandchild))


def test_a_process_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "log", dict(os.environ))
    service = Service("broken", [sys.executable, "-c", "raise SystemExit('no database here')"], lambda: False)
    with pytest.raises(StartError, match="no database here"):
        supervisor.start(service)
    supervisor.stop()


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, sys, pathlib, time\n"
        "from redoubt.runtime.supervisor import Service, Supervisor\n"
        f"s = Supervisor(pathlib.Path({str(tmp_path / 'log')!r}), dict(os.environ))\n"
        "s.start(Service('child', [sys.executable, '-c', 'import time; time.sleep(60)'], lambda: True))\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(s.pids['child']))\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    assert wait_for(lambda: pid_file.exists() and pid_file.read_text() != "")
    child = int(pid_file.read_text())
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not alive(child))


def test_an_empty_value_takes_a_variable_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"import os, pathlib, time; pathlib.Path({str(out)!r}).write_text(str('SECRET' in os.environ)); time.sleep(60)"
    supervisor = Supervisor(tmp_path / "log", {**os.environ, "SECRET": "x"})
    service = Service(
        "env",
        [sys.executable, "-c", code],
        lambda: out.exists() and out.read_text() != "",
        environment={"SECRET": ""},
    )
    try:
        supervisor.start(service)
        assert out.read_text() == "False"
    finally:
        supervisor.stop()


def test_a_place_outlives_its_process_and_is_nobody_elses(tmp_path: Path) -> None:
    """It is the supervisor's to give: what it inherits, or a service says, is not kept."""
    out = tmp_path / "places"
    code = (
        "import os, pathlib, sys, time\n"
        f"with pathlib.Path({str(out)!r}).open('a') as file:\n"
        "    file.write(sys.argv[1] + ' ' + os.environ['REDOUBT_PLACE'] + '\\n')\n"
        "time.sleep(60)"
    )

    def said(name: str) -> list[str]:
        lines = out.read_text().splitlines() if out.exists() else []
        return [line.split()[1] for line in lines if line.split()[0] == name]

    def service(name: str) -> Service:
        command = [sys.executable, "-c", code, name]
        return Service(name, command, lambda: bool(said(name)), environment={PLACE: "another's"})

    supervisors = [Supervisor(tmp_path / f"log{n}", {**os.environ, PLACE: "inherited"}) for n in range(2)]
    try:
        supervisors[0].start(service("worker"), service("other"))
        supervisors[1].start(service("elsewhere"))
        os.kill(supervisors[0].pids["worker"], signal.SIGKILL)
        deadline = time.monotonic() + 10
        supervisors[0].watch(lambda: len(said("worker")) > 1 or time.monotonic() > deadline)
        first, second = said("worker")
        assert first == second
        assert len({first, *said("other"), *said("elsewhere"), "inherited", "another's"}) == 5
    finally:
        for one in supervisors:
            one.stop()


def test_services_start_side_by_side(tmp_path: Path) -> None:
    """Each ends its start only once it has seen the other: one after the other neither would."""
    supervisor = Supervisor(tmp_path / "log", dict(os.environ))
    first, second = tmp_path / "first", tmp_path / "second"
    code = (
        "import pathlib, sys, time\n"
        "mine, other = map(pathlib.Path, sys.argv[1:])\n"
        "mine.with_suffix('.here').touch()\n"
        "while not other.with_suffix('.here').exists(): time.sleep(0.01)\n"
        "mine.touch()\n"
        "time.sleep(60)"
    )
    try:
        supervisor.start(
            Service("first", [sys.executable, "-c", code, str(first), str(second)], first.exists),
            Service("second", [sys.executable, "-c", code, str(second), str(first)], second.exists),
        )
        assert sorted(supervisor.pids) == ["first", "second"]
    finally:
        supervisor.stop()


_SLEEPER = """
import os, pathlib, subprocess, sys, time
def main():
    where = pathlib.Path(sys.argv[1])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (where / "grandchild").write_text(str(child.pid))
    (where / "said").write_text(os.environ.get("SECRET", "nothing"))
    print("it began", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[ForkServer]:
    (tmp_path / "forked_sleeper.py").write_text(_SLEEPER)
    paths = [str(tmp_path), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])]
    server = ForkServer.start(["forked_sleeper"], {**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    yield server
    server.close()


def forked_sleeper(tmp_path: Path, **environment: str) -> Service:
    said = tmp_path / "said"
    said.unlink(missing_ok=True)
    command = python("forked_sleeper", str(tmp_path))
    return Service(
        "sleeper", command, lambda: said.exists() and said.read_text() != "", environment, tmp_path
    )


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_module_of_ours_is_forked_and_started_again(tmp_path: Path, forks: ForkServer) -> None:
    supervisor = Supervisor(tmp_path / "log", {**os.environ, "SECRET": "x"}, forks)
    try:
        supervisor.start(forked_sleeper(tmp_path, SECRET="of this service"))
        first = supervisor.pids["sleeper"]
        assert parent_of(first) != os.getpid()
        assert (tmp_path / "said").read_text() == "of this service"
        assert "it began" in (tmp_path / "log" / "sleeper.log").read_text()
        grandchild = int((tmp_path / "grandchild").read_text())
        os.kill(first, signal.SIGKILL)
        restarted: list[int] = []
        deadline = time.monotonic() + 20
        supervisor.watch(lambda: bool(restarted) or time.monotonic() > deadline, lambda: restarted.append(1))
        assert restarted
        assert supervisor.pids["sleeper"] != first
        assert parent_of(supervisor.pids["sleeper"]) != os.getpid()
        assert wait_for(lambda: not alive(grandchild)), "what it had started outlives it"
    finally:
        supervisor.stop()


def test_stopping_ends_a_forked_one_and_its_group(tmp_path: Path, forks: ForkServer) -> None:
    supervisor = Supervisor(tmp_path / "log", dict(os.environ), forks)
    supervisor.start(forked_sleeper(tmp_path))
    pids = supervisor.pids["sleeper"], int((tmp_path / "grandchild").read_text())
    supervisor.stop()
    assert wait_for(lambda: not any(alive(pid) for pid in pids))


def test_where_the_fork_server_is_gone_all_are_started_without_it(tmp_path: Path, forks: ForkServer) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    }
    supervisor = Supervisor(tmp_path / "log", environment, forks)
    try:
        supervisor.start(forked_sleeper(tmp_path))
        forks.close()
        restarted: list[int] = []
        deadline = time.monotonic() + 20
        supervisor.watch(lambda: bool(restarted) or time.monotonic() > deadline, lambda: restarted.append(1))
        assert restarted
        assert parent_of(supervisor.pids["sleeper"]) == os.getpid()
    finally:
        supervisor.stop()
