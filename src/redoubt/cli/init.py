"""`redoubt init`: prepare an app's state before it runs somewhere else than under `redoubt run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from redoubt.core.settings import Settings
from redoubt.runtime.initialise import initialise
from redoubt.runtime.launch import has_payments
from redoubt.runtime.loading import load_app
from redoubt.runtime.state import ensure_charge_keyring, ensure_keyring, make_state_folder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="The app's folder: what `redoubt build` wrote.")] = Path(),
) -> None:
    """Make keys, bring the database to this version, record policy version 0 and print the operator links.

    Safe to run again: nothing that exists is replaced, and links are shown until they are used.
    """
    settings = Settings.load(directory)
    make_state_folder(settings)
    ensure_keyring(settings)
    if has_payments(settings):
        ensure_charge_keyring(settings)
    _, guard = load_app(directory)
    done = initialise(guard, directory)
    guard.core.db.close()
    if settings.charge.service is not None:
        from redoubt.payments.charge.process import prepare

        prepare(settings)
    typer.echo(f"policy version {done.policy_version}")
    for link in done.operator_links:
        typer.echo(f"operator link, for one person, once: {link}")
