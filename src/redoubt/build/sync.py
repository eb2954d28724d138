"""Writes the lock data of the package from the repository's own locks: run it after each change of requirements/.

python -m redoubt.build.sync requirements/
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from redoubt.supply import parse_lock

from .lock import DATA

_READ_BY_HAND = {"cedarpy": "Apache-2.0", "colorama": "BSD-3-Clause"}
"""cedarpy's metadata names no licence, its LICENSE file does; colorama is installed on Windows only."""
_TEST_TOOLS = ("cvc5", "iniconfig", "pluggy", "pytest", "z3-solver")
"""What runs the tests of an app, and the solvers that judge its policy changes in CI and where they are proposed."""
_CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-only",
}


def lock_data(requirements: Path) -> dict[str, str]:
    """Return the content of each data file, made from core.txt, dev.txt and what is installed here."""
    core = without_comments((requirements / "core.txt").read_text(encoding="utf-8"))
    entries = split(without_comments((requirements / "dev.txt").read_text(encoding="utf-8")))
    tools = "".join(entries[name] for name in _TEST_TOOLS)
    licences = {pin.name: licence(pin.name) for pin in parse_lock(core)}
    return {
        "lock.txt": core,
        "dev-lock.txt": tools,
        "licences.json": json.dumps(licences, indent=1, sort_keys=True) + "\n",
    }


def without_comments(text: str) -> str:
    """Return a lock without its comments, which name who asked for what."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return "\n".join(lines) + "\n"


def split(text: str) -> dict[str, str]:
    """Return each entry of a lock by its name."""
    starts = list(re.finditer(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return {match[1].lower(): text[match.start() : end] for match, end in zip(starts, ends, strict=True)}


def licence(name: str) -> str:
    """Return the SPDX expression of an installed distribution; empty where it says none or is not installed."""
    if name in _READ_BY_HAND:
        return _READ_BY_HAND[name]
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return ""
    if "License-Expression" in found:
        return str(found["License-Expression"])
    for classifier in found.get_all("Classifier") or []:
        last = classifier.rsplit(" :: ", 1)[-1]
        if classifier.startswith("License") and last in _CLASSIFIERS:
            return _CLASSIFIERS[last]
    text = str(found["License"]).strip() if "License" in found else ""
    return _CLASSIFIERS.get(text, text if re.fullmatch(r"[A-Za-z0-9.+-]{2,30}", text) else "")


def main() -> None:
    """Write the data files from the folder that the command line names."""
    for name, text in lock_data(Path(sys.argv[1])).items():
        (DATA / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
