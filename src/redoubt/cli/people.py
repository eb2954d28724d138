"""`redoubt people`: who has which role; take one at once, ask for one, end somebody's sessions."""

from __future__ import annotations

import getpass
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from redoubt.audit import Actor, Event, record
from redoubt.authz import store as authz_store
from redoubt.authz import versions
from redoubt.authz.consistency import HEADER, token_of
from redoubt.authz.membership import request_role, role_grant_kind, take_role
from redoubt.authz.roles import Roles
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard.approvals import Approvals
from redoubt.guard.kinds import Kinds
from redoubt.guard.models import Approval, VerifiedAssertion
from redoubt.identity.store import sessions, user_by_id, user_by_verified_email, users

from .audit import AsJson, Dir, _core

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List people; take a role at once, ask for one, end sessions.",
)

KEEP = {"operator": 2}
"""One operator asks, another approves: with fewer nobody could approve anything any more."""
_MAX = 1000

Who = Annotated[str, typer.Argument(help="A user's id or verified e-mail address.")]
Role = Annotated[str, typer.Argument(help="A role that the policies know.")]
Tenant = Annotated[str, typer.Option(help="The tenant.")]


@app.command("list")
def list_(
    directory: Dir = Path(),
    role: Annotated[str | None, typer.Option(help="Only those who have this role.")] = None,
    tenant: Tenant = "main",
    as_json: AsJson = False,
) -> None:
    """List accounts with their roles and how many sessions each has; the first thousand, oldest first."""
    with _core(directory) as core:
        found = core.db.read_sync(lambda tx: _people(tx, core, tenant, role))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for one in found:
        roles = ", ".join(one["roles"]) or "no role"
        state = "disabled" if one["disabled"] else f"{one['sessions']} sessions"
        typer.echo(f"{one['id']}  {one['email']:<32} {roles:<28} {state}")
    if not found:
        typer.echo("nobody" if role is None else f"nobody is {role!r}")


@app.command("revoke")
def revoke_(who: Who, role: Role, directory: Dir = Path(), tenant: Tenant = "main") -> None:
    """Take a role at once, in every process within a quarter of a second. Two operators must stay."""

    def take(tx: Tx) -> tuple[str, str]:
        user = _user(tx, tenant, who)
        take_role(tx, Roles(core), user, role, by=_operator().id, tenant=tenant, keep=KEEP)
        return user, token_of(tx, core, tenant)

    with _core(directory) as core:
        user, token = core.db.write_sync(take)
    typer.echo(f"{user} is no longer {role!r}")
    typer.echo(f"Requests that send {HEADER}: {token} see it from now on.", err=True)


@app.command("grant")
def grant_(
    who: Who,
    role: Role,
    by: Annotated[str, typer.Option("--by", help="Who asks: a user's id or verified e-mail address.")],
    ticket: Annotated[str, typer.Option(help="The change ticket.")],
    directory: Dir = Path(),
    tenant: Tenant = "main",
) -> None:
    """Ask that somebody be given a role: another operator, not the one who gains, signs it in the console."""

    def ask(tx: Tx) -> Approval:
        roles = Roles(core)
        if not _known_role(tx, tenant, role):
            raise typer.BadParameter(f"no running policy knows the role {role!r}", param_hint="ROLE")
        kind = role_grant_kind(core, roles, lambda tx, approval, person: False)
        approvals = Approvals(core, Kinds(kind), _NobodyHere())
        requester = _user(tx, tenant, by, "--by")
        return request_role(
            tx,
            approvals,
            roles,
            _user(tx, tenant, who),
            role,
            requester=requester,
            ticket=ticket,
            tenant=tenant,
        )

    with _core(directory) as core:
        approval = core.db.write_sync(ask)
    typer.echo(
        f"It waits for a second person: approve at /console/approvals/{approval.id}"
        f" before {approval.expires_at:%Y-%m-%d %H:%M}Z."
    )


@app.command("sign-out")
def sign_out(who: Who, directory: Dir = Path(), tenant: Tenant = "main") -> None:
    """End every session of somebody, in every process within a quarter of a second."""

    def end(tx: Tx) -> str:
        user = _user(tx, tenant, who)
        tx.execute(sa.update(users).where(users.c.id == user).values(epoch=users.c.epoch + 1))
        event = Event(
            "identity.session.revoke-all", "success", _operator(), tenant=tenant, target=("user", user)
        )
        record(tx, core, event)
        return user

    with _core(directory) as core:
        user = core.db.write_sync(end)
    typer.echo(f"every session of {user} is over")


def _people(tx: Tx, core: Core, tenant: str, role: str | None) -> list[dict[str, Any]]:
    reader = Roles(core)
    only = None if role is None else set(reader.holders(tx, tenant, role))
    found = tx.execute(
        sa.select(users.c.id, users.c.email, users.c.epoch, users.c.disabled_at)
        .where(users.c.tenant == tenant)
        .order_by(users.c.id)
        .limit(_MAX)
    ).all()
    live = _live_sessions(tx, core)
    return [
        {
            "id": row.id,
            "email": row.email,
            "roles": sorted(reader.roles(tx, tenant, row.id)),
            "sessions": live.get((row.id, row.epoch), 0),
            "disabled": row.disabled_at is not None,
        }
        for row in found
        if only is None or row.id in only
    ]


def _live_sessions(tx: Tx, core: Core) -> Mapping[tuple[str, int], int]:
    now = core.clock.now()
    counts: dict[tuple[str, int], int] = defaultdict(int)
    rows = tx.execute(
        sa.select(sessions.c.user_id, sessions.c.epoch, sa.func.count().label("number"))
        .where(sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)
        .group_by(sessions.c.user_id, sessions.c.epoch)
    )
    for row in rows:
        counts[row.user_id, row.epoch] += row.number
    return counts


def _user(tx: Tx, tenant: str, name: str, hint: str = "WHO") -> str:
    row = user_by_verified_email(tx, tenant, name.strip().lower()) if "@" in name else user_by_id(tx, name)
    if row is None or row.tenant != tenant:
        raise typer.BadParameter(f"no user {name!r} is known in {tenant}", param_hint=hint)
    return str(row.id)


def _known_role(tx: Tx, tenant: str, role: str) -> bool:
    head = authz_store.head(tx, tenant) or authz_store.head(tx, versions.MAIN)
    stored = None if head is None else authz_store.version(tx, head.tenant, head.version)
    policies = [] if stored is None else stored.body["policies"]
    return any(f"Role::{json.dumps(role)}" in item["text"] for item in policies)


def _operator() -> Actor:
    """The audit log names the person by their account on this machine: who can run this can read the state folder."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return Actor(kind="operator", id=f"cli:{name}")


class _NobodyHere:
    """No passkey is checked here: requests are made with this command, and decided in the console."""

    def verify(
        self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]
    ) -> VerifiedAssertion:
        """Refuse."""
        raise RuntimeError("approvals are given in the console.")
