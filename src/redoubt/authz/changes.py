"""Policy changes as change requests: what a second person signs, what it would change, what its approval does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard.approvals import Approvals
from redoubt.guard.errors import ApprovalStale
from redoubt.guard.kinds import Kind, MayDecide
from redoubt.guard.models import Approval, Decision

from . import store, versions
from .errors import AuthzError, CorruptPolicies, StaleBase
from .policyset import PolicySet, from_body


class PolicyChange:
    """Shows what a policy change alters, and makes it the head when it is approved."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def run(self, tx: Tx, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return which policies the change adds, removes and alters, with their text, against its base."""
        base = store.version(tx, str(payload["tenant"]), str(payload["base"]))
        if base is None:
            raise StaleBase("the base of this change is not stored.", hint="Propose it again.")
        before = from_body(base.body, base.id)
        return difference(before, from_body(payload["body"], str(payload["version"])))

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any]:
        """Move the head; raises ApprovalStale when the change no longer fits what runs."""
        payload = approval.payload
        try:
            if payload["tenant"] != approval.tenant or payload["ticket"] != approval.ticket:
                raise CorruptPolicies("the payload names another tenant or ticket than its request.")
            version = versions.activate(
                tx,
                self._core,
                payload,
                approval_id=approval.id,
                requester=approval.requester,
                approver=decision.approver,
            )
        except (AuthzError, KeyError, TypeError) as error:
            raise ApprovalStale(f"the policy change no longer fits: {error}") from error
        return {"version": version}


def policy_change_kind(core: Core, may_decide: MayDecide) -> Kind:
    """Return the kind of change request for policies; `may_decide` says who may be the second person."""
    change = PolicyChange(core)
    return Kind(versions.KIND, change, may_decide, change)


def import_version(
    tx: Tx,
    approvals: Approvals,
    policies: PolicySet,
    *,
    author: str,
    ticket: str,
    note: str = "",
    tenant: str = versions.MAIN,
) -> Approval:
    """Ask for `policies`, parsed and checked, to become the head; only somebody else's approval makes them so.

    Raises StaleBase where they run already, UnknownVersion before genesis, ReviewRequired without a ticket.
    """
    ticket = ticket.strip()
    payload = versions.change_payload(tx, policies, tenant=tenant, author=author, ticket=ticket, note=note)
    return approvals.create(tx, versions.KIND, payload, requester=author, ticket=ticket, tenant=tenant)


def rollback(
    tx: Tx,
    approvals: Approvals,
    version: str,
    *,
    author: str,
    ticket: str,
    note: str = "",
    tenant: str = versions.MAIN,
) -> Approval:
    """Ask for the stored `version` to become the head again: judged and reviewed like any other change."""
    ticket = ticket.strip()
    payload = versions.rollback_payload(tx, version, tenant=tenant, author=author, ticket=ticket, note=note)
    return approvals.create(tx, versions.KIND, payload, requester=author, ticket=ticket, tenant=tenant)


def difference(before: PolicySet, after: PolicySet) -> dict[str, Any]:
    """Return what `after` adds, removes and alters against `before`, by @id."""
    shared = before.texts.keys() & after.texts.keys()
    return {
        "added": {key: after.texts[key] for key in sorted(after.texts.keys() - shared)},
        "removed": {key: before.texts[key] for key in sorted(before.texts.keys() - shared)},
        "altered": {
            key: {"before": before.texts[key], "after": after.texts[key]}
            for key in sorted(shared)
            if before.texts[key] != after.texts[key]
        },
        "schema_altered": before.schema_text != after.schema_text,
        "verdict": "widening",  # until it is proven otherwise
    }
