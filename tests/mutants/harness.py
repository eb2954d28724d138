"""Runs verify, unmutated, against a copy of the built shop whose processes run a copy of the library.

The copy of the library is put on the start command's PYTHONPATH by the copied target file, so app, worker, charge
service and the product's own commands all run it; the verifier runs from the real source.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
import yaml
from attrs import frozen

import redoubt
from tests.support.postgres import Server, fresh_database

from .model import APP, LIBRARY, Mutant, MutantStale
from .webhooks import HARMLESS

PACKAGE = Path(redoubt.__file__).parent
_MOST_SECONDS = 240
DRIVEN = "VAL-5"
"""The control that is proven only where pages are driven in a browser."""
_SKIPPED = shutil.ignore_patterns("*.pyc", "__pycache__")


@frozen
class Result:
    """What became of a mutant. Only `killed` will do."""

    mutant: str
    state: Literal["killed", "survived", "void"]
    reason: str
    seconds: float


class Bench:
    """One build and one compiled copy of the library; mutants work on copies of both."""

    def __init__(self, shop: Path, scratch: Path, postgres: str | None = None) -> None:
        """Take `shop`, which `redoubt build` wrote, and copy the library into `scratch`.

        `postgres` is the address of a PostgreSQL server whose owner makes databases and roles; by default one is started
        for each run that wants it.
        """
        self.shop, self._scratch, self._postgres = shop, scratch, postgres
        self._library = scratch / "library"
        self.found: dict[tuple[str, bool], dict[str, Any]] = {}
        """What `prove` found, by control and whether it was on PostgreSQL."""
        shutil.copytree(PACKAGE, self._library / "redoubt", ignore=_SKIPPED)
        compileall.compile_dir(self._library, quiet=2, workers=1)

    def run(self, mutant: Mutant) -> Result:
        """Apply the mutant to copies and let verify judge its control there.

        Where `prove` was called before, a control that it did not find proven without the mutant makes it void.
        """
        began = time.monotonic()
        known = self.found.get((mutant.control, mutant.postgresql))
        if known is not None and known["verdict"] != "proven":
            return Result(mutant.id, "void", f"not proven without it: {known['reason']}", 0.0)
        try:
            with self.copies() as (app, library):
                mutant.apply(app, library / "redoubt")
                findings, told = self.verify(
                    app, library, [mutant.control], browser=mutant.browser, postgresql=mutant.postgresql
                )
        except (MutantStale, SyntaxError, subprocess.TimeoutExpired) as error:
            return Result(mutant.id, "void", str(error), time.monotonic() - began)
        state, reason = _judge(findings.get(mutant.control), told)
        return Result(mutant.id, state, reason, time.monotonic() - began)

    def prove(self, controls: Sequence[str], *, postgresql: bool = False) -> dict[str, dict[str, Any]]:
        """Return what verify finds on copies that only the harmless changes were made to; mutants are measured by it."""
        with self.copies() as (app, library):
            for edit in HARMLESS:
                edit.apply(app if edit.tree == APP else library / "redoubt")
            findings, told = self.verify(
                app, library, controls, browser=DRIVEN in controls, postgresql=postgresql
            )
        if not findings:
            raise RuntimeError(told)
        self.found |= {(control, postgresql): one for control, one in findings.items()}
        return findings

    def fits(self, mutant: Mutant) -> None:
        """Make the mutant's changes where nothing is started; raises MutantStale or SyntaxError."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as place:
            trees = {APP: self.shop, LIBRARY: self._library / "redoubt"}
            for edit in mutant.edits:
                copy = Path(place) / edit.tree / edit.file
                if (trees[edit.tree] / edit.file).is_file() and not copy.exists():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(trees[edit.tree] / edit.file, copy)
            mutant.apply(Path(place) / APP, Path(place) / LIBRARY)

    @contextmanager
    def copies(self) -> Iterator[tuple[Path, Path]]:
        """Yield a copy of the app, and a folder for PYTHONPATH with a copy of the library."""
        place = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            app, library = place / "app", place / "library"
            shutil.copytree(self.shop, app, ignore=shutil.ignore_patterns("var"), symlinks=True)
            shutil.copytree(self._library, library)
            yield app, library
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def verify(
        self,
        app: Path,
        library: Path,
        controls: Sequence[str],
        *,
        browser: bool = False,
        postgresql: bool = False,
    ) -> tuple[dict[str, dict[str, Any]], str]:
        """Return verify's findings by control, and the end of what it told on stderr."""
        with self._databases(postgresql) as databases:
            return self._verified(app, library, controls, databases, browser=browser)

    def _verified(
        self, app: Path, library: Path, controls: Sequence[str], databases: dict[str, str], *, browser: bool
    ) -> tuple[dict[str, dict[str, Any]], str]:
        target, report = app.parent / "target.yaml", app.parent / "report.json"
        target.write_text(_target(app / "target.yaml", library, databases), encoding="utf-8")
        command = [sys.executable, "-m", "redoubt.cli", "verify", str(app), "--target", str(target)]
        command += ["--only", ",".join(controls), "--output", str(report)]
        command += ["--browser" if browser else "--no-browser"]
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
        done = subprocess.run(
            command,
            cwd=app.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS * len(controls),
            check=False,
        )
        if not report.exists():
            return {}, f"verify ended with {done.returncode}: {done.stderr.strip()[-600:]}"
        found = json.loads(report.read_text(encoding="utf-8"))["controls"]
        return {one["id"]: one for one in found}, ""

    @contextmanager
    def _databases(self, postgresql: bool) -> Iterator[dict[str, str]]:
        """Yield the settings that name two databases of their own on a PostgreSQL server; none, and so SQLite, without it."""
        if not postgresql:
            yield {}
        elif self._postgres is not None:
            with on_server(self._postgres) as found:
                yield found
        else:
            server = Server.start(self._scratch)
            try:
                with on_server(server.url) as found:
                    yield found
            finally:
                server.stop()


