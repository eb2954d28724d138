"""Starts modules of ours as processes in the time of a fork: one process has imported them, and forks for each call.

Most of what a process or a command costs before it does anything is the start of an interpreter and its imports. They are
paid once here. All children share the address layout and the hash seed of the server, so this is for development and for
commands, not for what faces the network in production. What a child inherits is exactly what it is given: the
environment of the server is its own, and no secret belongs in it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

from attrs import define, field

INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE",
    "LD_LIBRARY_PATH",
)  # fmt: skip
"""What a server may have of an environment: where to find things, and no secret."""

MOST_BYTES = 1 << 17
"""How long a call may be, as JSON."""

_START_SECONDS = 60.0


def _readable(pipe: FileIO, timeout: float | None) -> bool:
    """Wait up to `timeout` seconds (None: for ever) until something, or the end, can be read; any descriptor will do."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    return bool(waiting.poll(None if timeout is None else timeout * 1000))


@define(eq=False)
class Forked:
    """A child of a server: a process in a session of its own, asked as a `subprocess.Popen` is."""

    pid: int
    _ending: FileIO
    _status: int | None = None

    def poll(self) -> int | None:
        """Return how it ended (negative: by which signal), None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return how; raises subprocess.TimeoutExpired."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def _look(self, timeout: float | None) -> int | None:
        if self._status is None and _readable(self._ending, timeout):
            text = self._ending.readline()
            # Nobody is left to say how it ended: whoever waited for it was killed, and the kernel killed it for that.
            self._status = int(text) if text else -signal.SIGKILL
            self._ending.close()
        return self._status


@define(eq=False)
class ForkServer:
    """The near end of a server. Calls may come from several threads."""

    _process: subprocess.Popen[bytes]
    _line: socket.socket
    _lock: threading.Lock = field(factory=threading.Lock)

    @classmethod
    def start(cls, modules: Sequence[str], environment: Mapping[str, str]) -> ForkServer:
        """Start a server that imports `modules`; returns at once, and the first call waits for it.

        Of `environment` it has only what is in `INHERITED`.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "redoubt.forked", str(theirs.fileno()), *modules],
                env={name: environment[name] for name in INHERITED if name in environment},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return cls(process, ours)

    def spawn(
        self,
        module: str,
        argv: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        out: int,
        err: int,
    ) -> Forked:
        """Run a module's `main` in a child with this folder, environment and streams (file descriptors, not closed here).

        Raises OSError when the server is gone or does not answer, or the call is too long.
        """
        call = {"module": module, "argv": list(argv), "cwd": str(cwd), "env": dict(environment)}
        wanted = json.dumps(call).encode()
        if len(wanted) > MOST_BYTES:
            raise OSError("the call is too long")
        ended, done = os.pipe()
        ending = FileIO(ended, "rb")
        try:
            with self._lock:
                socket.send_fds(self._line, [wanted], [out, err, done])
        except BaseException:
            ending.close()
            raise
        finally:
            os.close(done)
        text = ending.readline() if _readable(ending, _START_SECONDS) else b""
        if not text:
            ending.close()
            self._process.kill()  # what was asked for must not begin later, when somebody else has run it
            raise OSError("the fork server is gone or does not answer")
        return Forked(int(text), ending)

    def run(
        self,
        module: str,
        argv: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        timeout: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run a module's `main` to its end and return what it said.

        Raises subprocess.TimeoutExpired after `timeout` seconds, when its group was killed; OSError as `spawn` does.
        """
        until = time.monotonic() + timeout
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = self.spawn(module, argv, cwd, environment, out.fileno(), err.fileno())
            try:
                code = child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise subprocess.TimeoutExpired(list(argv), timeout) from None
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "replace"))
        return subprocess.CompletedProcess(list(argv), code, *texts)

    def close(self) -> None:
        """End the server, and with it every child that still runs."""
        self._line.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
