"""The locks that an emitted app gets: third-party pins are data of the package, the redoubt wheel is its own."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from redoubt.supply import Component, parse_lock

from .wheel import Wheel

DATA = Path(__file__).parent / "data"
_HEAD = """\
# Everything this app installs, pinned and hashed. Made by redoubt build; do not edit.
#   python -m venv .venv && .venv/bin/pip install --require-hashes -r requirements.txt
--find-links vendor
"""


@cache
def _data(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def app_lock(wheel: Wheel) -> str:
    """Return requirements.txt: the wheel in vendor/, then every third-party distribution by version and hash."""
    return f"{_HEAD}redoubt=={wheel.version} \\\n    --hash=sha256:{wheel.sha256}\n{_data('lock.txt')}"


def development_lock() -> str:
    """Return requirements-dev.txt: what the app's own tests need on top."""
    return f"# What the tests and proofs about policies need beside requirements.txt, pinned and hashed.\n{_data('dev-lock.txt')}"


def components(wheel: Wheel) -> list[Component]:
    """Return what the SBOM lists: each pin of the lock with its hashes and its licence."""
    licences: dict[str, str] = json.loads(_data("licences.json"))
    found = [
        Component(pin.name, pin.version, pin.hashes, licences.get(pin.name, ""))
        for pin in parse_lock(_data("lock.txt"))
    ]
    return [Component("redoubt", wheel.version, (wheel.sha256,), "Apache-2.0"), *found]
