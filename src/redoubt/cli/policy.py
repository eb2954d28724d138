"""`redoubt policy`: decide, explain, replay, list, show, propose and roll back an app's policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from attrs import asdict

from redoubt.authz import changes, store, versions
from redoubt.authz.errors import ReviewRequired
from redoubt.authz.explain import Explanation, explain
from redoubt.authz.models import AuthzRequest, Caller, Entity, app_entity, collection_entity, user_uid
from redoubt.authz.policyset import PolicySet, parse_folder
from redoubt.authz.replay import replay as replay_decision
from redoubt.authz.steps import newest
from redoubt.core.base import Core
from redoubt.core.clock import SystemClock
from redoubt.core.db import Database, Tx
from redoubt.core.ids import SystemIds
from redoubt.core.keys import Keyring
from redoubt.core.redact import Redactor
from redoubt.core.settings import Settings
from redoubt.guard.approvals import Approvals
from redoubt.guard.kinds import Kinds
from redoubt.guard.models import VerifiedAssertion
from redoubt.identity.store import user_by_id, user_by_verified_email

from . import policy_files, policy_indexes, policy_inputs, policy_mutate, policy_snapshot
from .policy_check import check
from .policy_proposals import directory as everybody
from .policy_proposals import evidence_lines, names_of, proposal_lines

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Decide, explain, replay, list and change an app's policies.",
)

app.command("check")(check)

T = TypeVar("T")
DENIED = 3

Directory = Annotated[Path, typer.Argument(help="The app's folder.", exists=True, file_okay=False)]
Tenant = Annotated[str, typer.Option(help="The tenant whose policies are meant.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ActionName = Annotated[str, typer.Option("--action", help="What is done, such as Order.read.")]
User = Annotated[str | None, typer.Option(help="Who does it; nobody when left out.")]
RoleNames = Annotated[
    list[str] | None, typer.Option("--role", help="A role; repeatable. Default: the stored ones.")
]
ResourceName = Annotated[
    str | None, typer.Option("--resource", help="Type:id; a bare Type: is its collection; default: the app.")
]
Owner = Annotated[str | None, typer.Option(help="The user who owns the resource.")]
State = Annotated[str | None, typer.Option(help="The state that the resource is in.")]
ResourceTenant = Annotated[
    str | None, typer.Option("--resource-tenant", help="The resource's tenant; default: the caller's.")
]
Attributes = Annotated[
    list[str] | None, typer.Option("--attr", help="A further attribute, name=JSON; repeatable.")
]
Risk = Annotated[int, typer.Option(min=0, max=100, help="The session's risk score.")]
StepUp = Annotated[bool, typer.Option("--step-up", help="A fresh passkey assertion was given.")]
Amount = Annotated[int | None, typer.Option(help="The request's amount in minor units.")]
VersionId = Annotated[
    str | None, typer.Option("--version", help="Decide by this stored version instead of the head.")
]
Folder = Annotated[
    Path | None, typer.Option("--policies", help="Decide by the policies of this folder instead.")
]

By = Annotated[str, typer.Option("--by", help="Who asks: a user's id or verified e-mail address.")]
Ticket = Annotated[str, typer.Option(help="The change ticket; what needs a second person needs one.")]
Budget = Annotated[float, typer.Option(min=0.1, help="Seconds that the proof may take.")]
Note = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command()
def decide(
    directory: Directory,
    action: ActionName,
    user: User = None,
    role: RoleNames = None,
    resource: ResourceName = None,
    owner: Owner = None,
    state: State = None,
    resource_tenant: ResourceTenant = None,
    attr: Attributes = None,
    risk: Risk = 0,
    step_up: StepUp = False,
    amount: Amount = None,
    tenant: Tenant = "main",
    version: VersionId = None,
    policies: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Decide one question by the app's policies: exit 0 for allow, 3 for deny."""
    question = _question(
        action, user, role, resource, owner, state, resource_tenant, attr, risk, step_up, amount
    )
    found = _explain(directory, question, tenant, version, policies)
    if as_json:
        typer.echo(json.dumps(_plain(found)["decision"], indent=2))
    else:
        decision = found.decision
        typer.echo(
            f"{'ALLOW' if decision.allowed else 'DENY'}  {', '.join(decision.reasons) or 'no policy applies'}"
        )
        for error in decision.errors:
            typer.echo(f"error: {error}", err=True)
    raise typer.Exit(0 if found.decision.allowed else DENIED)


