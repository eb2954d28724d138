"""`redoubt up`: build, run and verify an app from its spec, in one go."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from redoubt.build.builder import build as build_app
from redoubt.build.errors import SpecInvalid
from redoubt.controls import Verdict, catalogue
from redoubt.controls.expected import compare, load
from redoubt.runtime.launch import RunOptions, running
from redoubt.verify import Options, Report, VerifyError, as_html, as_json
from redoubt.verify import verify as run_verify
from redoubt.verify.chromium import INSTALL

from .build import refused
from .run import say_addresses, serve_until_stopped
from .verify import Progress

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_WORDS = (Verdict.PROVEN, Verdict.BROKEN, Verdict.NOT_APPLICABLE, Verdict.NOT_SHOWN)


@app.command()
def up(
    spec: Annotated[
        Path, typer.Argument(help="The spec, a YAML file.", metavar="SPEC", exists=True, dir_okay=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="Build here. Default: build-out/NAME, NAME being the spec's folder.")
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(help="Expected verdicts. Default: expected.yaml beside the spec, where there is one."),
    ] = None,
    serve: Annotated[
        bool | None,
        typer.Option("--serve/--no-serve", help="Keep serving afterwards. Default: on a terminal only."),
    ] = None,
) -> None:
    """Build the app of SPEC, start it, attack it, and say for every control what was shown.

    The verification works on a private copy with empty data. Afterwards, on a terminal, the app itself keeps serving
    until Ctrl-C; without one everything is stopped. Exit 0 when the verdicts are as expected or better, else 1.
    """
    console = Console(stderr=True, highlight=False)
    folder = out or Path("build-out") / spec.resolve().parent.name
    began = time.monotonic()
    console.print(f"Building {spec} in {folder} …")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        build_app(spec, folder)
    except SpecInvalid as error:
        raise refused(error) from None
    console.print("Starting a private copy and attacking it …")
    progress = Progress()
    try:
        report = run_verify(Options(str(folder), None, None, (), 0, 600.0), progress)
    except VerifyError as error:
        typer.echo(f"redoubt up: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    finally:
        progress.close()
    html = keep(report, folder)
    summary(report)
    typer.echo(f"Report: {html}")
    typer.echo(f"Took {time.monotonic() - began:.0f} s.")
    code = judge(report, expect or spec.parent / "expected.yaml")
    if serve if serve is not None else sys.stdin.isatty() and sys.stdout.isatty():
        with running(RunOptions(directory=folder), lambda text: console.print(f"{text} …")) as live:
            typer.echo(f"{live.settings.app.name} is running:")
            say_addresses(live)
            typer.echo("Stop with Ctrl-C.")
            serve_until_stopped(live)
    raise typer.Exit(code)


def keep(report: Report, folder: Path) -> Path:
    """Write the report into the app's state folder, where the console shows it too; return the HTML file."""
    place = folder / "var" / "verify"
    place.mkdir(parents=True, exist_ok=True)
    os.chmod(folder / "var", 0o700)
    (place / "report.json").write_text(as_json(report), encoding="utf-8")
    html = place / "report.html"
    html.write_text(as_html(report), encoding="utf-8")
    return html


def summary(report: Report) -> None:
    """Print the verdicts by area."""
    found = {finding.control: finding.verdict for finding in report.findings}
    typer.echo(f"\n{'':<16}" + "".join(f"{verdict.words:>16}" for verdict in _WORDS))
    for area in catalogue().areas:
        counts = [sum(found[control.id] is verdict for control in area.controls) for verdict in _WORDS]
        typer.echo(f"{area.title:<16}" + "".join(f"{count:>16}" for count in counts))
    totals = report.counts()
    typer.echo(f"{'All':<16}" + "".join(f"{totals[verdict]:>16}" for verdict in _WORDS))
    typer.echo()


def judge(report: Report, expected_file: Path) -> int:
    """Print how the verdicts differ from those expected; return 1 for any that is worse.

    That pages could not be driven because this machine has no Chromium is said, and is not the app's fault.
    """
    if not expected_file.exists():
        broken = report.counts()[Verdict.BROKEN]
        typer.echo(f"No {expected_file} to compare with; {broken} broken.")
        return 1 if broken else 0
    departures = compare(load(expected_file), report.findings)
    undriven = {
        one.control for one in report.findings if one.verdict is Verdict.NOT_SHOWN and one.add == INSTALL
    }
    for one in departures:
        words = "not shown here, for want of Chromium" if one.control in undriven else "WORSE"
        word = "better" if one.better else words
        typer.echo(f"{word}: {one.control} was expected {one.expected.words}, found {one.found.words}")
    worse = [one for one in departures if not one.better and one.control not in undriven]
    if not worse:
        typer.echo(f"The verdicts are as {expected_file} expects, or better.")
    return 1 if worse else 0
