"""`redoubt audit`: verify the log offline, list and show entries, print the newest checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import asdict, frozen

from redoubt.audit.errors import ProofInvalid
from redoubt.audit.models import Entry
from redoubt.audit.note import VerifierKey
from redoubt.audit.publish import CHECKPOINT
from redoubt.audit.reader import AuditStore, Filters
from redoubt.audit.sequencer import SIGNING
from redoubt.audit.verify import Report, verify
from redoubt.core.base import Core
from redoubt.core.clock import SystemClock
from redoubt.core.db import Database
from redoubt.core.ids import SystemIds
from redoubt.core.keys import Keyring
from redoubt.core.redact import Redactor
from redoubt.core.secrets import Secret, SecretRef
from redoubt.core.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Verify, list and show audit entries.",
)

Dir = Annotated[Path, typer.Option("--dir", help="The app's folder: what `redoubt build` wrote.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tenant = Annotated[str, typer.Option(help="The tenant whose entries are meant; * for all.")]

TAMPERED, UNUSABLE = 1, 2


@app.command("verify")
def verify_(
    directory: Dir = Path(),
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint that was kept elsewhere; repeatable.", exists=True, dir_okay=False),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A public key (name+hash+key, or a file of it) that was kept elsewhere; repeatable."
        ),
    ] = None,
    database: Annotated[
        str | None, typer.Option(help="Verify this database (URL) instead of the app's; needs --key.")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="The checkpoint folder of --database.", exists=True, file_okay=False)
    ] = None,
    charge: Annotated[bool, typer.Option("--charge", help="Verify the charge service's own log.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether the store still holds exactly what was signed. Exit 0: it does; 1: it does not; 2: cannot tell.

    Without --against this proves what this host can prove about itself; with a checkpoint and --key from elsewhere,
    also that nobody rewrote the log from the root up.
    """
    keys = [_key(text) for text in key or []]
    if database is not None:
        if not keys:
            raise typer.BadParameter(
                "a database without its app needs the log's public key", param_hint="--key"
            )
        url, folder = database, checkpoints
    else:
        log = _charge_log(directory) if charge else _app_log(directory)
        url, folder = log.url, log.folder
        keys = keys or log.keys()
    with _database(url) as db:
        report = verify(db, keys, directory=folder, against=against or [])
    typer.echo(json.dumps(_report(report), indent=1) if as_json else _spoken(report))
    if report.findings:
        raise typer.Exit(TAMPERED)
    if not report.ok:
        raise typer.Exit(UNUSABLE)


