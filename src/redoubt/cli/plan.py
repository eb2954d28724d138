"""`redoubt plan`: show what a build would change."""

from __future__ import annotations

import typer

from redoubt.build.builder import plan as plan_app
from redoubt.build.errors import SpecInvalid

from .build import NewTables, Out, SpecFile, refused

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def plan(spec: SpecFile, out: Out, new_tables: NewTables = False) -> None:
    """Show what `redoubt build SPEC OUT` would change in OUT: files, then the difference of each. Nothing is written."""
    try:
        for line in plan_app(spec, out, new_tables=new_tables):
            typer.echo(line)
    except SpecInvalid as error:
        raise refused(error) from None
