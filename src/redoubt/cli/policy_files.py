"""`redoubt policy test` and `redoubt policy fmt`: what is done with policies as files, before any store sees them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from redoubt.authz.policyset import POLICY_SUFFIX, PolicySet, parse_folder
from redoubt.authz.testing import Case, Report, read_cases, run
from redoubt.authz.text import laid_out

FAILED = 1
Percent = typer.Option(min=0, max=100)


def run_tests(
    directory: Annotated[Path, typer.Argument(help="The policies' folder.", exists=True, file_okay=False)],
    tests: Annotated[
        Path | None, typer.Option("--tests", help="The folder of the tests; default: tests in the policies'.")
    ] = None,
    changed: Annotated[
        Path | None,
        typer.Option("--changed", help="Measure only what differs from the policies of this folder."),
    ] = None,
    min_policies: Annotated[float, Percent] = 0,
    min_branches: Annotated[float, Percent] = 0,
) -> None:
    """Run the policies' tests (*.yaml): exit 0 when all hold and enough is covered, 1 otherwise."""
    policies, cases = parse_folder(directory), cases_of(tests or directory / "tests")
    only = None if changed is None else changed_ids(policies, parse_folder(changed))
    report = run(policies, cases, only)
    for line in _lines(report):
        typer.echo(line)
    short = report.policies_percent < min_policies or report.branches_percent < min_branches
    if short:
        typer.echo(f"covered too little: at least {min_policies:g} % and {min_branches:g} % are asked for")
    raise typer.Exit(FAILED if report.failures or short else 0)


def cases_of(folder: Path) -> list[Case]:
    """Return the cases of all test files of `folder`; ends the command where there are none: no test, no success."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        typer.echo("there are no tests", err=True)
        raise typer.Exit(FAILED)
    return [case for file in files for case in read_cases(file)]


def format_files(
    directory: Annotated[Path, typer.Argument(help="The policies' folder.", exists=True, file_okay=False)],
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if anything would.")] = False,
) -> None:
    """Lay out *.cedar files in Cedar's way, comments kept: all of them, or none where one cannot be."""
    try:
        texts = {path: path.read_text("utf-8") for path in sorted(directory.glob(f"*{POLICY_SUFFIX}"))}
        formatted = {path: laid_out(text) for path, text in texts.items()}
    except ValueError as error:
        typer.echo(f"nothing was changed: {error}", err=True)
        raise typer.Exit(FAILED) from error
    touched = [path for path, text in formatted.items() if text != texts[path]]
    if not check:
        try:
            replace_all({path: formatted[path] for path in touched})
        except OSError as error:
            typer.echo(f"nothing was changed: {error.strerror}: {error.filename}", err=True)
            raise typer.Exit(FAILED) from error
    for path in touched:
        typer.echo(f"{'would format' if check else 'formatted'} {path.name}")
    raise typer.Exit(FAILED if check and touched else 0)


def replace_all(texts: Mapping[Path, str]) -> None:
    """Write all files or leave all as they were: each goes to a file beside it first, then they are renamed.

    Raises OSError where one cannot be written or renamed; those that were renamed are put back.
    """
    with ExitStack() as stack:
        ready: list[tuple[Path, Path]] = []
        for path, text in texts.items():
            for kept, suffix in ((text, ".new"), (path.read_text("utf-8"), ".old")):
                handle, name = tempfile.mkstemp(suffix, f".{path.name}.", path.parent)
                stack.callback(Path(name).unlink, missing_ok=True)
                with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
                    out.write(kept)
                    out.flush()
                    os.fsync(out.fileno())
                shutil.copymode(path, name)
                ready.append((Path(name), path))
        done: list[tuple[Path, Path]] = []
        try:
            for (new, path), (old, _) in zip(ready[::2], ready[1::2], strict=True):
                new.replace(path)
                done.append((old, path))
        except OSError:
            for old, path in done:
                old.replace(path)
            raise


def changed_ids(new: PolicySet, old: PolicySet) -> frozenset[str]:
    """Return the ids of the policies of `new` that `old` does not have, or has otherwise."""
    return frozenset(key for key, text in new.texts.items() if old.texts.get(key) != text)


def _lines(report: Report) -> list[str]:
    lines = [f"FAILED {item.case.file}: {item.case.name}: {item.why}" for item in report.failures]
    for item in report.coverage:
        if not item.decided:
            lines.append(f"never decided: {item.policy_id}")
        for text, seen in item.conditions:
            missing = sorted({"true", "false"} - seen)
            if missing:
                lines.append(f"never {' or '.join(missing)}: {item.policy_id}: {text}")
            if "error" in seen:
                lines.append(f"erred: {item.policy_id}: {text}")
    failed = len(report.failures)
    lines.append(
        f"{report.cases - failed} of {report.cases} tests hold; policies {report.policies_percent:.0f} %, "
        f"branches {report.branches_percent:.0f} % covered"
    )
    return lines
