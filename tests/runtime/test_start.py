"""A module that is started by `redoubt.start` runs as it does by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_MODULE = """
import gc, sys
COLLECTED = gc.isenabled()
def main():
    print(sys.argv[1:], COLLECTED, gc.isenabled(), gc.get_freeze_count() > 0)
    return int(sys.argv[1])
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_module_gets_its_arguments_and_gives_its_exit_code(tmp_path: Path, code: int) -> None:
    (tmp_path / "started_module.py").write_text(_MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "redoubt.start", "started_module", str(code)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stdout.split("]") == [f"['{code}'", " False True True\n"]