@contextmanager
def on_server(server: str) -> Iterator[dict[str, str]]:
    """Yield settings by which a development run works on two new databases of `server`, and makes a role for each process."""
    with fresh_database(server) as app, fresh_database(server) as charge:
        urls = {"REDOUBT_DATABASE__URL": app, "REDOUBT_CHARGE__DATABASE": charge}
        yield {name: url.replace("postgresql+psycopg:", "postgresql:") for name, url in urls.items()}
    owner = sa.make_url(server).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(owner, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        for url, process in ((app, "app"), (app, "worker"), (charge, "charge")):
            conn.exec_driver_sql(f'DROP ROLE IF EXISTS "{sa.make_url(url).database}_{process}"')
    engine.dispose()


def _target(path: Path, library: Path, settings: Mapping[str, str]) -> str:
    """Return the target file with the library's copy on the path of all that it starts, and `settings` for all of it."""
    target = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section in (
        target.setdefault("start", {}).setdefault("env", {}),
        target.setdefault("command_env", {}),
    ):
        section |= {"PYTHONPATH": str(library), **settings}
    return str(yaml.safe_dump(target, sort_keys=False))


def _judge(finding: dict[str, Any] | None, told: str) -> tuple[Literal["killed", "survived", "void"], str]:
    """Return killed only where an attack succeeded all of whose positive controls held."""
    if finding is None:
        return "void", told or "verify gave no verdict"
    broke = [one for one in finding["evidence"] if one["outcome"] == "broke"]
    sound = [one for one in broke if all(check["held"] for check in one["positive_controls"])]
    if finding["verdict"] == "broken" and sound:
        return "killed", f"{sound[0]['attack']}: {sound[0]['detail']}"
    if finding["verdict"] == "proven":
        return "survived", finding["reason"]
    failed = [check["name"] for one in broke for check in one["positive_controls"] if not check["held"]]
    return "void", f"a positive control failed: {'; '.join(failed)}" if failed else finding["reason"]
