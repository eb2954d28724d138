"""`redoubt policy indexes`: which indexes an app's lists want, which it has, and what no index serves."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from redoubt.authz.filter import Way, existing_indexes, index_name, served, ways
from redoubt.authz.policyset import PolicySet, parse_folder
from redoubt.authz.schema import read_schema
from redoubt.payments.store import payments
from redoubt.runtime import payment_list
from redoubt.runtime.entities import Entities

MISSING = 1


def indexes(
    directory: Annotated[Path, typer.Argument(help="The app's folder.", exists=True, file_okay=False)],
    policies: Annotated[
        Path | None, typer.Option("--policies", help="The folder of the policies; default: the app's own.")
    ] = None,
) -> None:
    """Propose the indexes that the app's lists want under its policies; exit 1 where one of them is missing.

    A column that a condition reads in another way than as equal to something is reported: each row that the index
    holds is looked at for it.
    """
    missing = False
    with _entities(directory) as entities:
        running = parse_folder(policies or directory / "policies")
        filters = entities.filters(running)
        for kind in entities.types:
            table = entities.table(kind.name)
            found = ways(filters, kind.name, f"{kind.name}.read", kind.row_context(table))
            missing = _shown(kind.name, table, found) or missing
        if _lists_payments(running):
            found = ways(payment_list.FILTERS.of(running), payment_list.TYPE, f"{payment_list.TYPE}.read")
            missing = _shown(payment_list.TYPE, payments, found) or missing
    raise typer.Exit(MISSING if missing else 0)


def _lists_payments(policies: PolicySet) -> bool:
    return any(uid.id == f"{payment_list.TYPE}.list" for uid in read_schema(policies.schema_text).actions)


def _shown(name: str, table: sa.Table, found: list[Way]) -> bool:
    """Print the indexes that lists of `name` want; say whether one is missing."""
    missing, have = False, existing_indexes(table)
    for columns, used in _by_index(found).items():
        there = served(columns, have)
        missing = missing or not there
        who = ", ".join(dict.fromkeys(way.caller for way in used))
        typer.echo(f"{'there' if there else 'MISSING':<8} {name}: {', '.join(columns)}  (lists of: {who})")
        if not there:
            statement = (
                f"CREATE INDEX {index_name(table.name, columns)} ON {table.name} ({', '.join(columns)})"
            )
            typer.echo(f"         {statement}")
        for way in used:
            for line in _notes(way):
                typer.echo(f"         {line}")
    return missing


def _by_index(found: list[Way]) -> dict[tuple[str, ...], list[Way]]:
    grouped: dict[tuple[str, ...], list[Way]] = {}
    for way in found:
        grouped.setdefault(way.index, []).append(way)
    return grouped


def _notes(way: Way) -> Iterator[str]:
    if way.unindexed:
        yield f"unindexed for {way.caller}: {', '.join(way.unindexed)}: every row of the index is looked at"
    if way.sorted:
        yield f"sorted for {way.caller}: a column has several values, so all rows that match are put in order"


@contextmanager
def _entities(directory: Path) -> Iterator[Entities]:
    """Import what the app declares of its entities, and nothing else of it."""
    root = str(directory.resolve())
    sys.path.insert(0, root)
    try:
        try:
            found = getattr(importlib.import_module("app.entities"), "ENTITIES", None)
        except ModuleNotFoundError as error:
            raise typer.BadParameter(f"{directory} has no app/entities.py") from error
        if not isinstance(found, Entities):
            raise typer.BadParameter(f"{directory}/app/entities.py declares no ENTITIES")
        yield found
    finally:
        sys.path.remove(root)
        for name in [name for name in sys.modules if name == "app" or name.startswith("app.")]:
            del sys.modules[name]
