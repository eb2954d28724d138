"""The app's own suite of denies: it must pass as it is, and fail for every policy that somebody loosens."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..errors import Unshown
from ..lab import Lab
from ..probe import SEARCHING, probe

_LOOSENED = "\npermit (principal, action, resource);\n"


def denials_catch_looser_policies(lab: Lab) -> None:
    """Loosen policies on a copy, and run the app's own tests there; two controls share what one run showed."""
    known = lab.world.notes.get("denials")
    if isinstance(known, list):
        lab.trial.attacks += known
        return
    _try(lab)
    lab.world.notes["denials"] = list(lab.trial.attacks)


def _try(lab: Lab) -> None:
    repo = lab.world.repo
    if repo is None or "deny_tests" not in lab.target.commands:
        raise Unshown(
            "how the app's tests of denies are run is not said",
            add="commands: {deny_tests: [pytest, '{copy}/tests']}",
        )
    with (
        lab.attack("loosen policies, then run the app's own tests", "the tests still pass") as attack,
        tempfile.TemporaryDirectory(prefix="redoubt-denials-") as place,
    ):
        copy = Path(place) / "app"
        ignored = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", "vendor", ".redoubt")
        shutil.copytree(repo, copy, ignore=ignored)
        policies = sorted((copy / "policies").glob("*.cedar"))
        attack.positive("there are policies", policies)
        first = lab.command("deny_tests", copy=str(copy))
        attack.positive(
            "the tests pass as it is", first.returncode == 0, (first.stdout + first.stderr)[-200:]
        )
        chosen = lab.random.sample(policies, min(2, len(policies)))
        for policy in chosen:
            text = policy.read_text(encoding="utf-8")
            policy.write_text(text + _LOOSENED, encoding="utf-8")
            done = lab.command("deny_tests", copy=str(copy))
            policy.write_text(text, encoding="utf-8")
            attack.check(done.returncode != 0, f"a permit for everybody in {policy.name} fails no test")
        snapshots = [
            one
            for one in copy.rglob("*")
            if one.is_file() and "decision" in one.name and "test" in str(one.parent)
        ]
        attack.check(snapshots, "no snapshot of decisions is committed")


@probe("AUZ-8", phase=SEARCHING)
def the_suite_of_denies_bites(lab: Lab) -> None:
    """Loosen policies and see the app's own suite fail."""
    denials_catch_looser_policies(lab)


@probe("VAL-4", phase=SEARCHING)
def denies_are_tested_and_snapshotted(lab: Lab) -> None:
    """Loosen policies and see the app's own suite fail."""
    denials_catch_looser_policies(lab)
