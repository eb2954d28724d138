"""Starts an app's processes, restarts those that die, and stops them all together.

In production each is an interpreter of its own. In development what is a module of ours is forked by a server that has
imported it (`redoubt.core.forkserver`), and starts in a fraction of the time; where that server is gone, as in production.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen

from redoubt.core.clock import SystemClock
from redoubt.core.errors import RedoubtError
from redoubt.core.forkserver import ForkServer
from redoubt.core.ids import SystemIds

log = logging.getLogger("redoubt.supervisor")

PLACE = "REDOUBT_PLACE"
"""The variable by which a process knows its place: each that succeeds another, whose end was seen, has the same."""

_STOP_SECONDS = 8.0
_CALM_SECONDS = 20.0
_MAX_BACKOFF = 5.0
_PR_SET_PDEATHSIG = 1


class StartError(RedoubtError):
    """A process of the app did not come up."""

    code = "start"


class Process(Protocol):
    """What is asked of a child: a `subprocess.Popen`, or one that a fork server started."""

    @property
    def pid(self) -> int:
        """Its number, which is its group's, too."""
        ...

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        ...


_STARTER = ("-m", "redoubt.start")


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours."""
    return [sys.executable, *_STARTER, module, *arguments]


@frozen
class Service:
    """A process to run: its name, its command, and how to see that it is ready."""

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(factory=dict)
    cwd: Path | None = None


@define
class _Child:
    service: Service
    process: Process
    started: float
    failures: int = 0
    retry_at: float = 0.0


class Supervisor:
    """Runs services as children in groups of their own; a child never outlives the supervisor."""

    def __init__(
        self, log_folder: Path, environment: Mapping[str, str], forks: ForkServer | None = None
    ) -> None:
        """Log into `log_folder`; commands of `python` are forked by `forks`, if there is one and it answers."""
        self._forks = forks
        self._logs = log_folder
        self._environment = dict(environment)
        self._children: dict[str, _Child] = {}
        self._places = SystemIds(SystemClock()).token(12)
        log_folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def environment(self) -> dict[str, str]:
        """What every child inherits."""
        return dict(self._environment)

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each service, for operators and for tests that kill them."""
        return {name: child.process.pid for name, child in self._children.items()}

    def start(self, *services: Service, timeout: float = 60.0) -> None:
        """Start `services` side by side and wait until all are ready; raises StartError with the end of a log."""
        self.spawn(*services)
        self.await_ready(*services, timeout=timeout)

    def spawn(self, *services: Service) -> None:
        """Start `services` and wait for nothing; `await_ready` has to follow."""
        for service in services:
            self._children[service.name] = _Child(service, self._spawn(service), time.monotonic())

    def await_ready(self, *services: Service, timeout: float = 60.0) -> None:
        """Wait until services that were spawned are ready; raises StartError with the end of the log of one that is not."""
        deadline = time.monotonic() + timeout
        for service in services:
            while not service.ready():
                ended = self._children[service.name].process.poll() is not None
                if ended or time.monotonic() >= deadline:
                    raise StartError(
                        f"{service.name} did not start.",
                        hint=f"The end of its log:\n{self._tail(service.name)}",
                    )
                time.sleep(0.05)

    def watch(self, stop: Callable[[], bool], on_restart: Callable[[], None] | None = None) -> None:
        """Restart whatever dies, with back-off, until `stop()` says so."""
        while not stop():
            for child in self._children.values():
                self._revive(child, on_restart)
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask every process group to end, wait, then kill what is left."""
        for child in self._children.values():
            _signal_group(child.process, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for child in self._children.values():
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop in time", child.service.name)
            _signal_group(child.process, signal.SIGKILL)
            child.process.wait()
        self._children.clear()

    def _revive(self, child: _Child, on_restart: Callable[[], None] | None) -> None:
        status = child.process.poll()
        if status is None:
            return
        now = time.monotonic()
        if child.retry_at == 0.0:
            _signal_group(child.process, signal.SIGKILL)
            child.failures = 0 if now - child.started > _CALM_SECONDS else child.failures + 1
            wait = 0.0 if child.failures <= 3 else min(_MAX_BACKOFF, 0.2 * 2.0 ** (child.failures - 3))
            child.retry_at = now + wait
            log.warning("%s ended with %s; starting it again", child.service.name, status)
        if now >= child.retry_at:
            child.process = self._spawn(child.service)
            child.started, child.retry_at = now, 0.0
            if on_restart is not None:
                on_restart()

    def _spawn(self, service: Service) -> Process:
        path = self._logs / f"{service.name}.log"
        out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        environment = self._merged(service)
        try:
            return _forked(self._forks, service, environment, out) or _popen(service, environment, out)
        finally:
            os.close(out)

    def _merged(self, service: Service) -> dict[str, str]:
        """An empty value in a service's environment takes the variable away."""
        given = {name: value for name, value in {**self._environment, **service.environment}.items() if value}
        return given | {PLACE: f"{self._places}.{service.name}"}

    def _tail(self, name: str) -> str:
        path = self._logs / f"{name}.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""


def _forked(
    forks: ForkServer | None, service: Service, environment: Mapping[str, str], out: int
) -> Process | None:
    """Return the child that the server forked; None where there is no server, or it cannot run this."""
    program, *rest = service.command
    if forks is None or program != sys.executable or tuple(rest[: len(_STARTER)]) != _STARTER:
        return None
    argv = rest[len(_STARTER) :]
    try:
        return forks.spawn(argv[0], argv, service.cwd or Path.cwd(), environment, out, out)
    except OSError as error:
        log.warning("%s is started without the fork server: %s", service.name, error)
        return None


def _popen(service: Service, environment: Mapping[str, str], out: int) -> Process:
    libc = ctypes.CDLL(None, use_errno=True)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return subprocess.Popen(
        list(service.command),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        env=dict(environment),
        cwd=service.cwd,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def _signal_group(process: Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
