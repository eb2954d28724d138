"""`redoubt webhooks`: look at deliveries, verify and replay them, rotate keys."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from redoubt.audit import Actor
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.secrets import SecretRef
from redoubt.runtime.app import Redoubt
from redoubt.webhooks import forensics, keystore, outbox

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Look at deliveries and rotate keys.",
)

Dir = Annotated[Path, typer.Option("--dir", help="The app's folder: what `redoubt build` wrote.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(help="A delivery's id, as `list` shows it.")]


def _operator() -> Actor:
    """The audit log names the person by their account on this machine: who can run this can read the state folder."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return Actor(kind="operator", id=f"cli:{name}")


def _write(directory: Path, fn: Callable[[Tx, Core], T]) -> T:
    guard = Redoubt.from_dir(directory, process="owner")
    try:
        return guard.core.db.write_sync(lambda tx: fn(tx, guard.core))
    finally:
        guard.core.db.close()


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


@app.command("list")
def list_(
    directory: Dir = Path(),
    endpoint: Annotated[str | None, typer.Option(help="Only deliveries to this endpoint.")] = None,
    state: Annotated[str | None, typer.Option(help="Only accepted, done or dead ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List stored deliveries, newest first, without their payloads."""
    guard = Redoubt.from_dir(directory, process="owner")
    try:
        rows = guard.core.db.read_sync(
            lambda tx: forensics.listed(tx, endpoint=endpoint, state=state, limit=limit)
        )
    finally:
        guard.core.db.close()
    if as_json:
        typer.echo(json.dumps([{key: _plain(value) for key, value in row.items()} for row in rows], indent=1))
        return
    for row in rows:
        held = "  held" if row["legal_hold"] else ""
        when = row["received_at"].isoformat(timespec="seconds")
        typer.echo(f"{row['id']}  {when}  {row['endpoint']:<16} {row['state']:<9} {row['size']:>7}{held}")
    if not rows:
        typer.echo("no deliveries", err=True)


@app.command()
def show(
    delivery: Id,
    directory: Dir = Path(),
    raw: Annotated[bool, typer.Option("--raw", help="Write the exact body to stdout. Audited.")] = False,
) -> None:
    """Show one delivery; with --raw its body byte for byte, which is recorded in the audit log."""
    if raw:
        found = _write(directory, lambda tx, core: forensics.raw(tx, core, delivery, _operator()))
        sys.stdout.buffer.write(found.body)
        sys.stdout.buffer.flush()
        return
    guard = Redoubt.from_dir(directory, process="owner")
    try:
        row = guard.core.db.read_sync(lambda tx: forensics.described(tx, delivery))
    finally:
        guard.core.db.close()
    typer.echo(json.dumps({key: _plain(value) for key, value in row.items()}, indent=1))


@app.command()
def verify(
    delivery: Id,
    directory: Dir = Path(),
    at_received: Annotated[
        bool, typer.Option("--at-received", help="Judge by the clock and the keys of the moment it came.")
    ] = False,
) -> None:
    """Verify a stored delivery's signature again; exit 1 when it does not hold."""
    finding = _write(
        directory,
        lambda tx, core: forensics.reverify(tx, core, delivery, _operator(), at_received=at_received),
    )
    when = finding.at.isoformat(timespec="seconds")
    if not finding.proven:
        typer.echo(f"not proven as of {when}: {finding.reason}")
        raise typer.Exit(1)
    typer.echo(f"proven as of {when} by key {finding.key_id}")


@app.command()
def replay(
    delivery: Id,
    directory: Dir = Path(),
    again: Annotated[
        bool, typer.Option("--again", help="Also when its effect happened already: it then happens twice.")
    ] = False,
) -> None:
    """Hand a dead delivery to its handler once more."""
    _write(directory, lambda tx, core: forensics.replay(tx, core, delivery, _operator(), again=again))
    typer.echo("queued")


@app.command()
def hold(
    delivery: Id,
    directory: Dir = Path(),
    release: Annotated[bool, typer.Option("--release", help="Lift the hold.")] = False,
) -> None:
    """Keep a delivery's bytes beyond their retention until the hold is lifted."""
    _write(directory, lambda tx, core: forensics.hold(tx, core, delivery, _operator(), on=not release))
    typer.echo("released" if release else "held")


@app.command()
def rotate(
    endpoint: Annotated[str, typer.Argument(help="An incoming or outgoing webhook's name.")],
    directory: Dir = Path(),
    ref: Annotated[
        str | None, typer.Option(help="Reference of the new secret; without it one is made.")
    ] = None,
    overlap: Annotated[
        float, typer.Option(help="Hours for which the old keys still count.", min=0, max=720)
    ] = 24.0,
) -> None:
    """Add a key and end the others after the overlap, in every process within a second."""
    secret = SecretRef.parse(ref) if ref is not None else None
    until = timedelta(hours=overlap)
    made = _write(directory, lambda tx, core: keystore.rotate(tx, core, endpoint, secret, until, _operator()))
    typer.echo(f"rotated; older keys of {endpoint} end in {overlap:g} h", err=True)
    if made is not None:
        typer.echo("the new secret, shown this once:", err=True)
        typer.echo(made)


@app.command()
def enable(
    target: Annotated[str, typer.Argument(help="A disabled outgoing webhook's name.")],
    directory: Dir = Path(),
) -> None:
    """Enable a target that was disabled, and send what waited for it."""
    count = _write(directory, lambda tx, core: outbox.enable(tx, core, target, _operator()))
    typer.echo(f"{count} deliveries queued")
