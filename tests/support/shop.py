"""The example shop, built and running as `redoubt run` starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define

ROOT = Path(__file__).resolve().parents[2]
_READY_SECONDS = 120.0


@define
class RunningShop:
    """A running app: where it is reached, and its processes."""

    directory: Path
    ready_file: Path
    process: subprocess.Popen[bytes]

    @property
    def ready(self) -> dict[str, Any]:
        """What the ready file says now; process ids change when a process was started again."""
        return json.loads(self.ready_file.read_text())

    @property
    def base_url(self) -> str:
        return str(self.ready["base_url"])

    @property
    def state(self) -> Path:
        return Path(self.ready["state_dir"])


def build(spec: Path, out: Path) -> Path:
    """Build `spec` with the command that users call."""
    subprocess.run(
        [sys.executable, "-m", "redoubt.cli", "build", str(spec), str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return out


@contextmanager
def running(
    directory: Path, state: Path, *, environment: dict[str, str] | None = None
) -> Iterator[RunningShop]:
    """Run the app in `directory` on free ports with its state in `state`."""
    ready_file = state.parent / f"{state.name}-ready.json"
    ready_file.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "redoubt.cli",
        "run",
        str(directory),
        "--state",
        str(state),
        "--port",
        "0",
    ]
    log = state.parent / f"{state.name}-run.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready_file)],
            stdout=out,
            stderr=out,
            env={**os.environ, **(environment or {})},
        )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the shop did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield RunningShop(directory, ready_file, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