@app.command(name="explain")
def explain_(
    directory: Directory,
    action: ActionName,
    user: User = None,
    role: RoleNames = None,
    resource: ResourceName = None,
    owner: Owner = None,
    state: State = None,
    resource_tenant: ResourceTenant = None,
    attr: Attributes = None,
    risk: Risk = 0,
    step_up: StepUp = False,
    amount: Amount = None,
    tenant: Tenant = "main",
    version: VersionId = None,
    policies: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Say which policies decided or erred, and for a deny which came near and what failed first in each."""
    question = _question(
        action, user, role, resource, owner, state, resource_tenant, attr, risk, step_up, amount
    )
    found = _explain(directory, question, tenant, version, policies)
    typer.echo(json.dumps(_plain(found), indent=2) if as_json else "\n".join(found.lines()))
    raise typer.Exit(0 if found.decision.allowed else DENIED)


@app.command()
def replay(directory: Directory, decision_id: str, as_json: AsJson = False) -> None:
    """Decide an audited decision again, under the version and with the values that it recorded."""
    with _database(directory) as db:
        found = db.read_sync(lambda tx: replay_decision(tx, decision_id))
    if as_json:
        plain = asdict(found, recurse=False) | {
            "explanation": _plain(found.explanation),
            "agrees": found.agrees,
        }
        typer.echo(json.dumps(plain, indent=2, default=list))
    else:
        typer.echo(
            f"recorded {'ALLOW' if found.recorded_allowed else 'DENY'} under {found.version[:12]}: "
            + ("decided the same again" if found.agrees else "DECIDED DIFFERENTLY")
        )
        if not found.complete:
            typer.echo("personal data in the recorded values was redacted: the values are not complete")
        typer.echo("\n".join(found.explanation.lines()))
    raise typer.Exit(0 if found.agrees else 1)


@app.command()
def history(directory: Directory, tenant: Tenant = "main", as_json: AsJson = False) -> None:
    """List which version was current when, who wrote it and who reviewed it, newest first."""
    with _database(directory) as db:
        steps = db.read_sync(lambda tx: store.history(tx, tenant))
    if as_json:
        typer.echo(json.dumps([asdict(step) for step in steps], indent=2, default=str))
        return
    for step in steps:
        reviewer = f", reviewed by {step.reviewer}, ticket {step.ticket}" if step.reviewer else ""
        typer.echo(
            f"{step.seq:>4}  {step.version[:12]}  {step.at:%Y-%m-%d %H:%M:%S}Z  {step.kind:<8}"
            f"  by {step.author}{reviewer}  {step.note}"
        )


@app.command()
def show(
    directory: Directory,
    version: Annotated[
        str | None, typer.Argument(help="A version or its beginning; default: the head.")
    ] = None,
    tenant: Tenant = "main",
    schema: Annotated[bool, typer.Option("--schema", help="Print the schema too.")] = False,
) -> None:
    """Print a stored version's policies."""
    with _database(directory) as db:
        found = db.read_sync(lambda tx: _stored(tx, tenant, version))
    typer.echo(f"// version {found.version}")
    if schema:
        typer.echo(found.schema_text)
    for _, text in sorted(found.texts.items()):
        typer.echo(text)
    for name, text in sorted(found.templates.items()):
        typer.echo(f"// template, with {sum(link.template == name for link in found.links)} links\n{text}")


@app.command()
def propose(
    directory: Directory,
    by: By,
    ticket: Ticket = "",
    policies: Annotated[
        Path | None,
        typer.Option("--policies", help="The folder of the new policies; default: the app's own."),
    ] = None,
    note: Note = "",
    tenant: Tenant = "main",
    budget: Budget = changes.BUDGET,
) -> None:
    """Judge new policies by proof: those that grant nothing more run at once, others wait for a second operator.

    Exit codes: 0 running; 3 waiting for approval in the console; 1 refused.
    """
    parsed = parse_folder(policies or directory / "policies")
    _propose(
        directory,
        tenant,
        by,
        lambda core, approvals, author: changes.propose(
            core,
            approvals,
            parsed,
            author=author,
            ticket=ticket,
            note=note,
            tenant=tenant,
            budget_seconds=budget,
            directory=everybody,
        ),
    )


@app.command()
def rehearse(
    directory: Directory,
    policies: Annotated[
        Path | None,
        typer.Option("--policies", help="The folder of the new policies; default: the app's own."),
    ] = None,
    tenant: Tenant = "main",
    budget: Budget = changes.BUDGET,
    as_json: AsJson = False,
) -> None:
    """Show what a proposal would: verdict, who gains, which recorded decisions would turn. Nothing is written.

    Exit codes: 0 when it would run at once; 3 when a second person would have to approve it.
    """
    parsed = parse_folder(policies or directory / "policies")
    core = _core(directory)
    try:
        found, changed = changes.rehearse(
            core, parsed, tenant=tenant, budget_seconds=budget, directory=everybody
        )
        names = core.db.read_sync(lambda tx: names_of(tx, found.evidence))
    finally:
        core.db.close()
    if as_json:
        typer.echo(json.dumps({"passes": found.passes, **found.evidence, "difference": changed}, indent=2))
    else:
        typer.echo("\n".join(evidence_lines(found.evidence, changed, names)))
    raise typer.Exit(0 if found.passes else DENIED)


@app.command()
def rollback(
    directory: Directory,
    version: Annotated[str, typer.Argument(help="The stored version, or its beginning.")],
    by: By,
    ticket: Ticket = "",
    note: Note = "",
    tenant: Tenant = "main",
    budget: Budget = changes.BUDGET,
) -> None:
    """Make a stored version the running one again: judged and reviewed like any other change."""
    _propose(
        directory,
        tenant,
        by,
        lambda core, approvals, author: changes.rollback(
            core,
            approvals,
            version,
            author=author,
            ticket=ticket,
            note=note,
            tenant=tenant,
            budget_seconds=budget,
            directory=everybody,
        ),
    )


@app.command()
def inputs(
    directory: Directory,
    tenant: Tenant = "main",
    version: VersionId = None,
    policies: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List what policies read of people and their groups, which way it counts, and who may write it.

    Exit codes: 0 when the schema says by @grant who writes each; 3 when something is gated; 1 for a wrong @grant.
    """
    if policies is not None:
        found = parse_folder(policies)
    else:
        with _database(directory) as db:
            found = db.read_sync(lambda tx: _stored(tx, tenant, version))
    raise typer.Exit(policy_inputs.say(found, as_json=as_json))


app.command(name="test")(policy_files.run_tests)
app.command(name="fmt")(policy_files.format_files)
app.command(name="indexes")(policy_indexes.indexes)
app.command(name="mutate")(policy_mutate.mutate_policies)
app.command(name="snapshot")(policy_snapshot.snapshot)


class _NobodyHere:
    """Stands where approvals are checked: on the command line there is no passkey, so nothing is approved."""

    def verify(
        self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]
    ) -> VerifiedAssertion:
        raise ReviewRequired("approvals are given in the console.")


def _propose(
    directory: Path, tenant: str, by: str, ask: Callable[[Core, Approvals, str], changes.Proposed]
) -> None:
    core = _core(directory)
    try:
        kind = changes.policy_change_kind(core, lambda tx, approval, person: False)
        approvals = Approvals(core, Kinds(kind), _NobodyHere())
        proposed = ask(core, approvals, core.db.read_sync(lambda tx: _operator(tx, tenant, by)))
        names = core.db.read_sync(lambda tx: names_of(tx, proposed.verdict.evidence))
    finally:
        core.db.close()
    typer.echo("\n".join(proposal_lines(proposed, names)))
    raise typer.Exit(0 if proposed.approval is None else DENIED)


def _core(directory: Path) -> Core:
    """Open the app's core as its processes do, without loading the app's own code."""
    settings, clock = Settings.load(directory), SystemClock()
    keys = Keyring.open(settings.keyring_path, settings.reveal(settings.master_ref))
    database = Database(settings.database_url().reveal())
    return Core(settings, database, clock, SystemIds(clock), keys, Redactor(keys.mac("redact")))


def _operator(tx: Tx, tenant: str, name: str) -> str:
    """Return the user id of a known person, so that the author of a change can never be an invented second one."""
    row = user_by_verified_email(tx, tenant, name.strip().lower()) if "@" in name else user_by_id(tx, name)
    if row is None or row.tenant != tenant or row.disabled_at is not None:
        raise typer.BadParameter(f"no user {name!r} is known in {tenant}", param_hint="--by")
    return str(row.id)


def _question(
    action: str,
    user: str | None,
    roles: list[str] | None,
    resource: str | None,
    owner: str | None,
    state: str | None,
    resource_tenant: str | None,
    attributes: list[str] | None,
    risk: int,
    step_up: bool,
    amount: int | None,
) -> Callable[[Tx | None, str], AuthzRequest]:
    context: dict[str, Any] = {"risk": risk, "step_up": step_up}
    if amount is not None:
        context["amount"] = amount

    def ask(tx: Tx | None, tenant: str) -> AuthzRequest:
        given = frozenset(roles or ())
        if user is not None and roles is None and tx is not None:
            given = frozenset(one.role for step in newest(tx, tenant, user) for one in step.held)
        caller = Caller(user_id=user, tenant=tenant, roles=given, risk=risk, step_up=step_up)
        about = _resource(resource, resource_tenant or tenant, owner, state, attributes or [])
        return AuthzRequest.of(caller.principal(), action, about, context)

    return ask


def _resource(
    name: str | None, tenant: str, owner: str | None, state: str | None, attributes: list[str]
) -> Entity:
    if name is None:
        return app_entity(tenant)
    kind, separator, identity = name.partition(":")
    if not separator:
        raise typer.BadParameter("a resource is Type:id, or Type: for its collection")
    if not identity:
        return collection_entity(kind, tenant, owner)
    attrs: dict[str, Any] = {"tenant": tenant}
    if owner is not None:
        attrs["owner"] = user_uid(owner)
    if state is not None:
        attrs["state"] = state
    for attribute in attributes:
        key, separator, text = attribute.partition("=")
        try:
            attrs[key] = json.loads(text)
        except ValueError:
            attrs[key] = text
        if not separator:
            raise typer.BadParameter(f"{attribute!r} is not name=value")
    return Entity(kind, identity, attrs)


def _explain(
    directory: Path,
    question: Callable[[Tx | None, str], AuthzRequest],
    tenant: str,
    version: str | None,
    folder: Path | None,
) -> Explanation:
    if folder is not None:
        return explain(parse_folder(folder), question(None, tenant))
    with _database(directory) as db:
        return db.read_sync(lambda tx: explain(_stored(tx, tenant, version), question(tx, tenant)))


def _stored(tx: Tx, tenant: str, version: str | None) -> PolicySet:
    return versions.current(tx, tenant) if version is None else versions.load(tx, tenant, version)


def _plain(found: Explanation) -> dict[str, Any]:
    plain: dict[str, Any] = asdict(found)
    return plain


@contextmanager
def _database(directory: Path) -> Iterator[Database]:
    db = Database(Settings.load(directory).database_url().reveal())
    try:
        yield db
    finally:
        db.close()
