"""`redoubt people` on an app's own folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import Result
from typer.testing import CliRunner

from redoubt.authz.roles import Roles
from redoubt.cli.audit import _core
from redoubt.cli.people import app

from .test_policy_command import folder  # noqa: F401 - the fixture

ADA = "0190aaaa-0000-7000-8000-000000000001"
BOB = "0190aaaa-0000-7000-8000-000000000002"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def shop(folder: Path) -> Path:  # noqa: F811
    with _core(folder) as core:

        def begin(tx: object) -> None:
            tx.execute(  # type: ignore[attr-defined]
                sa.text(
                    "INSERT INTO identity_users (id, tenant, handle, email, email_verified_at, epoch, created_at)"
                    f" VALUES ('{BOB}', 'main', x'02', 'bob@example.org', 1, 0, 1)"
                )
            )
            for user, role in ((ADA, "operator"), (BOB, "operator"), (BOB, "support")):
                Roles(core).assign(tx, "main", user, role, "test")  # type: ignore[arg-type]

        core.db.write_sync(begin)
    return folder


def listed(shop: Path, *more: str) -> dict[str, list[str]]:
    found = json.loads(run("list", "--dir", shop, "--json", *more).stdout)
    return {one["email"]: one["roles"] for one in found}


def test_people_are_listed_with_their_roles(shop: Path) -> None:
    assert listed(shop) == {"op@example.org": ["operator"], "bob@example.org": ["operator", "support"]}
    assert listed(shop, "--role", "support") == {"bob@example.org": ["operator", "support"]}
    text = run("list", "--dir", shop).stdout
    assert "bob@example.org" in text
    assert "operator, support" in text
    assert "nobody is 'finance'" in run("list", "--dir", shop, "--role", "finance").stdout


def test_a_role_is_taken_at_once_but_not_from_the_last_two_operators(shop: Path) -> None:
    taken = run("revoke", "bob@example.org", "support", "--dir", shop)
    assert (taken.exit_code, taken.stdout) == (0, f"{BOB} is no longer 'support'\n")
    assert listed(shop)["bob@example.org"] == ["operator"]
    refused = run("revoke", BOB, "operator", "--dir", shop)
    assert refused.exit_code != 0
    assert "at least 2" in str(refused.exception)
    assert listed(shop)["bob@example.org"] == ["operator"]


def test_a_role_more_is_asked_for(shop: Path) -> None:
    asked = run(
        "grant", "op@example.org", "support", "--by", "bob@example.org", "--ticket", "T-1", "--dir", shop
    )
    assert asked.exit_code == 0, asked.output
    assert "approve at /console/approvals/" in asked.stdout
    assert listed(shop)["op@example.org"] == ["operator"]
    unknown = run("grant", ADA, "emperor", "--by", BOB, "--ticket", "T-1", "--dir", shop)
    assert (unknown.exit_code, "emperor" in unknown.output) == (2, True)
    nobody = run("grant", "eve@example.org", "support", "--by", BOB, "--ticket", "T-1", "--dir", shop)
    assert (nobody.exit_code, "eve@example.org" in nobody.output) == (2, True)
    invented = run("grant", ADA, "support", "--by", "invented", "--ticket", "T-1", "--dir", shop)
    assert (invented.exit_code, "--by" in invented.output) == (2, True)


def test_sessions_end_by_the_epoch_and_it_is_recorded(shop: Path) -> None:
    ended = run("sign-out", BOB, "--dir", shop)
    assert (ended.exit_code, ended.stdout) == (0, f"every session of {BOB} is over\n")
    with _core(shop) as core:
        epochs = core.db.read_sync(
            lambda tx: dict(tx.execute(sa.text("SELECT id, epoch FROM identity_users")).tuples().all())
        )
        events = core.db.read_sync(
            lambda tx: tx.execute(
                sa.text(
                    "SELECT actor_kind, target_id FROM audit_entries WHERE action = 'identity.session.revoke-all'"
                )
            ).all()
        )
    assert (epochs[BOB], epochs[ADA]) == (1, 0)
    assert [tuple(event) for event in events] == [("operator", BOB)]
