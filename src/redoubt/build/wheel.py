"""The installed redoubt package as a wheel, the same bytes for the same files (PEP 427, entries stored, times fixed).

Its version carries the local label `vendored` (PEP 440): a public index takes no such version, so no package of the same
name there can be installed in its place.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from attrs import field, frozen

PACKAGE = Path(__file__).parent.parent
_TIME = (1980, 1, 1, 0, 0, 0)
_LABEL = "+vendored"
_LEFT_OUT = {"__pycache__", ".DS_Store"}


@frozen
class Wheel:
    """A wheel: its file name, version, bytes and their SHA-256."""

    file: str
    version: str
    sha256: str
    data: bytes = field(repr=False)


@cache
def redoubt_wheel() -> Wheel:
    """Return a wheel of the redoubt that runs now, whether it was installed or is used from a checkout."""
    found = distribution("redoubt")
    version = found.version.removesuffix(_LABEL) + _LABEL
    info = f"redoubt-{version}.dist-info"
    files = {f"redoubt/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in package_files()}
    files[f"{info}/METADATA"] = _metadata(found.read_text("METADATA") or "", version)
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: redoubt build\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    entries = sorted(point for point in found.entry_points if point.group == "console_scripts")
    lines = "".join(f"{point.name} = {point.value}\n" for point in entries)
    files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    data = _pack(files)
    return Wheel(f"redoubt-{version}-py3-none-any.whl", version, hashlib.sha256(data).hexdigest(), data)


def package_files() -> list[Path]:
    """Return every file of the package, sorted; caches are left out."""
    return sorted(
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pyo") and not _LEFT_OUT & set(path.parts)
    )


def _metadata(text: str, version: str) -> bytes:
    """Return the metadata of `version` without the long description: that is a page, and nothing installs by it."""
    head = text.replace("\r\n", "\n").split("\n\n", 1)[0].rstrip("\n")
    lines = [
        f"Version: {version}" if line.startswith("Version:") else line
        for line in head.split("\n")
        if not line.startswith(("Description-Content-Type:", "License-File:"))
    ]
    return ("\n".join(lines) + "\n").encode()


def _record(files: dict[str, bytes], own: str) -> bytes:
    lines = []
    for name, data in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}")
    return ("\n".join([*lines, f"{own},,"]) + "\n").encode()


def _pack(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # compressors differ between machines
        for name in sorted(files, key=lambda name: (".dist-info/" in name, name)):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            archive.writestr(entry, files[name])
    return buffer.getvalue()
