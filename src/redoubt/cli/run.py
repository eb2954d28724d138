"""`redoubt run`: start an app on this machine."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from redoubt.runtime.launch import Running, RunOptions, running

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def say_addresses(run: Running) -> None:
    """Print where a running app is reached and the operator links that are still unused."""
    where = run.addresses
    typer.echo(f"  app      {where.base_url}")
    typer.echo(f"  console  {where.base_url}/console")
    if where.mailbox_url:
        typer.echo(f"  mailbox  {where.mailbox_url}")
    if where.provider_url:
        typer.echo(f"  payment provider (sandbox)  {where.provider_url}")
    typer.echo(f"  trust this authority in your browser: {where.ca_file}")
    if run.operator_links:
        typer.echo("  operator links, each good for one person, once:")
        for link in run.operator_links:
            typer.echo(f"    {link}")


def serve_until_stopped(run: Running) -> None:
    """Keep the processes alive until SIGINT or SIGTERM."""
    stopped: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        stopped.append(number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        run.supervisor.watch(lambda: bool(stopped), run.on_restart)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@app.command()
def run(
    directory: Annotated[Path, typer.Argument(help="The app's folder: what `redoubt build` wrote.")] = Path(),
    state: Annotated[
        Path | None, typer.Option(help="Keep databases and keys here instead of DIR/var.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The app's port; 0 takes free ports for everything.", min=0, max=65535)
    ] = None,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Fresh empty state on free ports, removed at the end.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write addresses and process ids to this file as JSON once all is up.")
    ] = None,
) -> None:
    """Start the app in DIRECTORY with its worker and its charge service, over TLS on loopback names.

    Databases and keys lie in DIR/var unless --state says otherwise. Development apps get a mailbox page and a
    payment provider's sandbox beside them. A process that dies is started again. Stop with Ctrl-C.
    """
    options = RunOptions(directory=directory, state=state, port=port, ephemeral=ephemeral)
    with running(options, lambda text: typer.echo(f"{text} …", err=True)) as live:
        if ready_file is not None:
            live.write_ready(ready_file)
            live.keep_ready(ready_file)
        typer.echo(f"{live.settings.app.name} is running:")
        say_addresses(live)
        typer.echo("Stop with Ctrl-C.")
        serve_until_stopped(live)
