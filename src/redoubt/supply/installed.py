"""Whether an environment holds what the lock says, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from .models import Finding
from .requirements import Pin

_TOOLS = frozenset({"pip", "setuptools", "wheel"})


def check_installed(
    site_packages: Path, pins: Iterable[Pin], lock: str = "requirements.txt"
) -> list[Finding]:
    """Return each difference between the lock and the distributions under `site_packages`; pip itself is left out."""
    present = {
        str(canonicalize_name(item.metadata["Name"])): item.version
        for item in distributions(path=[str(site_packages)])
        if item.metadata["Name"]
    }
    found: list[Finding] = []
    locked: set[str] = set()
    for pin in pins:
        locked.add(pin.name)
        if pin.name not in present:
            if not pin.marker or Marker(pin.marker).evaluate():
                found.append(
                    Finding(
                        lock,
                        pin.line,
                        "not-installed",
                        f"{pin.name} is locked and not installed",
                        "Install from the lock.",
                    )
                )
        elif present[pin.name] != pin.version:
            found.append(
                Finding(
                    lock,
                    pin.line,
                    "other-version",
                    f"{pin.name} is installed as {present[pin.name]}, locked as {pin.version}",
                    "Install from the lock.",
                )
            )
    for name in sorted(present.keys() - locked - _TOOLS):
        found.append(
            Finding(
                lock,
                1,
                "not-locked",
                f"{name} is installed and not locked",
                "Install from the lock, in a fresh environment.",
            )
        )
    return sorted(found)
