"""Binds change requests to the domains: whose passkey, who may decide what, and what an approval sets in motion."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from redoubt.authz import Roles
from redoubt.core.db import Tx
from redoubt.guard.kinds import MayDecide
from redoubt.guard.models import Approval, VerifiedAssertion
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
