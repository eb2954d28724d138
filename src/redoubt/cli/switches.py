"""`redoubt switch`: show and kill. Setting live again takes two people and happens in the console."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer

from redoubt.audit import Actor
from redoubt.guard.models import Switch
from redoubt.guard.switches import CAPABILITIES, EVERY_TENANT, kill, status

from .audit import AsJson, Dir, _core

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List and flip kill switches.",
)


@app.command("list")
def list_(directory: Dir = Path(), as_json: AsJson = False) -> None:
    """List every capability that can be killed, and whether it is."""
    found = {(one.tenant, one.capability): one for one in _status(directory)}
    names = {(EVERY_TENANT, name) for name in CAPABILITIES} | set(found)
    rows = [(tenant, name, found.get((tenant, name))) for tenant, name in sorted(names)]
    if as_json:
        shown = [
            {"tenant": tenant, "capability": name, "state": one.state if one else "live"}
            for tenant, name, one in rows
        ]
        typer.echo(json.dumps(shown, indent=1))
        return
    for tenant, name, one in rows:
        typer.echo(f"{'KILLED' if one and one.killed else 'live':<7} {name:<14} {tenant}")


@app.command("status")
def status_(directory: Dir = Path(), as_json: AsJson = False) -> None:
    """Show what is killed, since when, by whom and why. Exit 0: all live; 3: something is killed."""
    killed = [one for one in _status(directory) if one.killed]
    if as_json:
        shown = [
            {
                "tenant": one.tenant, "capability": one.capability, "since": one.changed_at.isoformat(),
                "by": one.changed_by, "reason": one.reason, "version": one.version,
            }
            for one in killed
        ]  # fmt: skip
        typer.echo(json.dumps(shown, indent=1))
    else:
        for one in killed:
            typer.echo(
                f"KILLED  {one.capability}  {one.tenant}  {one.changed_at:%Y-%m-%d %H:%M:%S}Z  {one.changed_by}: {one.reason}"
            )
        if not killed:
            typer.echo("everything is live")
    if killed:
        raise typer.Exit(3)


@app.command("kill")
def kill_(
    capability: Annotated[
        str, typer.Argument(help=f"What to switch off: {', '.join(CAPABILITIES)}, or an app's own.")
    ],
    reason: Annotated[str, typer.Option(help="Why; it goes into the audit log.")],
    directory: Dir = Path(),
    tenant: Annotated[str, typer.Option(help="Only for this tenant; default: for every one.")] = EVERY_TENANT,
) -> None:
    """Switch a capability off, in every process within a second. Only two people can switch it on again."""
    with _core(directory) as core:
        found = core.db.write_sync(
            lambda tx: kill(tx, core, capability, reason=reason, by=_operator(), tenant=tenant)
        )
    typer.echo(f"killed {found.capability} for {'every tenant' if tenant == EVERY_TENANT else tenant}")
    typer.echo("Two people set it live again at /console/switches.", err=True)


def _status(directory: Path) -> list[Switch]:
    with _core(directory) as core:
        return core.db.read_sync(status)


def _operator() -> Actor:
    """The audit log names the person by their account on this machine: who can run this can read the state folder."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return Actor(kind="operator", id=f"cli:{name}")
