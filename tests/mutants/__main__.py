"""`python -m tests.mutants`: build the shop once, run every mutant, and print which verify killed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.shop import ROOT, build

from .catalogue import ALL, PROVEN, quick
from .harness import Bench, Result


def main() -> int:
    """Return 0 when every mutant that ran was killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a control or CONTROL/name; repeatable")
    parser.add_argument("--quick", action="store_true", help="only those of the ordinary suite")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    parser.add_argument("--clean", action="store_true", help="no mutant: every control must be proven")
    parser.add_argument(
        "--unproven", action="store_true", help="do not first prove the controls without a mutant"
    )
    parser.add_argument("--postgresql", action="store_true", help="with --clean: on PostgreSQL")
    parser.add_argument("--app", type=Path, help="an app that `redoubt build` wrote, instead of a new one")
    given = parser.parse_args()
    wanted = {name for text in given.only for name in text.split(",")}
    chosen = [
        one for one in (quick() if given.quick else ALL) if not wanted or wanted & {one.id, one.control}
    ]
    with tempfile.TemporaryDirectory(prefix="redoubt-mutants-") as scratch:
        folder = Path(scratch)
        shop = given.app or build(ROOT / "examples" / "shop" / "spec.yaml", folder / "shop")
        bench = Bench(shop.resolve(), folder)
        if given.clean:
            controls = [one for one in PROVEN if not wanted or one in wanted]
            return _clean(bench, controls, postgresql=given.postgresql)
        if not given.unproven:
            for postgresql in (False, True):
                controls = list(dict.fromkeys(one.control for one in chosen if one.postgresql == postgresql))
                _clean(bench, controls, postgresql=postgresql)
            print(flush=True)
        with ThreadPoolExecutor(given.jobs) as pool:
            results = _told(pool.map(bench.run, chosen))
    killed = sum(one.state == "killed" for one in results)
    print(f"\n{killed} of {len(results)} killed")
    return 0 if results and killed == len(results) else 1


def _told(results: Iterable[Result]) -> list[Result]:
    kept = []
    for one in results:
        kept.append(one)
        print(f"{one.state:<9} {one.seconds:5.0f} s  {one.mutant:<44} {one.reason[:300]}", flush=True)
    return kept


def _clean(bench: Bench, controls: list[str], *, postgresql: bool = False) -> int:
    findings = bench.prove(controls, postgresql=postgresql) if controls else {}
    for control in controls:
        print(f"{findings[control]['verdict']:<10} {control:<7} {findings[control]['reason'][:300]}")
    return 0 if all(findings[one]["verdict"] == "proven" for one in controls) else 1


if __name__ == "__main__":
    sys.exit(main())
