"""`redoubt build`: compile a spec into an app, or say where an app drifted from its spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from redoubt.build.builder import build as build_app
from redoubt.build.builder import check as check_app
from redoubt.build.errors import SpecInvalid

app = typer.Typer(add_completion=False, rich_markup_mode=None)

SpecFile = Annotated[Path, typer.Argument(help="The spec, a YAML file.", metavar="SPEC")]
Out = Annotated[Path, typer.Argument(help="The app's folder.", metavar="OUT")]
NewTables = Annotated[
    bool,
    typer.Option("--new-tables", help="Begin the migrations anew: databases that exist are refused."),
]


@app.command()
def build(
    spec: SpecFile,
    out: Out,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where OUT differs from its spec.")
    ] = False,
    new_tables: NewTables = False,
) -> None:
    """Build the app that SPEC declares in OUT.

    The same spec and version give the same bytes. Files of your own are left alone; a made file that was edited is
    named and nothing is written. An interrupted build leaves the old app. Exit 2 for a bad spec.

    Where OUT was built before, its migrations stay as they are, and a further one brings its database to changed tables and
    indexes. What no migration is made for is named, and nothing is written.
    """
    try:
        if check:
            found = check_app(spec, out)
            for line in found:
                typer.echo(line)
            if found:
                raise typer.Exit(1)
            typer.echo(f"{out} is what {spec} makes.", err=True)
            return
        changed = build_app(spec, out, new_tables=new_tables)
    except SpecInvalid as error:
        raise refused(error) from None
    if changed.nothing:
        typer.echo(f"{out} is up to date.")
        return
    made = len([path for path in (*changed.add, *changed.replace) if not path.startswith(".redoubt/")])
    typer.echo(
        f"Built {out}: {made} files written, {len(changed.remove)} removed, {len(changed.kept)} of yours left alone."
    )
    typer.echo(f"Start it: redoubt run {out}")


def refused(error: SpecInvalid) -> typer.Exit:
    """Print every problem of a spec on stderr, one a line, and return the exit with status 2."""
    for problem in error.problems:
        typer.echo(str(problem), err=True)
    count = len(error.problems)
    typer.echo(f"{count} problem{'s' if count != 1 else ''}; nothing was written.", err=True)
    return typer.Exit(2)