@app.command("list")
def list_(
    directory: Dir = Path(),
    action: Annotated[
        str | None, typer.Option(help="Only this action and those below it, such as identity.")
    ] = None,
    outcome: Annotated[str | None, typer.Option(help="success, failure or denied.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this actor's id did.")] = None,
    target: Annotated[str | None, typer.Option(help="Only what befell TYPE:ID.")] = None,
    person: Annotated[
        str | None, typer.Option(help="Only entries about kind:value, such as email:ann@example.org.")
    ] = None,
    tenant: Tenant = "main",
    before: Annotated[str | None, typer.Option(help="Go on below this entry's id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: AsJson = False,
) -> None:
    """List entries, newest first."""
    if outcome not in (None, "success", "failure", "denied"):
        raise typer.BadParameter("success, failure or denied", param_hint="--outcome")
    filters = Filters(
        action=action,
        outcome=outcome,  # type: ignore[arg-type]  # checked above
        actor_id=actor,
        target=_pair(target, "--target"),
    )
    with _core(directory) as core:
        page = AuditStore(core).search(
            filters, tenant=_tenant(tenant), person=_pair(person, "--person"), before=before, limit=limit
        )
    if as_json:
        typer.echo(
            json.dumps({"entries": [_entry(one) for one in page.entries], "next": page.next}, indent=1)
        )
        return
    for one in page.entries:
        place = "-" if one.leaf_index is None else str(one.leaf_index)
        typer.echo(
            f"{one.id}  {one.at:%Y-%m-%d %H:%M:%S}Z  {place:>7}  {one.outcome:<7}  {one.action}  {one.actor_id}"
        )
    if page.next:
        typer.echo(f"more: --before {page.next}", err=True)


@app.command()
def show(
    entry_id: Annotated[str, typer.Argument(help="An entry's id, as `list` shows it.")],
    directory: Dir = Path(),
    tenant: Tenant = "*",
) -> None:
    """Show one entry with its proof of inclusion: body, place, audit path and the checkpoint that covers it."""
    with _core(directory) as core:
        store = AuditStore(core)
        entry = store.get(entry_id, tenant=_tenant(tenant))
        result: dict[str, Any] = {"entry": _entry(entry)}
        try:
            proven = store.prove(entry_id, tenant=_tenant(tenant))
        except ProofInvalid as error:
            result["proof"] = str(error)
        else:
            result["proof"] = {
                "index": entry.leaf_index,
                "size": proven.size,
                "root": proven.root.hex(),
                "path": [item.hex() for item in proven.path],
                "checkpoint": proven.checkpoint,
            }
    typer.echo(json.dumps(result, indent=1, ensure_ascii=False))


@app.command()
def checkpoint(
    directory: Dir = Path(),
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the log's public key instead.")
    ] = False,
    charge: Annotated[bool, typer.Option("--charge", help="The charge service's own log.")] = False,
) -> None:
    """Print the newest signed checkpoint: keep it elsewhere and give it to `verify --against` later."""
    log = _charge_log(directory) if charge else _app_log(directory)
    if public_key:
        typer.echo(str(log.keys()[0]))
        return
    path = log.folder / CHECKPOINT
    if not path.exists():
        typer.echo("redoubt: no checkpoint is signed yet. Start the app's worker.", err=True)
        raise typer.Exit(UNUSABLE)
    typer.echo(path.read_text(encoding="utf-8"), nl=False)


@frozen
class _Log:
    """Where one log of an app lies, and what it signs with."""

    name: str
    url: str
    folder: Path
    keyring: Path
    master: Secret

    def keys(self) -> list[VerifierKey]:
        """Return the public keys of all live generations."""
        ring = Keyring.open(self.keyring, self.master)
        return [VerifierKey(self.name, public) for public in ring.verification_keys(SIGNING).values()]


def _app_log(directory: Path) -> _Log:
    settings = Settings.load(directory)
    master = settings.reveal(settings.master_ref)
    url = settings.database_url().reveal()
    return _Log(settings.app.name, url, settings.checkpoint_dir, settings.keyring_path, master)


def _charge_log(directory: Path) -> _Log:
    settings = Settings.load(directory)
    own = settings.state_dir / "charge"
    keyring = settings.base / settings.charge.keyring if settings.charge.keyring else own / "keyring"
    master = settings.charge.master or SecretRef(
        "file", str(Path(settings.app.state_dir) / "charge" / "master.key")
    )
    url, folder = settings.charge_database_url().reveal(), settings.checkpoint_dir / "charge"
    return _Log(f"{settings.app.name}-charge", url, folder, keyring, settings.reveal(master))


def _spoken(report: Report) -> str:
    lines = [f"{report.size} entries, root {report.root.hex()}"]
    lines += [
        f"  {'agrees ' if one.agrees else 'DIFFERS'}  {one.source}: {one.size} entries"
        for one in report.checkpoints
    ]
    for one in report.findings:
        where = "" if one.index is None else f" at {one.index}"
        lines.append(f"  {one.kind.upper()}{where}: {one.detail}")
    if report.pending:
        lines.append(f"  {report.pending} entries wait for their place; nothing signed covers them yet")
    if report.findings:
        lines.append("The store does not hold what was signed.")
    elif not report.ok:
        lines.append("No signed checkpoint was found: nothing is shown.")
    else:
        lines.append(f"The store holds exactly what was signed, up to entry {report.covered}.")
    return "\n".join(lines)


def _report(report: Report) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "size": report.size,
        "root": report.root.hex(),
        "covered": report.covered,
        "pending": report.pending,
        "checkpoints": [{**asdict(one), "root": one.root.hex()} for one in report.checkpoints],
        "findings": [asdict(one) for one in report.findings],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(entry).items()
    }
    return {**values, "body": json.loads(entry.body)}


def _pair(text: str | None, option: str) -> tuple[str, str] | None:
    if text is None:
        return None
    first, separator, second = text.partition(":")
    if not separator or not first or not second:
        raise typer.BadParameter("write TYPE:VALUE", param_hint=option)
    return first, second


def _tenant(text: str) -> str | None:
    return None if text == "*" else text


def _key(text: str) -> VerifierKey:
    return VerifierKey.parse(Path(text).read_text(encoding="utf-8") if "+" not in text else text)


@contextmanager
def _database(url: str) -> Iterator[Database]:
    """Open a database that is there: verifying must not make an empty one and call it whole."""
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise typer.BadParameter("there is no such database file", param_hint="--database")
    db = Database(url)
    try:
        yield db
    finally:
        db.close()


@contextmanager
def _core(directory: Path) -> Iterator[Core]:
    """Open the app's core as its processes do, without loading the app's own code."""
    settings, clock = Settings.load(directory), SystemClock()
    keys = Keyring.open(settings.keyring_path, settings.reveal(settings.master_ref))
    with _database(settings.database_url().reveal()) as db:
        yield Core(settings, db, clock, SystemIds(clock), keys, Redactor(keys.mac("redact")))
