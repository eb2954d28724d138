"""Finding in another process what it should not hold."""

from __future__ import annotations

import subprocess
import sys

from redoubt.verify.memory import held

_CODE = """
import os, sys
key = bytes(int(part) for part in sys.stdin.readline().split()).decode()
os.environ["GIVEN_LATER"] = key
print("holds", flush=True)
sys.stdin.read()
"""


def test_a_value_is_found_in_memory_and_in_the_environment_and_nowhere_else() -> None:
    keys = {
        "later": "sk_test_later_0123456789",
        "started": "sk_test_started_0123456789",
        "none": "sk_test_other_0123456789",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"STARTED": keys["started"]},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(" ".join(str(byte) for byte in keys["later"].encode()) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "holds\n"
        assert held(process.pid, keys) == {"later", "started"}
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_process_that_is_gone_holds_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert held(process.pid, {"key": "sk_test_0123456789"}) == set()
