"""Proposals and their second person, with passkeys that repeat the challenge: real ones are tested elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from redoubt.authz import store, versions
from redoubt.authz.changes import policy_change_kind, propose
from redoubt.authz.errors import ReviewRequired
from redoubt.authz.policyset import PolicySet
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard.approvals import Approvals
from redoubt.guard.kinds import Kinds
from redoubt.guard.models import Approval, VerifiedAssertion

from ..model import WIDER, policies

ANN, BOB, EVE = "ann", "bob", "eve"


class Signs:
    """Takes an assertion that repeats the challenge in hexadecimal."""

    def verify(
        self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]
    ) -> VerifiedAssertion:
        if assertion.get("id") != challenge.hex():
            raise ReviewRequired("not over these bytes")
        return VerifiedAssertion(user_id, f"key-{user_id}", True)


def begin(core: Core, first: PolicySet | None = None) -> Approvals:
    """Record version 0, and return the change requests that Ann and Bob may decide."""
    core.db.write_sync(lambda tx: versions.genesis(tx, core, first or policies()))
    return approvals_of(core)


def approvals_of(core: Core) -> Approvals:
    kind = policy_change_kind(core, lambda tx, approval, person: person in (ANN, BOB))
    return Approvals(core, Kinds(kind), Signs())


def ask(
    core: Core, approvals: Approvals, ticket: str = "T-1", wanted: PolicySet | None = None, author: str = ANN
) -> Approval:
    """Propose what must wait for a second person."""
    proposed = propose(core, approvals, wanted or policies(WIDER), author=author, ticket=ticket)
    assert proposed.approval is not None, proposed.verdict
    return proposed.approval


def approve(
    core: Core, approvals: Approvals, request: Approval, person: str = BOB, signed: Approval | None = None
) -> None:
    challenge = (signed or request).challenge.hex()
    core.db.write_sync(lambda tx: approvals.approve(tx, request.id, person, {"id": challenge}))


def head(core: Core) -> str:
    found = core.db.read_sync(lambda tx: store.head(tx, "main"))
    assert found is not None
    return found.version


def widened(core: Core, approvals: Approvals | None = None) -> str:
    """Let Ann ask for the wider policies and Bob approve them; return their version."""
    service = approvals or approvals_of(core)
    approve(core, service, ask(core, service))
    return head(core)


def actions(core: Core) -> list[str]:
    rows = core.db.read_sync(lambda tx: tx.execute(sa.text("SELECT action FROM audit_entries")).all())
    return sorted(row.action for row in rows)
