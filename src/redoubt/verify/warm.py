"""Commands of this very installation, forked by one process that has imported them already.

A run asks the product's own commands dozens of times. Most of what each costs is the start of an interpreter.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from redoubt.core.forkserver import ForkServer

_MODULES = ("audit", "db", "payments", "people", "policy", "supply", "webhooks")


def warm(environment: Mapping[str, str]) -> ForkServer:
    """Start a server of the product's commands; where `environment` finds the library is what they run."""
    return ForkServer.start(["redoubt.cli", *(f"redoubt.cli.{name}" for name in _MODULES)], environment)


def run(
    server: ForkServer, arguments: Sequence[str], cwd: str, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `redoubt ARGUMENTS`; raises subprocess.TimeoutExpired or, when the server is gone, OSError."""
    return server.run("redoubt.cli", ["redoubt", *arguments], Path(cwd), environment, timeout)
