"""`redoubt db`: what each process may do in the database, what it used of that, and statements tried with its rights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from attrs import asdict
from sqlalchemy.engine import make_url

from redoubt.core.db import Access, Database
from redoubt.core.db.grants import ALL
from redoubt.core.db.roles import closing, statements
from redoubt.core.db.trial import Tried, attempt, columns_by_table
from redoubt.core.db.used import read_used, used_file
from redoubt.core.secrets import Secret
from redoubt.core.settings import Settings
from redoubt.payments.charge.process import service_access
from redoubt.runtime.launch import has_payments
from redoubt.runtime.loading import load_app
from redoubt.runtime.own_roles import development_roles

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Show what each process may do in the database; try statements with its rights.",
)

Role = Literal["app", "worker", "charge", "owner", "charge-owner"]
Directory = Annotated[Path, typer.Argument(help="The app's folder.", exists=True, file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("grants")
def grants_(directory: Directory, as_json: AsJson = False) -> None:
    """Print the statements that grant each process what it uses, code of your own included."""
    found = {process: _access(directory, process) for process in _processes(directory)}
    if as_json:
        rights = {process: sorted(access.parts()) for process, access in found.items()}
        typer.echo(json.dumps(rights, indent=1))
        return
    for process, access in found.items():
        typer.echo(f"-- {process}")
        for statement in [*closing(':"DBNAME"', "public"), *statements(access, f':"{process}"', "public")]:
            typer.echo(f"{statement};")


@app.command("unused")
def unused_(directory: Directory, as_json: AsJson = False) -> None:
    """List what is granted to a process and was never used by it since the app was first started.

    Exit 3 where there is something: a feature that nobody used yet, or a right too many. Use is recorded on SQLite only:
    exit 2 on PostgreSQL.
    """
    settings = Settings.load(directory)
    if not _is_sqlite(settings.database_url()):
        typer.echo("Error: use is recorded on SQLite only; run the same features there.", err=True)
        raise typer.Exit(2)
    state = settings.state_dir
    found = {
        process: sorted(_access(directory, process).unused(read_used(used_file(state, process))))
        for process in _processes(directory)
    }
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for process, rights in found.items():
            for verb, table, column in rights:
                typer.echo(f"{process:<7} {verb:<7} {table}{'' if column == ALL else f' ({column})'}")
    if any(found.values()):
        raise typer.Exit(3)


@app.command("tables")
def tables_(
    directory: Directory,
    role: Annotated[Role, typer.Option("--as", help="Whose tables.")] = "owner",
    as_json: AsJson = False,
) -> None:
    """List the tables of a process's database with their columns, as the owner of the database sees them."""
    with _database(directory, "charge-owner" if role.startswith("charge") else "owner") as db:
        found = db.read_sync(columns_by_table)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for table, columns in found.items():
            typer.echo(f"{table} ({', '.join(columns)})")


@app.command("try")
def try_(
    directory: Directory,
    sql: Annotated[list[str] | None, typer.Argument(help="Statements, one each.")] = None,
    role: Annotated[Role, typer.Option("--as", help="Whose rights.")] = "app",
    file: Annotated[
        Path | None, typer.Option(help="A JSON list of statements, instead of arguments.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try statements exactly as a process would send them, each in a transaction that is rolled back.

    Exit 0: all were obeyed; 3: one was refused for want of a right; 1: one failed for another reason.
    """
    wanted = list(sql or ()) if file is None else [str(one) for one in json.loads(file.read_text())]
    if not wanted:
        raise typer.BadParameter("name a statement, or a file with some")
    with _database(directory, role) as db:
        tried = [attempt(db, one) for one in wanted]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in tried], indent=1))
    else:
        for one in tried:
            typer.echo(f"{one.answer}{f' ({one.reason})' if one.reason else ''}  {one.sql}")
    raise typer.Exit(_status(tried))


def _status(tried: list[Tried]) -> int:
    answers = {one.answer for one in tried}
    return 1 if "failed" in answers else 3 if "refused" in answers else 0


def _is_sqlite(url: Secret) -> bool:
    return make_url(url.reveal()).get_backend_name() == "sqlite"


def _processes(directory: Path) -> list[str]:
    return ["app", "worker", *(["charge"] if has_payments(Settings.load(directory)) else [])]


def _access(directory: Path, process: str) -> Access:
    if process == "charge":
        return service_access()
    _, guard = load_app(directory)
    try:
        return guard.access(process)
    finally:
        guard.core.db.close()


@contextmanager
def _database(directory: Path, role: Role) -> Iterator[Database]:
    """Open the database as this process opens it: with its own PostgreSQL role, or held to its grants."""
    settings = Settings.load(directory)
    environment = {**os.environ, **development_roles(settings, charges=has_payments(settings))}
    if role in ("app", "worker"):
        os.environ.update({**environment, "REDOUBT_PROCESS": role})
        _, guard = load_app(directory)
        db = guard.core.db
    elif role == "charge":
        db = Database(Settings.load(directory, environment).charge_database_url("charge").reveal())
        db.restrict(service_access())
    else:
        address = settings.database_url() if role == "owner" else settings.charge_database_url()
        db = Database(address.reveal())
    try:
        yield db
    finally:
        db.close()
