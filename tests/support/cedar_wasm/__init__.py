"""Cedar's own schema reader as a peer: its WebAssembly build, installed by npm from a lock of hashes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent


def install(folder: Path) -> Path:
    """Install the peer into `folder`; without npm fail where CI is set, else skip."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        why = "npm and node are needed to compare with Cedar's own schema reader"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    for name in ("package.json", "package-lock.json", "resolve.cjs"):
        shutil.copy(_HERE / name, folder / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def resolved(folder: Path, schemas: list[str]) -> list[dict[str, Any] | None]:
    """Return each schema's JSON form with resolved types, None where the peer refuses it."""
    done = subprocess.run(
        ["node", "resolve.cjs"],
        cwd=folder,
        input=json.dumps(schemas).encode(),
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)
