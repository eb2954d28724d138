"""What a build wrote: each file with its hash, so that the next one knows what was edited since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from .owned import is_owned

FOLDER = ".redoubt"
NAME = f"{FOLDER}/manifest.json"
BASE = f"{FOLDER}/base"


@frozen
class Manifest:
    """Version that built, and path → SHA-256 of each file of the pristine tree."""

    version: str
    files: Mapping[str, str]


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def with_records(pristine: Mapping[str, bytes], version: str) -> dict[str, bytes]:
    """Return the tree as it is written: the files, their pristine copies for later merges, and the manifest.

    Of what lies in vendor/ only the hash is kept: nobody merges a wheel.
    """
    tree = dict(pristine)
    tree |= {f"{BASE}/{path}": data for path, data in pristine.items() if not path.startswith("vendor/")}
    files = {path: digest(data) for path, data in sorted(pristine.items())}
    tree[NAME] = (json.dumps({"redoubt": version, "files": files}, indent=1) + "\n").encode()
    return tree


def read_manifest(out: Path) -> Manifest | None:
    """Return the manifest of a built tree; None where there is none that can be read."""
    try:
        data = json.loads((out / NAME).read_bytes())
        files = {str(path): str(value) for path, value in data["files"].items()}
        return Manifest(str(data["redoubt"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def edited(out: Path, manifest: Manifest, pristine: Mapping[str, bytes]) -> list[str]:
    """Return the made files that were changed or removed since the build, unless they are what would be made now."""
    found = []
    for path, expected in manifest.files.items():
        if is_owned(path):
            continue
        data = content(out / path)
        if data is None and path not in pristine:
            continue
        if data is None or (digest(data) != expected and data != pristine.get(path)):
            found.append(path)
    return sorted(found)


def content(path: Path) -> bytes | None:
    """Return a file's bytes; None where there is no regular file."""
    try:
        return path.read_bytes() if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None
