"""A private copy of an app with empty data: started by its target file's command, always stopped at the end."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from attrs import define

from .errors import TargetInvalid, TargetUnreachable
from .target import Start

_LEFT_OUT = (
    ".git", ".venv", "venv", "node_modules", "__pycache__", "var", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    "*.db", "*.sqlite", "*.sqlite3", "*.db-wal", "*.db-shm",
)  # fmt: skip
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 12.0


@define(eq=False)
class Running:
    """A started copy: its folder, its port, the ready file's content, and the end of its output."""

    folder: Path
    port: int
    ready_file: Path | None
    process: subprocess.Popen[bytes]
    log: Path
    secrets: Mapping[str, str]

    def ready(self) -> dict[str, Any]:
        """Return the ready file as it is now: process ids change when a supervisor starts one again."""
        if self.ready_file is None or not self.ready_file.exists():
            return {}
        with contextlib.suppress(ValueError):
            found: dict[str, Any] = json.loads(self.ready_file.read_text())
            return found
        return {}

    def variables(self) -> dict[str, str]:
        """Return what `{...}` in the target file stands for."""
        return {"dir": str(self.folder), "port": str(self.port), "python": sys.executable}


@contextlib.contextmanager
def launched(start: Start, source: Path, progress: Callable[[str], None]) -> Iterator[Running]:
    """Copy `source` without its data, start it in a process group of its own, and yield it once it is ready.

    Raises TargetUnreachable with the end of its output when it does not come up. The group is ended in every case.
    """
    scratch = Path(tempfile.mkdtemp(prefix="redoubt-verify-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        folder = scratch / "app"
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
        ready_file = scratch / "ready.json" if start.ready == "{ready}" else None
        made = {name: os.urandom(24).hex() for name in start.secrets}
        running = Running(folder, free_port(), ready_file, None, scratch / "output.log", made)  # type: ignore[arg-type]
        progress("starting a private copy with empty data")
        process = running.process = _spawn(start, running)
        _wait(start, running)
        yield running
    finally:
        if process is not None:
            stop(process)
        shutil.rmtree(scratch, ignore_errors=True)


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Return `text` with `{name}` replaced; unknown names stay."""
    for name, value in variables.items():
        text = text.replace("{" + name + "}", value)
    return text


def command_line(command: list[str], variables: Mapping[str, str]) -> list[str]:
    """Return a command of the target file ready to run; `redoubt` means this very installation."""
    filled = [fill(part, variables) for part in command]
    if filled[0] == "redoubt":
        return [sys.executable, "-c", "from redoubt.cli import main; main()", *filled[1:]]
    return filled


def child_environment(more: Mapping[str, str], passed: list[str]) -> dict[str, str]:
    """Return the environment of what we start: the machine's, the named, the given; none of the caller's secrets."""
    kept = {name: os.environ[name] for name in (*_INHERITED, *passed) if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}


def _spawn(start: Start, running: Running) -> subprocess.Popen[bytes]:
    variables = running.variables() | {"ready": str(running.ready_file or "")}
    environment = child_environment(
        {name: fill(value, variables) for name, value in start.env.items()}
        | {"PORT": str(running.port), **running.secrets},
        start.pass_env,
    )
    command = command_line(start.command, variables)
    libc = ctypes.CDLL(None, use_errno=True)
    with running.log.open("wb") as out:
        try:
            return subprocess.Popen(
                command,
                cwd=running.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
            )
        except OSError as error:
            raise TargetInvalid(f"start.command cannot be run: {error.strerror}.", hint=command[0]) from None


def _wait(start: Start, running: Running) -> None:
    deadline = time.monotonic() + start.timeout
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            break
        if running.ready() if running.ready_file else _answers(running.port, start.ready):
            return
        time.sleep(0.1)
    tail = running.log.read_text(errors="replace")[-1500:]
    raise TargetUnreachable("the app did not come up.", hint=f"The end of its output:\n{tail}")


def _answers(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2.0, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process group to end, wait, then kill what is left."""
    for number, patience in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
