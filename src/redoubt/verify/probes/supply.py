"""Supply chain: what the repository pins, lists and keeps out."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

from redoubt.supply import SupplyError, check_locks, check_sbom, check_secrets, parse_lock

from ..errors import NoSubject, Unshown
from ..lab import Lab
from ..probe import READING, probe

_MANIFESTS = (
    "requirements*.txt",
    "requirements/*.txt",
    "pyproject.toml",
    "package.json",
    "Pipfile",
    "*.lock",
)


def _repo(lab: Lab) -> Path:
    repo = lab.world.repo
    if repo is None or not repo.is_dir():
        raise Unshown("the app's repository was not given", add="repo: .   # or: redoubt verify … --repo DIR")
    return repo


def _canary_lock(folder: Path) -> Path:
    """Write a tree with one fault of each kind, to see that the check sees."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text("flask\nrequests==2.0.0\n")
    (folder / "settings.yaml").write_text("api_key: " + "k" * 4 + "9f8e7d6c5b4a39281706" + "\n")
    return folder


@probe("SUP-1", phase=READING)
def dependencies_are_pinned(lab: Lab) -> None:
    """Read every list of dependencies."""
    repo = _repo(lab)
    if not any(any(repo.glob(pattern)) for pattern in _MANIFESTS):
        raise NoSubject("the repository declares no dependencies")
    with lab.attack(
        "look for unpinned, unhashed, git and URL dependencies", "each finding names its file"
    ) as attack:
        seeded = _seeded(lab)
        attack.positive("a seeded unpinned dependency is seen", check_locks(seeded))
        for one in check_locks(repo):
            attack.broke(f"{one.path}:{one.line} {one.rule}: {one.message}")


@probe("SUP-2", phase=READING)
def bill_of_materials_matches(lab: Lab) -> None:
    """Hold the SBOM against the lock."""
    repo = _repo(lab)
    found = [one for pattern in ("*.cdx.json", "sbom*.json", "bom.json") for one in repo.glob(pattern)]
    with lab.attack("hold the bill of materials against the lock", "both name the same components") as attack:
        if not found:
            attack.broke("there is no CycloneDX bill of materials in the repository")
            return
        lock = repo / "requirements.txt"
        if not lock.is_file():
            raise Unshown("there is no requirements.txt to hold it against")
        try:
            pins = parse_lock(lock.read_text(encoding="utf-8"))
        except SupplyError as error:
            raise Unshown(str(error)) from None
        attack.positive("the lock names components", pins)
        attack.positive("a lock with one component less is seen", check_sbom(repo, pins[1:]))
        for one in check_sbom(repo, pins):
            attack.broke(f"{one.path}: {one.message}")
    with lab.attack("change the bill of materials", "a check with a signature notices") as attack:
        attack.positive(
            "a check of the bill can be run",
            "sbom_verify" in lab.target.commands,
            "commands: {sbom_verify: […]}",
        )
        attack.positive(
            "the unchanged bill passes", lab.command("sbom_verify", sbom=str(found[0])).returncode == 0
        )
        changed = _seeded(lab) / found[0].name
        changed.write_text(found[0].read_text().replace('"version"', '"version" ', 1))
        attack.check(
            lab.command("sbom_verify", sbom=str(changed)).returncode != 0, "a changed bill passes, too"
        )


@probe("SUP-7", phase=READING)
def no_literal_secret(lab: Lab) -> None:
    """Read every file for literal secrets."""
    repo = _repo(lab)
    with lab.attack(
        "look for literal secrets in settings, images, workflows and code", "each finding names its file"
    ) as attack:
        attack.positive("a seeded literal secret is seen", check_secrets(_seeded(lab)))
        for one in check_secrets(repo):
            attack.broke(f"{one.path}:{one.line} {one.rule}: {one.message}")


def _seeded(lab: Lab) -> Path:
    known = lab.world.notes.get("seeded")
    if not isinstance(known, Path):
        folder = tempfile.mkdtemp(prefix="redoubt-seeded-")
        lab.world.at_close(partial(shutil.rmtree, folder, ignore_errors=True))
        known = lab.world.notes["seeded"] = _canary_lock(Path(folder))
    return known
