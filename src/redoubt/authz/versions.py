"""Policy versions: genesis, changes that wait for a second person, roll-back, history.

Until widenings can be proven, every change counts as one: it becomes a change request over the exact policies, and
only its activation by somebody else moves the head. Rolling back is a change like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .errors import CorruptPolicies, GenesisExists, ReviewRequired, StaleBase, UnknownVersion
from .policyset import PolicySet, from_body

KIND = "policy.change"
MAIN = "main"


def genesis(tx: Tx, core: Core, policies: PolicySet, *, tenant: str = MAIN, author: str = "init") -> str:
    """Record version 0 of a tenant's policies, at initialisation, and return its id.

    Raises GenesisExists once there is a head: from then on only `activate` moves it.
    """
    if store.head(tx, tenant) is not None:
        raise GenesisExists(
            f"the policies of {tenant} have a history already.", hint="Propose a change instead."
        )
    now = core.clock.now()
    store.insert_version(
        tx,
        store.Version(tenant, policies.version, None, policies.body, author, "", [], "genesis", now),
    )
    store.insert_head(
        tx,
        store.Head(tenant, 0, policies.version, "genesis", author, None, None, "", "genesis", now),
    )
    _record(tx, core, "authz.policy.genesis", tenant, "service", author, {"version": policies.version})
    return policies.version


def change_payload(
    tx: Tx, policies: PolicySet, *, tenant: str, author: str, ticket: str, note: str = ""
) -> dict[str, Any]:
    """Return what a second person signs to make `policies` the head: the whole text and the base it replaces.

    Raises UnknownVersion when there is nothing to replace, StaleBase when nothing would change.
    """
    return _payload(tx, policies.version, policies.body, "change", tenant, author, ticket, note)


def rollback_payload(
    tx: Tx, version: str, *, tenant: str, author: str, ticket: str, note: str = ""
) -> dict[str, Any]:
    """Return what a second person signs to make the stored `version` the head again."""
    stored = load(tx, tenant, version)
    return _payload(tx, stored.version, stored.body, "rollback", tenant, author, ticket, note)


def activate(
    tx: Tx, core: Core, payload: Mapping[str, Any], *, approval_id: str, requester: str, approver: str
) -> str:
    """Make the policies of an approved change request the head, in the approving transaction.

    Everything is checked again: the text against its hash and the schema, the base against the head, the two people.
    Raises CorruptPolicies, StaleBase or ReviewRequired; the database refuses the last by itself too.
    """
    tenant, author = str(payload["tenant"]), str(payload["author"])
    if author != requester or approver == requester or not payload["ticket"]:
        raise ReviewRequired(
            "a policy change needs its ticket and an approval by somebody else than its author.",
            hint="Ask a second person.",
        )
    policies = from_body(payload["body"], payload["version"])
    current = store.head(tx, tenant)
    if current is None or current.version != payload["base"]:
        raise StaleBase(
            "the policies changed since this request was written.", hint="Propose it again on today's head."
        )
    now = core.clock.now()
    if store.version(tx, tenant, policies.version) is None:
        store.insert_version(
            tx,
            store.Version(
                tenant,
                policies.version,
                current.version,
                policies.body,
                author,
                str(payload["ticket"]),
                [approver],
                str(payload["note"]),
                now,
            ),
        )
    store.insert_head(
        tx,
        store.Head(
            tenant,
            current.seq + 1,
            policies.version,
            str(payload["kind"]),
            author,
            approval_id,
            approver,
            str(payload["ticket"]),
            str(payload["note"]),
            now,
        ),
    )
    _record(
        tx,
        core,
        "authz.policy.activate",
        tenant,
        "user",
        approver,
        {
            "version": policies.version,
            "base": current.version,
            "kind": payload["kind"],
            "author": author,
            "ticket": payload["ticket"],
            "approval": approval_id,
        },
    )
    return policies.version


def load(tx: Tx, tenant: str, version: str) -> PolicySet:
    """Return a stored policy set by its id or an unambiguous beginning of it, checked against its hash.

    Raises UnknownVersion or CorruptPolicies.
    """
    found = store.matching_versions(tx, tenant, version) if version else []
    if len(found) != 1:
        raise UnknownVersion(
            f"{'several versions start' if found else 'no version starts'} with {version!r}.",
            hint="`redoubt policy history` lists them.",
        )
    stored = store.version(tx, tenant, found[0])
    if stored is None:
        raise UnknownVersion(f"version {found[0]} is gone.")
    return from_body(stored.body, stored.id)


def current(tx: Tx, tenant: str) -> PolicySet:
    """Return the policy set that a tenant's head names; raises UnknownVersion where there is none."""
    head = store.head(tx, tenant)
    if head is None:
        raise UnknownVersion(f"no policies are stored for {tenant}.", hint="Initialise the app first.")
    stored = store.version(tx, tenant, head.version)
    if stored is None:
        raise CorruptPolicies("the head names a version that is not stored.")
    return from_body(stored.body, stored.id)


def _payload(
    tx: Tx,
    version: str,
    body: Mapping[str, Any],
    kind: str,
    tenant: str,
    author: str,
    ticket: str,
    note: str,
) -> dict[str, Any]:
    head = store.head(tx, tenant)
    if head is None:
        raise UnknownVersion(f"no policies are stored for {tenant}.", hint="Initialise the app first.")
    if head.version == version:
        raise StaleBase("these policies run already.", hint="There is nothing to change.")
    if not ticket.strip():
        raise ReviewRequired("a policy change needs a change ticket.", hint="Give one with --ticket.")
    return {
        "tenant": tenant,
        "kind": kind,
        "base": head.version,
        "version": version,
        "body": dict(body),
        "author": author,
        "ticket": ticket,
        "note": note,
    }


def _record(
    tx: Tx, core: Core, action: str, tenant: str, kind: Any, by: str, data: Mapping[str, Any]
) -> None:
    record(
        tx,
        core,
        Event(
            action=action,
            outcome="success",
            actor=Actor(kind=kind, id=by),
            tenant=tenant,
            target=("PolicySet", str(data["version"])),
            data=data,
        ),
    )
