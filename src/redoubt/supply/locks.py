"""Whether everything a tree installs is pinned and hashed: Python and Node projects, images and workflows (SUP-1)."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from .models import Finding, read_text, walk
from .requirements import check_requirements, logical_lines

_REQUIREMENTS = re.compile(
    r"(^|[-_.])(requirements|constraints|lock)([-_.][\w.-]*)?\.txt$|^requirements/.*\.txt$"
)
_PIP = re.compile(r"\bpip3?\s+install\b(?P<rest>[^&|;\n]*)")
_NPM = re.compile(r"\bnpm\s+(install|i)\b(?P<rest>[^&|;\n]*)")
_NODE_LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
_FOREIGN_LOCKS = ("yarn.lock", "pnpm-lock.yaml")


def check_locks(root: Path) -> list[Finding]:
    """Return each dependency that is not pinned and hashed, and each project without a lock, sorted by place."""
    files = dict(walk(root))
    found: list[Finding] = []
    for name, path in files.items():
        text = read_text(path) if _of_interest(name) else None
        if text is None:
            continue
        base = PurePosixPath(name).name
        if is_requirements(name):
            found += check_requirements(text, name)
        elif base == "pyproject.toml":
            found += _pyproject(text, name, files)
        elif base == "package.json":
            found += _package_json(text, name, files)
        elif base in _NODE_LOCKS:
            found += check_package_lock(text, name)
        else:
            found += _commands(text, name)
    return sorted(found)


def is_requirements(name: str) -> bool:
    """Whether a file of that name is a list that pip installs from."""
    return (bool(_REQUIREMENTS.search(name)) and "/data/" not in f"/{name}") or PurePosixPath(
        name
    ).name == "requirements.txt"


def _of_interest(name: str) -> bool:
    base = PurePosixPath(name).name
    return (
        is_requirements(name)
        or base in ("pyproject.toml", "package.json", *_NODE_LOCKS)
        or _runs_commands(name)
    )


def _runs_commands(name: str) -> bool:
    base = PurePosixPath(name).name
    return (
        base.startswith("Dockerfile") or base.endswith(".Dockerfile") or name.startswith(".github/workflows/")
    )


def _pyproject(text: str, name: str, files: dict[str, Path]) -> Iterator[Finding]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        yield Finding(name, 1, "lock-unreadable", "not TOML", "Correct the file.")
        return
    project = data.get("project", {})
    declared = list(project.get("dependencies", ()))
    for group in project.get("optional-dependencies", {}).values():
        declared += group
    for item in declared:
        if isinstance(item, str) and re.search(r"@\s*(git|hg|svn|bzr)\+|@\s*[a-z]+://", item):
            rule = "vcs" if re.search(r"@\s*(git|hg|svn|bzr)\+", item) else "url"
            yield Finding(
                name,
                _line_of(text, item),
                rule,
                "a dependency straight from an address",
                "Take it from an index.",
            )
    folder = str(PurePosixPath(name).parent)
    prefix = "" if folder == "." else folder + "/"
    poetry = data.get("tool", {}).get("poetry", {}).get("dependencies")
    locks = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "requirements.txt")
    locked = any(prefix + lock in files for lock in locks) or any(is_requirements(other) for other in files)
    if (declared or poetry) and not locked:
        yield Finding(
            name,
            1,
            "no-lock",
            "dependencies are declared and nothing locks them",
            "Commit a lock with hashes.",
        )


def _package_json(text: str, name: str, files: dict[str, Path]) -> Iterator[Finding]:
    try:
        data = json.loads(text)
    except ValueError:
        yield Finding(name, 1, "lock-unreadable", "not JSON", "Correct the file.")
        return
    if not isinstance(data, dict):
        return
    groups = ("dependencies", "devDependencies", "optionalDependencies")
    declared = {key: value for group in groups for key, value in (data.get(group) or {}).items()}
    for package, wanted in declared.items():
        if isinstance(wanted, str) and re.match(
            r"(git\+|git:|github:|https?:|file:|[\w-]+/[\w.-]+$)", wanted
        ):
            rule = "vcs" if "git" in wanted or ("/" in wanted and ":" not in wanted) else "url"
            yield Finding(
                name,
                _line_of(text, f'"{package}"'),
                rule,
                f"{package} comes straight from an address",
                "Take it from a registry.",
            )
    folder = str(PurePosixPath(name).parent)
    prefix = "" if folder == "." else folder + "/"
    if declared and not any(prefix + lock in files for lock in (*_NODE_LOCKS, *_FOREIGN_LOCKS)):
        yield Finding(
            name,
            1,
            "no-lock",
            "dependencies are declared and nothing locks them",
            "Commit package-lock.json.",
        )


def check_package_lock(text: str, name: str) -> list[Finding]:
    """Return each entry of a package-lock.json (versions 1 to 3) without a strong integrity or from a repository."""
    try:
        data = json.loads(text)
    except ValueError:
        return [
            Finding(name, 1, "lock-unreadable", "not JSON", "Make it anew: npm install --package-lock-only")
        ]
    if not isinstance(data, dict):
        return [
            Finding(name, 1, "lock-unreadable", "not a lock", "Make it anew: npm install --package-lock-only")
        ]
    found: list[Finding] = []
    packages = data.get("packages")
    entries = (
        dict(packages) if isinstance(packages, dict) else dict(_version_one(data.get("dependencies"), ""))
    )
    for key, entry in entries.items():
        if (
            key == ""
            or not isinstance(entry, dict)
            or entry.get("link")
            or (key and "node_modules/" not in key and packages)
        ):
            continue
        line = _line_of(text, f'"{key.rsplit("/", 1)[-1] if not packages else key}"')
        resolved = str(entry.get("resolved") or entry.get("version") or "")
        if re.match(r"git[+:]|github:", resolved):
            found.append(
                Finding(name, line, "vcs", f"{key} comes from a repository", "Take it from a registry.")
            )
        elif resolved.startswith("http:"):
            found.append(Finding(name, line, "untrusted-index", f"{key} comes over plain http", "Use https."))
        elif entry.get("inBundle") or entry.get("bundled"):
            continue
        elif not re.search(r"\bsha(256|384|512)-", str(entry.get("integrity") or "")):
            found.append(
                Finding(name, line, "unhashed", f"{key} has no strong integrity", "Make the lock anew.")
            )
    return found


def _version_one(dependencies: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, entry in (dependencies or {}).items() if isinstance(dependencies, dict) else ():
        yield prefix + key, entry
        if isinstance(entry, dict):
            yield from _version_one(entry.get("dependencies"), f"{prefix}{key}/")


def _commands(text: str, name: str) -> Iterator[Finding]:
    """Installs in images and workflows: from a lock with hashes, or not at all."""
    for line, entry in logical_lines(text):
        for match in _PIP.finditer(entry):
            if "--require-hashes" not in match["rest"]:
                yield Finding(
                    name,
                    line,
                    "unlocked-install",
                    "pip installs without hashes",
                    "pip install --require-hashes -r requirements.txt",
                )
        if _NPM.search(entry):
            yield Finding(
                name, line, "unlocked-install", "npm install may change what was locked", "Use npm ci."
            )
        uses = re.search(r"\buses:\s*([\w.-]+/[\w./-]+)@([\w.-]+)", entry)
        if uses and not re.fullmatch(r"[0-9a-f]{40}", uses[2]):
            yield Finding(
                name,
                line,
                "unpinned-action",
                f"{uses[1]} is pinned to {uses[2]}, which can move",
                "Pin the commit's full hash.",
            )


def _line_of(text: str, needle: str) -> int:
    at = text.find(needle)
    return text.count("\n", 0, at) + 1 if at >= 0 else 1
