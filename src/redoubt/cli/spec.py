"""`redoubt spec`: check a spec, print the schema of specs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from redoubt.build.errors import SpecInvalid
from redoubt.build.spec import load_spec, spec_schema

from .build import refused

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The spec, a YAML file.", metavar="SPEC")]) -> None:
    """Say everything that is wrong with SPEC: file, line, path, what was found, what is allowed. Exit 2 if anything is."""
    try:
        spec = load_spec(file)
    except SpecInvalid as error:
        raise refused(error) from None
    typer.echo(
        f"{file}: {spec.app.title}: {len(spec.entities)} entities, {len(spec.permissions)} permissions; no problems."
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec."""
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """Return the schema as it is published in docs/reference/spec.schema.json."""
    return json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n"
