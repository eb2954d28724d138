"""The app's own suite of denies: it must pass as it is, and fail for every policy that somebody loosens."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import Unshown
from ..lab import Lab
from ..probe import ASIDE, SEARCHING, probe

# With an id: a policy that the set refuses for want of one would fail the tests without their having denied anything.
_LOOSENED = '\n@id("loosened")\npermit (principal, action, resource);\n'


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
        copies = [Path(place) / name / "app" for name in ("untouched", "first", "second")]
        ignored = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", "vendor", ".redoubt")
        for copy in copies:
            shutil.copytree(repo, copy, ignore=ignored)
        policies = sorted(one.name for one in (copies[0] / "policies").glob("*.cedar"))
        attack.positive("there are policies", policies)
        chosen = lab.random.sample(policies, min(2, len(policies)))
        for copy, name in zip(copies[1:], chosen, strict=False):
            with (copy / "policies" / name).open("a", encoding="utf-8") as policy:
                policy.write(_LOOSENED)
        with ThreadPoolExecutor(2) as pool:
            tested = copies[: 1 + len(chosen)]
            first, *loosened = pool.map(lambda copy: lab.command("deny_tests", copy=str(copy)), tested)
        attack.positive(
            "the tests pass as it is", first.returncode == 0, (first.stdout + first.stderr)[-200:]
        )
        for name, done in zip(chosen, loosened, strict=True):
            attack.check(done.returncode != 0, f"a permit for everybody in {name} fails no test")
        snapshots = [
            one
            for one in copies[0].rglob("*")
            if one.is_file()
            and one.suffix != ".py"  # a test of that name is no snapshot
            and "decision" in one.name
            and "test" in str(one.parent.relative_to(copies[0]))
        ]
        attack.check(snapshots, "no snapshot of decisions is committed")


@probe("AUZ-8", phase=SEARCHING, beside=ASIDE)
def the_suite_of_denies_bites(lab: Lab) -> None:
    """Loosen policies and see the app's own suite fail."""
    denials_catch_looser_policies(lab)


@probe("VAL-4", phase=SEARCHING, beside=ASIDE)
def denies_are_tested_and_snapshotted(lab: Lab) -> None:
    """Loosen policies and see the app's own suite fail."""
    denials_catch_looser_policies(lab)
