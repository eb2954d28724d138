"""Binds change requests to the domains: whose passkey, who may decide what, and what an approval sets in motion."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from redoubt.authz import Roles, versions
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard.kinds import Kind, MayDecide
from redoubt.guard.models import Approval, Decision, VerifiedAssertion
from redoubt.identity import IdentityService

OPERATOR = "operator"


@frozen(eq=False)
class PasskeyVerifier:
    """Checks an approver's assertion against the passkeys of identity (guard's AssertionVerifier)."""

    identity: IdentityService

    def verify(
        self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]
    ) -> VerifiedAssertion:
        """Return what the assertion proved; raises CeremonyRefused when it is not this user's over this challenge."""
        used = self.identity.verify_assertion(tx, user_id, challenge, assertion)
        credential = base64.urlsafe_b64encode(used.credential_id).rstrip(b"=").decode()
        return VerifiedAssertion(user_id=used.user_id, credential_id=credential, user_verified=True)


def holders_of(roles: Roles, *allowed: str) -> MayDecide:
    """Return the rule that a person decides who holds one of these roles now, in the request's tenant."""

    def may_decide(tx: Tx, approval: Approval, person: str) -> bool:
        return bool(roles.roles(tx, approval.tenant, person) & frozenset(allowed))

    return may_decide


@frozen(eq=False)
class PolicyExecutor:
    """Makes approved policies the head."""

    core: Core

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any]:
        """Activate the payload's policies; raises what `authz.versions.activate` raises."""
        version = versions.activate(
            tx,
            self.core,
            approval.payload,
            approval_id=approval.id,
            requester=approval.requester,
            approver=decision.approver,
        )
        return {"version": version}


def policy_kind(core: Core, roles: Roles) -> Kind:
    """Return the kind of change request that changes policies: decided by operators."""
    return Kind(versions.KIND, PolicyExecutor(core), holders_of(roles, OPERATOR))
