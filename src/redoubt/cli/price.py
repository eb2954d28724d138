"""`redoubt price`: what prices were, which changes wait, and what a new one would do to recorded orders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from attrs import frozen

from redoubt.authz import AuthzRequest, Caller, PolicyHead, Roles
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard.approvals import Approvals
from redoubt.guard.kinds import Kinds
from redoubt.guard.models import Approval
from redoubt.identity.store import user_by_id, user_by_verified_email
from redoubt.payments.errors import PriceConflict
from redoubt.payments.money import decimal_text
from redoubt.payments.prices import PriceKey, PriceVersion, store
from redoubt.runtime import entity_store
from redoubt.runtime.entities import EntityType, Row
from redoubt.runtime.payment_routes import minor_units
from redoubt.runtime.pricing import Pricing

from .audit import AsJson, _core
from .policy_indexes import _entities

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Show prices, rehearse a new one over recorded orders, ask for it.",
)

WAITS = 3
_SHOWN = 20

Directory = Annotated[Path, typer.Argument(help="The app's folder.", exists=True, file_okay=False)]
What = Annotated[str, typer.Argument(help="The entity that has the price, such as Product.")]
RowId = Annotated[str, typer.Argument(help="The id of its row.")]
Amount = Annotated[str, typer.Argument(help="The new price in major units, such as 12.50.")]
FieldName = Annotated[str | None, typer.Option("--field", help="Which price, where the entity has several.")]
Tenant = Annotated[str, typer.Option(help="The tenant.")]
By = Annotated[str, typer.Option("--by", help="Who asks: a user's id or verified e-mail address.")]


@app.command("list")
def list_(
    directory: Directory,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    tenant: Tenant = "main",
    as_json: AsJson = False,
) -> None:
    """List the newest versions of all prices, and the changes that wait for a second person."""
    with _core(directory) as core:
        now = core.clock.now()
        found = core.db.read_sync(lambda tx: store.newest(tx, tenant, limit))
        waiting = core.db.read_sync(lambda tx: store.waiting(tx, tenant, now, limit=limit))
    if as_json:
        body = {
            "versions": [{**_place(one.key), **one.public()} for one in found],
            "waiting": [{**_place(one.key), **one.public()} for one in waiting],
        }
        typer.echo(json.dumps(body, indent=1))
        return
    for one in waiting:
        change = f"{_money(one.evidence['old'], one.currency)} → {_money(one.amount, one.currency)}"
        typer.echo(f"waits  {_name(one.key)}  {change}  /console/approvals/{one.approval_id}  {one.reason}")
    for version in found:
        typer.echo(f"{_line(version)}  {_name(version.key)}")
    if not found:
        typer.echo("no price is stored")


@app.command("show")
def show(
    directory: Directory, entity: What, row: RowId, tenant: Tenant = "main", as_json: AsJson = False
) -> None:
    """Show every version of a row's prices, newest first: since when, by whom, approved by whom and why."""
    with _core(directory) as core:
        found = core.db.read_sync(lambda tx: store.history(tx, tenant, entity, row))
    if not found:
        raise typer.BadParameter(f"no price of {entity} {row} is stored", param_hint="ROW")
    if as_json:
        typer.echo(json.dumps([one.public() for one in found], indent=1))
        return
    for one in found:
        typer.echo(
            f"{_line(one)}  {one.author}{f', approved by {one.approver}' if one.approver else ''}: {one.reason}"
        )


@app.command("rehearse")
def rehearse(
    directory: Directory,
    entity: What,
    row: RowId,
    amount: Amount,
    field: FieldName = None,
    tenant: Tenant = "main",
    as_json: AsJson = False,
) -> None:
    """Show which recorded orders would come to another total at a new price; nothing is written."""
    with _asked(directory, entity, row, amount, field, tenant) as asked:
        evidence = asked.core.db.read_sync(
            lambda tx: asked.pricing.prices.rehearse(tx, asked.key, asked.amount)
        )
    _say(evidence, as_json=as_json)


@app.command("propose")
def propose(
    directory: Directory,
    entity: What,
    row: RowId,
    amount: Amount,
    by: By,
    reason: Annotated[str, typer.Option(help="Why the price changes, such as the ticket.")],
    field: FieldName = None,
    tenant: Tenant = "main",
) -> None:
    """Ask for a new price, as somebody who may change the row; another person approves it in the console.

    Exit code 3: it waits.
    """
    with _asked(directory, entity, row, amount, field, tenant) as asked:
        core, prices = asked.core, asked.pricing.prices
        head = PolicyHead(core)
        head.refresh_sync()
        author = core.db.read_sync(lambda tx: _entitled(tx, head, asked, by))
        evidence = core.db.read_sync(lambda tx: prices.rehearse(tx, asked.key, asked.amount))
        approvals = Approvals(core, Kinds(prices.kind(_nobody)), _NobodyHere())
        proposal = core.db.write_sync(
            lambda tx: prices.propose(tx, approvals, asked.key, evidence, author=author, reason=reason)
        )
    _say(proposal.evidence)
    typer.echo(f"It waits for a second person: approve at /console/approvals/{proposal.approval_id}.")
    raise typer.Exit(WAITS)


