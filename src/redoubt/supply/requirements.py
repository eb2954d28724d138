"""Python requirement files as pip reads them: logical lines, pins and hashes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import field, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .errors import LockUnreadable
from .models import Finding, texts

_HASH = re.compile(r"--hash[= ]([a-z0-9]+):([0-9a-fA-F]+)")
_STRONG = {"sha256": 64, "sha384": 96, "sha512": 128}
_DIRECT = re.compile(r"(?i)^(git|hg|svn|bzr)\+|^[a-z+]+://|^file:")
_EXACT = re.compile(r"^===?[A-Za-z0-9._+!-]+$")


@frozen
class Pin:
    """One locked distribution: canonical name, exact version, SHA-256 of each allowed file, marker as written."""

    name: str
    version: str
    hashes: tuple[str, ...] = field(converter=texts)
    line: int = 0
    marker: str = ""


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (first line number, joined text) with continuations joined and comments dropped."""
    start, parts = 0, list[str]()
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw)
        if not parts:
            start = number
        if line.rstrip().endswith("\\"):
            parts.append(line.rstrip()[:-1])
            continue
        parts.append(line)
        joined = " ".join(part.strip() for part in parts).strip()
        parts = []
        if joined:
            yield start, joined
    if parts and (joined := " ".join(part.strip() for part in parts).strip()):
        yield start, joined


def check_requirements(text: str, path: str) -> list[Finding]:
    """Return each line of a requirements file that leaves open what is installed (SUP-1)."""
    found: list[Finding] = []

    def add(line: int, rule: str, message: str, hint: str) -> None:
        found.append(Finding(path, line, rule, message, hint))

    for line, entry in logical_lines(text):
        if entry.startswith("-"):
            found += _option(entry, path, line)
            continue
        spec = entry.split(" --")[0].strip()
        if _DIRECT.match(spec) or spec.startswith((".", "/")):
            _direct(spec, add, line)
            continue
        try:
            requirement = Requirement(spec)
        except InvalidRequirement:
            add(
                line,
                "lock-unreadable",
                "a line that is no requirement",
                "Write name==version --hash=sha256:…",
            )
            continue
        if requirement.url is not None:
            _direct(requirement.url, add, line)
            continue
        pins = [str(item) for item in requirement.specifier]
        if len(pins) != 1 or not _EXACT.match(pins[0]) or "*" in pins[0]:
            add(
                line, "unpinned", f"{requirement.name} is not pinned to one version", "Pin it: name==version."
            )
        hashes = _HASH.findall(entry)
        if not hashes:
            add(
                line,
                "unhashed",
                f"{requirement.name} has no hash",
                "Lock with hashes (pip-compile --generate-hashes, uv pip compile).",
            )
        for kind, digest in hashes:
            if len(digest) != _STRONG.get(kind, 0):
                add(line, "weak-hash", f"{requirement.name} is pinned by {kind}", "Use sha256 or stronger.")
    return found


def _direct(target: str, add: object, line: int) -> None:
    assert callable(add)
    kind = "vcs" if re.match(r"(?i)(git|hg|svn|bzr)\+", target) else "url"
    add(
        line,
        kind,
        f"a dependency straight from {'a repository' if kind == 'vcs' else 'an address or path'}",
        "Take it from an index, by version and hash.",
    )


def _option(entry: str, path: str, line: int) -> Iterator[Finding]:
    option, _, value = entry.partition(" ")
    option, _, attached = option.partition("=")
    value = (attached or value).strip()
    if option in ("-e", "--editable"):
        yield Finding(path, line, "editable", "an editable dependency has no hash", "Build a wheel of it.")
    elif option == "--trusted-host" or (
        option in ("-i", "--index-url", "--extra-index-url", "-f", "--find-links")
        and value.startswith("http:")
    ):
        yield Finding(path, line, "untrusted-index", "packages over an unprotected connection", "Use https.")
    elif option == "--extra-index-url":
        yield Finding(
            path, line, "second-index", "a second index can shadow a name of the first", "Use one index."
        )


def parse_lock(text: str) -> list[Pin]:
    """Return the pins of a fully locked requirements file, sorted by name; raises LockUnreadable when it is not one."""
    problems = check_requirements(text, "lock")
    if problems:
        raise LockUnreadable(f"not a full lock: {problems[0]}", hint=problems[0].hint)
    pins = []
    for line, entry in logical_lines(text):
        if entry.startswith("-"):
            continue
        requirement = Requirement(entry.split(" --")[0].strip())
        version = str(next(iter(requirement.specifier))).lstrip("=")
        hashes = tuple(sorted(digest.lower() for kind, digest in _HASH.findall(entry) if kind == "sha256"))
        marker = str(requirement.marker) if requirement.marker else ""
        pins.append(Pin(canonicalize_name(requirement.name), version, hashes, line, marker))
    return sorted(pins, key=lambda pin: pin.name)
