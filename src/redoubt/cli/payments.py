"""`redoubt payments`: look at the charge service's intents and verify its ledger offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from redoubt.core.db import Database, Tx
from redoubt.core.settings import Settings
from redoubt.payments import money
from redoubt.payments.charge import store
from redoubt.payments.charge.errors import ConfigInvalid
from redoubt.payments.charge.ledger import Head
from redoubt.payments.charge.ledger_verify import recorded_heads, verify

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Look at payments and verify the ledger. Needs to read the charge service's database.",
)
ledger = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="The ledger.")
app.add_typer(ledger, name="ledger")

Directory = Annotated[Path, typer.Argument(help="The app's folder.", exists=True, file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def _database(directory: Path) -> Iterator[Database]:
    url = Settings.load(directory).charge_database_url().reveal()
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).exists():
        raise ConfigInvalid(
            f"there is no charge database at {path}.", hint="Start the app once: redoubt run DIR"
        )
    db = Database(url)
    try:
        yield db
    finally:
        db.close()


@app.command("list")
def list_(
    directory: Directory,
    state: Annotated[str | None, typer.Option(help="Only intents in this state, such as unknown.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List payments and refunds, newest first; `human` marks those that nobody could resolve."""
    table = store.intents
    query = sa.select(table).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(table.c.state == state)
    with _database(directory) as db:
        rows = db.read_sync(lambda tx: [dict(row) for row in tx.execute(query).mappings()])
    names = ("id", "tenant", "kind", "op", "order_ref", "state", "amount", "currency", "refunded", "failure")
    shown = [{**{name: row[name] for name in names}, "human": row["paged_at"] is not None} for row in rows]
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
        return
    for row in shown:
        amount = money.decimal_text(row["amount"], row["currency"])
        mark = "  needs a person" if row["human"] and row["state"] in ("created", "unknown") else ""
        typer.echo(f"{row['kind']:8} {row['state']:10} {amount:>12} {row['currency']}  {row['op']}{mark}")


@ledger.command("verify")
def ledger_verify(
    directory: Directory,
    head: Annotated[
        list[str] | None, typer.Option(help="A head noted elsewhere, TENANT:SEQ:HASH; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every chain and balance, and compare with the heads in the audit log. Exit 1 when anything is wrong."""
    noted = [_head(text) for text in head or []]

    def check(tx: Tx) -> Any:
        return verify(tx, known_heads=[*recorded_heads(tx), *noted])

    with _database(directory) as db:
        report = db.read_sync(check)
    heads = {tenant: f"{tenant}:{found.seq}:{found.hash}" for tenant, found in report.heads.items()}
    if as_json:
        result = {
            "sound": report.sound,
            "entries": report.entries,
            "heads": heads,
            "faults": list(report.faults),
        }
        typer.echo(json.dumps(result, indent=1))
    else:
        for fault in report.faults:
            typer.echo(f"broken: {fault}")
        for noted_head in heads.values():
            typer.echo(f"head: {noted_head}")
        verdict = "sound" if report.sound else f"{len(report.faults)} faults"
        typer.echo(f"{report.entries} entries, {verdict}")
    if not report.sound:
        raise typer.Exit(1)


def _head(text: str) -> Head:
    tenant, _, rest = text.partition(":")
    seq, _, digest = rest.partition(":")
    if not tenant or not seq.isdigit() or len(digest) != 64:
        raise typer.BadParameter("a head is TENANT:SEQ:HASH")
    return Head(tenant, int(seq), digest)