@frozen
class _Asked:
    core: Core
    pricing: Pricing
    kind: EntityType
    row: Row
    key: PriceKey
    amount: int


@contextmanager
def _asked(
    directory: Path, entity: str, row_id: str, amount: str, field: str | None, tenant: str
) -> Iterator[_Asked]:
    with _entities(directory) as entities, _core(directory) as core:
        kind = next((one for one in entities.types if one.name == entity), None)
        if kind is None or not kind.prices:
            priced = ", ".join(one.name for one in entities.types if one.prices) or "nothing"
            raise typer.BadParameter(f"{entity} has no price; {priced} has", param_hint="ENTITY")
        name = field or next(iter(kind.prices))
        if name not in kind.prices or (field is None and len(kind.prices) > 1):
            raise typer.BadParameter(f"it is one of: {', '.join(kind.prices)}", param_hint="--field")
        row = core.db.read_sync(lambda tx: entity_store.find(tx, entities.table(entity), row_id, tenant))
        if row is None:
            raise typer.BadParameter(f"there is no {entity} {row_id} in {tenant}", param_hint="ROW")
        declared = kind.prices[name]
        try:
            wanted = declared.parse(minor_units(amount, declared.currency))
        except ValueError:
            low, high = declared.show(declared.min), declared.show(declared.max)
            raise typer.BadParameter(f"a price from {low} to {high}", param_hint="AMOUNT") from None
        key = PriceKey(tenant, entity, name, row_id)
        yield _Asked(core, Pricing(core, entities), kind, row, key, wanted)


def _entitled(tx: Tx, head: PolicyHead, asked: _Asked, name: str) -> str:
    """Return the id of a known person who may change the row, at no risk and without a fresh passkey."""
    tenant = asked.key.tenant
    user = user_by_verified_email(tx, tenant, name.strip().lower()) if "@" in name else user_by_id(tx, name)
    if user is None or user.tenant != tenant or user.disabled_at is not None:
        raise typer.BadParameter(f"no user {name!r} is known in {tenant}", param_hint="--by")
    caller = Caller(user.id, tenant, Roles(asked.core).roles(tx, tenant, user.id))
    amount = asked.kind.amount(asked.row)
    context: dict[str, Any] = {"risk": 0, "step_up": False} | ({} if amount is None else {"amount": amount})
    action, resource = f"{asked.kind.name}.update", asked.kind.resource(asked.row)
    question = AuthzRequest.of(caller.principal(), action, resource, context)
    if not head.decider(tenant).decide(question).allowed:
        raise PriceConflict(
            f"{name} may not do {action} on it.", hint="Whoever may change a row asks for its price."
        )
    return str(user.id)


def _say(evidence: Mapping[str, Any], *, as_json: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps(evidence, indent=1))
        return
    currency, total = evidence["currency"], evidence["sum"]
    typer.echo(f"{_money(evidence['old'], currency)} → {_money(evidence['new'], currency)}")
    typer.echo(
        f"of {evidence['orders']} recorded orders {evidence['affected']} would come to another total,"
        f" {evidence['unaffected']} to the same (the newest {evidence['window']['most']} of"
        f" {evidence['window']['days']} days)"
    )
    for one in evidence["changes"][:_SHOWN]:
        crosses = f"  beyond {', '.join(one['crosses'])}" if one["crosses"] else ""
        typer.echo(
            f"  {one['entity']} {one['order']}  {_money(one['now'], currency)} → {_money(one['proposed'], currency)}{crosses}"
        )
    if evidence["affected"] > _SHOWN:
        typer.echo(f"  … and {evidence['affected'] - _SHOWN} more: --json")
    typer.echo(
        f"together {_money(total['now'], currency)} → {_money(total['proposed'], currency)},"
        f" a difference of {_money(total['difference'], currency)}"
    )
    for cap in evidence["caps"]:
        if cap["orders"]:
            typer.echo(f"{cap['orders']} would go beyond {cap['cap']}")


def _line(one: PriceVersion) -> str:
    return f"{one.effective_at:%Y-%m-%d %H:%M}Z  {one.key.field} {one.version}  {_money(one.amount, one.currency)}"


def _name(key: PriceKey) -> str:
    return f"{key.entity}.{key.field} {key.row}"


def _place(key: PriceKey) -> dict[str, str]:
    return {"entity": key.entity, "row": key.row}


def _money(amount: int | None, currency: str) -> str:
    return "none" if amount is None else f"{decimal_text(amount, currency)} {currency}"


def _nobody(tx: Tx, approval: Approval, person: str) -> bool:
    """Nobody decides here: requests are made with this command, and decided in the console."""
    return False


class _NobodyHere:
    """No passkey is checked here."""

    def verify(self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]) -> NoReturn:
        """Refuse."""
        raise RuntimeError("approvals are given in the console.")
