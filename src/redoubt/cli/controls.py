"""`redoubt controls`: list and explain the controls."""

from __future__ import annotations

import json
import textwrap
from typing import Annotated, Any

import typer

from redoubt.controls import Control, UnknownControl, catalogue

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List and explain the controls that build emits for, run enforces and verify proves.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    area: Annotated[str | None, typer.Option(help="Only this area, such as identity.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every control, by area."""
    areas = [one for one in catalogue().areas if area in (None, one.key)]
    if not areas:
        known = ", ".join(one.key for one in catalogue().areas)
        raise typer.BadParameter(f"there is no area {area!r}; there are {known}", param_hint="--area")
    if as_json:
        typer.echo(json.dumps([_as_json(one) for part in areas for one in part.controls], indent=1))
        return
    for part in areas:
        typer.echo(part.title)
        for one in part.controls:
            typer.echo(f"  {one.id:<7} {one.control}")


@app.command()
def explain(
    control: Annotated[str, typer.Argument(metavar="ID", help="A control's id, such as AUZ-7.")],
    as_json: AsJson = False,
) -> None:
    """Say what a control asks, what enforces it, what proves it, and which standards ask for it."""
    try:
        one = catalogue()[control]
    except UnknownControl as error:
        typer.echo(f"redoubt: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(_as_json(one), indent=1))
        return
    typer.echo(f"{one.id}  {one.control}\n")
    for label, text in (("enforced", one.enforce), ("proven", one.prove)):
        if text:
            typer.echo(textwrap.fill(text, 100, initial_indent=f"  {label:<9}", subsequent_indent=" " * 11))
    for name, ids in one.standards.items():
        typer.echo(f"  {name}: {', '.join(ids)}")


def _as_json(one: Control) -> dict[str, Any]:
    return {
        "id": one.id,
        "area": one.area,
        "control": one.control,
        "enforce": one.enforce,
        "prove": one.prove,
        "asvs": list(one.asvs),
        "api": list(one.api),
        "pci": list(one.pci),
    }
