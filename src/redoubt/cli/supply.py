"""`redoubt supply`: what a folder is made of, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from attrs import asdict

from redoubt.supply import LockUnreadable, check_installed, check_tree, parse_lock

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Check locks, SBOM and secret references of a folder."""


@app.command()
def check(
    directory: Annotated[Path, typer.Argument(help="The folder.", metavar="DIR")],
    format_: Annotated[
        Literal["text", "json"], typer.Option("--format", help="How findings are printed.")
    ] = "text",
    installed: Annotated[
        Path | None, typer.Option(help="Also hold this site-packages folder against requirements.txt.")
    ] = None,
) -> None:
    """Find dependencies that are not pinned and hashed, an SBOM that is not the lock's, literal secrets.

    Reads files only: runs nothing, asks no network, prints no secret. Exit 1 when anything is found.
    """
    if not directory.is_dir():
        typer.echo(f"redoubt: {directory} is no folder.", err=True)
        raise typer.Exit(2)
    found = check_tree(directory)
    if installed is not None:
        try:
            found += check_installed(
                installed, parse_lock((directory / "requirements.txt").read_text(encoding="utf-8"))
            )
        except (OSError, LockUnreadable) as error:
            typer.echo(f"redoubt: requirements.txt cannot be read as a lock: {error}", err=True)
            raise typer.Exit(2) from None
    if format_ == "json":
        typer.echo(json.dumps({"findings": [asdict(finding) for finding in found]}, indent=2))
    else:
        for finding in found:
            typer.echo(f"{finding}. {finding.hint}".rstrip())
        typer.echo(f"{len(found)} findings in {directory}.", err=True)
    if found:
        raise typer.Exit(1)
