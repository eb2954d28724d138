"""`redoubt verify`: attack and read an app, and say for every control what was shown."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from redoubt.controls import Finding, UnknownControl, Verdict
from redoubt.verify import FORMATS, Options, Report, VerifyError, Watcher
from redoubt.verify import verify as run_verify
from redoubt.verify.report import schema
from redoubt.verify.repro import script

LAST = Path(".redoubt") / "verify.json"


class _Subject(TyperGroup):
    """Takes `verify DIR` as well as `verify repro ID`: what is no command of the group is the subject."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before what does not name a command."""
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Subject,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Attack and read an app; say for every control what was shown.\n\nredoubt verify DIR|URL [OPTIONS] does it; see: redoubt verify run --help",
)


class Progress(Watcher):
    """Draws progress on stderr: a status line on a terminal, one line a verdict elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("") if self._console.is_terminal else None
        if self._status is not None:
            self._status.start()

    def step(self, text: str) -> None:
        """Show what is being prepared."""
        self._say(text)

    def begin(self, control: str, probe: str, done: int, total: int) -> None:
        """Show which probe runs."""
        if self._status is not None:
            self._status.update(f"{done + 1}/{total}  {control}  {probe}")

    def judged(self, finding: Finding) -> None:
        """Show a verdict."""
        styles = {Verdict.PROVEN: "green", Verdict.BROKEN: "bold red", Verdict.NOT_SHOWN: "yellow"}
        word = f"{finding.verdict.words:<14}"
        style = styles.get(finding.verdict, "dim")
        self._console.print(
            f"[{style}]{word}[/{style}] {finding.control:<7} {finding.seconds:5.1f} s", soft_wrap=True
        )

    def close(self) -> None:
        """Take the status line away."""
        if self._status is not None:
            self._status.stop()

    def _say(self, text: str) -> None:
        if self._status is not None:
            self._status.update(f"{text} …")
        else:
            self._console.print(f"{text} …")


@app.command()
def run(
    subject: Annotated[
        str, typer.Argument(metavar="DIR|URL", help="An app's folder, or the address of a running one.")
    ],
    repo: Annotated[
        Path | None, typer.Option(help="The app's source, for a URL.", exists=True, file_okay=False)
    ] = None,
    target: Annotated[Path | None, typer.Option(help="The target file. Default: DIR/target.yaml.")] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="text, json, html, or access (CSV of who may do what); one for each --output."
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", help="Write here instead of stdout; repeatable; the ending tells the format."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these controls: ids, repeatable or with commas.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the order of the attacks and their values.")] = 0,
    budget: Annotated[str, typer.Option(help="Begin no probe after this long, such as 90s or 5m.")] = "10m",
    strict: Annotated[bool, typer.Option("--strict", help="Exit 4 when something is not shown.")] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Use an installed Chromium as a second observer.")
    ] = True,
) -> None:
    """Attack and read an app; say for every control what was shown.

    A folder is started as a private copy with empty data, by the start command of its target file. An address must be
    this machine's, unless the target file allows its host.

    Exit: 0 nothing broken, 1 something broken, 2 usage, 3 not reached or not logged in, 4 not shown (with --strict).
    """
    plan = _plan(format_ or [], output or [])
    options = Options(subject, repo, target, tuple(only or ()), seed, _seconds(budget), browser=browser)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    progress = Progress()
    try:
        report = run_verify(options, progress)
    except UnknownControl as error:
        _fail(str(error), 2)
    except VerifyError as error:
        _fail(str(error), error.exit_code)
    finally:
        progress.close()
    for name, path in plan:
        text = FORMATS[name](report)
        if path is None:
            typer.echo(text, nl=False)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    _remember(report)
    raise typer.Exit(exit_code(report, strict))


@app.command()
def repro(
    control: Annotated[str, typer.Argument(metavar="ID", help="The control whose evidence is replayed.")],
    report: Annotated[Path, typer.Option(help="A JSON report of redoubt verify.")] = LAST,
    output: Annotated[Path | None, typer.Option(help="Write the script here instead of stdout.")] = None,
    attack: Annotated[
        str, typer.Option(help="A part of the name of the attack. Default: the first that succeeded.")
    ] = "",
) -> None:
    """Write a script that replays the evidence of a control; it needs httpx and nothing of this project."""
    try:
        data: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        text = script(data, control, attack)
    except OSError as error:
        _fail(
            f"{report} cannot be read ({error.strerror}). Write one: redoubt verify … --format json --output {report}",
            2,
        )
    except ValueError:
        _fail(f"{report} is no JSON report.", 2)
    except VerifyError as error:
        _fail(str(error), error.exit_code)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        os.chmod(output, 0o700)


@app.command("schema")
def schema_() -> None:
    """Print the JSON Schema of the JSON report."""
    typer.echo(json.dumps(schema(), indent=1))


def exit_code(report: Report, strict: bool) -> int:
    """Return what the command ends with."""
    counts = report.counts()
    if counts[Verdict.BROKEN]:
        return 1
    return 4 if strict and counts[Verdict.NOT_SHOWN] else 0


def _plan(formats: list[str], outputs: list[Path]) -> list[tuple[str, Path | None]]:
    """Pair formats with outputs; an output without a format is told by its ending, stdout is text."""
    for name in formats:
        if name not in FORMATS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(FORMATS)}", param_hint="--format")
    if not outputs:
        if len(formats) > 1:
            raise typer.BadParameter("several formats need an --output each", param_hint="--format")
        return [(formats[0] if formats else "text", None)]
    endings = {".json": "json", ".html": "html", ".htm": "html", ".txt": "text", ".csv": "access"}
    plan: list[tuple[str, Path | None]] = []
    for at, path in enumerate(outputs):
        name = formats[at] if at < len(formats) else endings.get(path.suffix.lower(), "")
        if not name:
            raise typer.BadParameter(f"the format of {path} is not told by its ending", param_hint="--format")
        plan.append((name, path))
    plan += [(name, None) for name in formats[len(outputs) :]]
    return plan if any(path is None for _, path in plan) else [*plan, ("text", None)]


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        found = float(number) * unit
    except ValueError:
        found = 0.0
    if found <= 0:
        raise typer.BadParameter(f"{text!r} is no time such as 90s or 5m", param_hint="--budget")
    return found


def _remember(report: Report) -> None:
    """Keep the run for `redoubt verify repro`; a folder that cannot be written to is no reason to fail."""
    with suppress(OSError):
        LAST.parent.mkdir(exist_ok=True)
        LAST.write_text(FORMATS["json"](report), encoding="utf-8")


def _fail(text: str, code: int) -> NoReturn:
    typer.echo(f"redoubt verify: {text}", err=True)
    raise typer.Exit(code)
