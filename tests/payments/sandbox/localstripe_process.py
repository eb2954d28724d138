"""localstripe as a process: a provider that nobody here wrote, and a usefully hostile one.

It ignores idempotency keys and allows refunds above the charge, so only our own ledger can prevent either. It is
GPL: it has an environment of its own, from its own lock, is started as a program and never imported or shipped.
By itself it listens on every interface and keeps its state in one file under /tmp: the launcher below, which runs
in that environment, binds it to the loopback address and keeps the file to itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

LOCK = Path(__file__).parents[3] / "requirements" / "localstripe.txt"
LAUNCHER = """
import builtins, os, runpy, socket, sys
real_bind, real_open = socket.socket.bind, builtins.open
def bind(self, address, *rest):
    if address[0] != "::":
        raise OSError(f"unexpected address {address}")
    return real_bind(self, ("::ffff:127.0.0.1", *address[1:]), *rest)
def keep(path, *rest, **options):
    return real_open(os.devnull if path == "/tmp/localstripe.pickle" else path, *rest, **options)
socket.socket.bind, builtins.open = bind, keep
sys.argv = ["localstripe", "--from-scratch", "--port", sys.argv[1]]
runpy.run_module("localstripe", run_name="__main__", alter_sys=True)
"""


def environment() -> Path:
    """Return the Python of localstripe's own environment, made from its lock when it is not there yet."""
    cache = Path(os.environ.get("REDOUBT_CACHE") or LOCK.parents[1] / ".cache")
    folder = cache / f"localstripe-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    with (cache / "localstripe.lock").open(
        "w"
    ) as lock:  # test processes that start together wait for the first
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            uv = Path(sys.executable).parent / "uv"
            subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, folder], check=True)
            command = [uv, "pip", "sync", "-q", "--require-hashes", "--python", python, LOCK]
            subprocess.run(command, check=True)
            (folder / "complete").touch()
    return python


class LocalStripe:
    """One process with empty state: its address is `url`, any key that starts with `sk_` opens it."""

    key = "sk_test_localstripe"

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [environment(), "-I", "-c", LAUNCHER, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.http = httpx.Client(base_url=self.url, auth=(self.key, ""), trust_env=False, timeout=10)
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(f"localstripe ended with {self.process.returncode}")
            with contextlib.suppress(httpx.TransportError):
                if self.http.get("/v1/payment_intents").status_code == 200:
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError("localstripe did not start")

    def webhook(self, url: str, secret: str) -> None:
        """Send events to `url`: signed, one attempt each, a second late."""
        answer = self.http.post("/_config/webhooks/ours", json={"url": url, "secret": secret})
        answer.raise_for_status()

    def reset(self) -> None:
        """Forget every object."""
        self.http.delete("/_config/data").raise_for_status()

    def stop(self) -> None:
        """End the process."""
        self.http.close()
        self.process.kill()
        self.process.wait()
