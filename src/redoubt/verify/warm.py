"""Commands of this very installation, each in a child of one process that has imported it already.

A run asks the product's own commands dozens of times. Most of what each costs is the start of an interpreter, so that
is paid once: a server imports the commands, and forks for each call a child with a folder, an environment and streams
of its own. It never runs a command itself, so none can leave anything behind for the next.
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
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO

from attrs import define, field

_MOST_BYTES = 1 << 17
_SERVER = r"""
import importlib, json, os, signal, socket, sys, traceback
from redoubt.cli import main
for name in sys.argv[2:]:
    importlib.import_module("redoubt.cli." + name)
line = socket.socket(fileno=int(sys.argv[1]))

def command(wanted, out, err):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    for there, here in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(there, here)
    sys.argv = ["redoubt", *wanted["arguments"]]
    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    text, streams, _, _ = socket.recv_fds(line, 1 << 17, 3)
    if not text:
        break
    out, err, done = streams
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        line.close()
        child = os.fork()
        if child == 0:
            os.close(done)
            command(json.loads(text), out, err)
        os.write(done, b"%d\n" % child)
        _, status = os.waitpid(child, 0)
        os.write(done, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    for one in streams:
        os.close(one)
"""
_MODULES = ("audit", "db", "payments", "people", "policy", "supply", "webhooks")


@define(eq=False)
class Warm:
    """A server of commands. Calls may come from several threads; each waits for its own answer only."""

    _process: subprocess.Popen[bytes]
    _line: socket.socket
    _lock: threading.Lock = field(factory=threading.Lock)

    @classmethod
    def start(cls, environment: Mapping[str, str]) -> Warm:
        """Start a server under `environment`: where it finds the library is what its children run."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(theirs.fileno()), *_MODULES],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        return cls(process, ours)

    def run(
        self, arguments: list[str], cwd: str, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `redoubt ARGUMENTS` and return how it ended.

        Raises subprocess.TimeoutExpired after `timeout` seconds, when the command was killed, and OSError when the
        server is gone.
        """
        wanted = json.dumps({"arguments": arguments, "cwd": cwd, "env": dict(environment)}).encode()
        if len(wanted) > _MOST_BYTES:
            raise OSError("the command is too long")
        ended, done = os.pipe()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, FileIO(ended, "rb") as answer:
            try:
                with self._lock:
                    socket.send_fds(self._line, [wanted], [out.fileno(), err.fileno(), done])
            finally:
                os.close(done)
            child = _number(answer, timeout)
            try:
                code = _number(answer, timeout)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["redoubt", *arguments], timeout) from None
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "replace"))
        return subprocess.CompletedProcess(["redoubt", *arguments], code, *texts)

    def close(self) -> None:
        """End the server; commands under way end by themselves."""
        self._line.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _number(answer: FileIO, timeout: float) -> int:
    """Read one line with a number from a pipe; raises TimeoutError, and OSError where the other end is gone."""
    if not select.select([answer], [], [], timeout)[0]:
        raise TimeoutError
    text = answer.readline()
    if not text:
        raise OSError("the server of commands is gone")
    return int(text)
