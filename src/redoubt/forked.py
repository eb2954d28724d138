"""`python -P -m redoubt.forked FD MODULE …` imports modules once, and forks a child for each that is asked for over FD.

This is the far end of `redoubt.core.forkserver`. It never runs a module itself, so none can leave anything behind for the
next. A process that only waits stands between it and each child, and says how the child ended; if this one ends, or the
one in between, the kernel ends the child.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from redoubt.core.forkserver import MOST_BYTES
from redoubt.start import load

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends; end at once where that was so already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _become(wanted: dict[str, Any], out: int, err: int) -> None:
    """Take folder, environment, arguments and streams; what the server had of each is gone."""
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    for there, here in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(there, here)
        os.close(there)
    sys.argv = list(wanted["argv"])
    started = sys.modules["__main__"]  # by which a command line names itself in its help
    started.__package__ = started.__spec__ = None


def _call(module: str) -> NoReturn:
    """Run a module's `main` and exit as an interpreter does."""
    code = 1
    try:
        code = load(module).main() or 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    os._exit(code)


def _answer(line: socket.socket, text: bytes, out: int, err: int, done: int) -> NoReturn:
    """In between: fork the child and say its number, then how it ended."""
    line.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    here = os.getpid()
    child = os.fork()
    if child == 0:
        _end_with(here)
        os.setsid()  # before anybody knows its number: its group is what is ended
        os.write(done, b"%d\n" % os.getpid())
        os.close(done)
        wanted = json.loads(text)
        _become(wanted, out, err)
        _call(wanted["module"])
    os.close(out)
    os.close(err)
    _, status = os.waitpid(child, 0)
    os.write(done, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def main() -> None:
    """Import, then serve until the other end of FD is closed."""
    line = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        with suppress(Exception):  # whoever wants to run it hears why it cannot be imported
            load(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, streams, _, _ = socket.recv_fds(line, MOST_BYTES, 3)
        if not text:
            return
        here = os.getpid()
        if os.fork() == 0:
            _end_with(here)
            _answer(line, text, *streams)
        for one in streams:
            os.close(one)


if __name__ == "__main__":
    main()
