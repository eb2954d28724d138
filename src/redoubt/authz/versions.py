"""Policy versions: genesis, steps of the head by proof or by a second person, roll-back, history.

A change is judged against the step of the head that it would replace. What is proven to grant nothing more becomes the
head by that verdict alone; everything else becomes a change request over the exact policies, and only its activation
by somebody else moves the head. Rolling back is a change like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .errors import CorruptPolicies, GenesisExists, ReviewRequired, StaleBase, UnknownVersion
from .policyset import PolicySet, from_body
from .proofs import demand_no_elevation, demand_proof, demand_standing, is_proven, keep_proof
from .seal import demand_seal, sealed

KIND = "policy.change"
MAIN = store.MAIN


def genesis(tx: Tx, core: Core, policies: PolicySet, *, tenant: str = MAIN, author: str = "init") -> str:
    """Record version 0 of a tenant's policies, at initialisation, and return its id.

    Raises GenesisExists once there is a head: from then on only a proof or a second person moves it. A tenant other
    than the app's begins with what decides for it already, else ReviewRequired. Raises PoliciesRefused where somebody
    could elevate themselves, or where the app's own begin outside the standing invariants.
    """
    if store.head(tx, tenant) is not None:
        raise GenesisExists(
            f"the policies of {tenant} have a history already.", hint="Propose a change instead."
        )
    if tenant != MAIN and running(tx, core, MAIN)[0].version != policies.version:
        raise ReviewRequired(
            f"the policies of {tenant} begin with those that decide for it now.",
            hint="Start with them, then propose a change.",
        )
    demand_no_elevation(policies)
    if tenant == MAIN:
        demand_standing(policies)
    keep_proof(tx, core, tenant, policies)
    now = core.clock.now()
    store.insert_version(
        tx,
        store.Version(tenant, policies.version, None, policies.body, author, "", [], "genesis", now),
    )
    first = store.Head(tenant, 0, policies.version, "genesis", author, None, None, "", "genesis", now)
    store.insert_head(tx, sealed(first, core.keys))
    _record(tx, core, "authz.policy.genesis", tenant, "service", author, {"version": policies.version})
    return policies.version


def running(tx: Tx, core: Core, tenant: str) -> tuple[store.Head, PolicySet]:
    """Return the step and the policies that decide for a tenant now.

    Raises UnknownVersion where there are none, CorruptPolicies where step or text is not what this app wrote.
    """
    head = store.head(tx, tenant)
    if head is None:
        raise UnknownVersion(f"no policies are stored for {tenant}.", hint="Initialise the app first.")
    demand_seal(head, core.keys)
    return head, _stored(tx, head)


def prove_running(core: Core) -> None:
    """Prove of every tenant's running policies what a process that loads them looks up, where it is not proven yet.

    Versions from before there were such proofs have none; what is corrupt is left to who loads it. Raises PoliciesRefused
    where somebody can elevate themselves.
    """

    def unproven(tx: Tx) -> list[tuple[str, PolicySet]]:
        found = [(tenant, _loaded(tx, tenant, head[1])) for tenant, head in sorted(store.heads(tx).items())]
        return [(of, them) for of, them in found if them is not None and not is_proven(tx, core, of, them)]

    for tenant, policies in core.db.read_sync(unproven):
        demand_no_elevation(policies)
        core.db.write_sync(partial(_keep, core, tenant, policies))


def _keep(core: Core, tenant: str, policies: PolicySet, tx: Tx) -> None:
    keep_proof(tx, core, tenant, policies)


def payload_of(verdict: store.Verdict, body: Mapping[str, Any], *, ticket: str, note: str) -> dict[str, Any]:
    """Return what a second person signs: the whole text, the base it replaces, the verdict about it, and the ticket.

    Raises ReviewRequired without a ticket.
    """
    if not ticket.strip():
        raise ReviewRequired(
            f"this change is {verdict.verdict}: it needs a change ticket.", hint="Give one with --ticket."
        )
    return {
        "tenant": verdict.tenant,
        "kind": verdict.kind,
        "base": verdict.base,
        "version": verdict.head,
        "body": dict(body),
        "author": verdict.author,
        "ticket": ticket,
        "note": note,
        "verdict": verdict.verdict,
        "verdict_id": verdict.id,
    }


def activate(
    tx: Tx, core: Core, payload: Mapping[str, Any], *, approval_id: str, requester: str, approver: str
) -> str:
    """Make the policies of an approved change request the head, in the approving transaction.

    Everything is checked again: the text against its hash and the schema, the base against the head, the verdict that
    was signed against the stored one, the two people. Raises CorruptPolicies, StaleBase or ReviewRequired; the
    database refuses by itself too.
    """
    author = str(payload["author"])
    if author != requester or approver == requester or not payload["ticket"]:
        raise ReviewRequired(
            "a policy change needs its ticket and an approval by somebody else than its author.",
            hint="Ask a second person.",
        )
    verdict = store.verdict(tx, str(payload["tenant"]), str(payload["verdict_id"]))
    if verdict is None or any(
        payload[name] != value
        for name, value in (
            ("base", verdict.base),
            ("version", verdict.head),
            ("kind", verdict.kind),
            ("author", verdict.author),
            ("verdict", verdict.verdict),
        )
    ):
        raise CorruptPolicies("the request names another verdict than the one that was stored.")
    return _move(
        tx,
        core,
        verdict,
        payload["body"],
        str(payload["ticket"]),
        str(payload["note"]),
        approval_id,
        approver,
    )


def activate_proven(
    tx: Tx, core: Core, verdict: store.Verdict, body: Mapping[str, Any], *, ticket: str = "", note: str = ""
) -> str:
    """Make what was proven to grant nothing more the head, on its author's word; `verdict` is stored already.

    Raises ReviewRequired for any other verdict, StaleBase where the head moved; the database refuses by itself too.
    """
    if not verdict.passes:
        raise ReviewRequired(f"this change is {verdict.verdict}: a second person must see it.")
    return _move(tx, core, verdict, body, ticket, note, None, None)


def _move(
    tx: Tx,
    core: Core,
    verdict: store.Verdict,
    body: Mapping[str, Any],
    ticket: str,
    note: str,
    approval_id: str | None,
    reviewer: str | None,
) -> str:
    tenant, author = verdict.tenant, verdict.author
    policies = from_body(body, verdict.head)
    current = store.head(tx, tenant)
    if current is None or (current.version, current.seq) != (verdict.base, verdict.base_seq):
        raise StaleBase(
            "the policies changed since this request was written.", hint="Propose it again on today's head."
        )
    demand_seal(current, core.keys)
    demand_proof(tx, core, tenant, policies)
    now = core.clock.now()
    if store.version(tx, tenant, policies.version) is None:
        reviewers = [] if reviewer is None else [reviewer]
        store.insert_version(
            tx,
            store.Version(
                tenant, policies.version, current.version, policies.body, author, ticket, reviewers, note, now
            ),
        )
    step = store.Head(
        tenant, current.seq + 1, policies.version, verdict.kind, author, approval_id, reviewer, ticket, note, now,
        verdict.id,
    )  # fmt: skip
    store.insert_head(tx, sealed(step, core.keys))
    data = {
        "version": policies.version,
        "base": current.version,
        "kind": verdict.kind,
        "author": author,
        "ticket": ticket,
        "verdict": verdict.verdict,
        "verdict_id": verdict.id,
        "approval": approval_id,
    }
    _record(tx, core, "authz.policy.activate", tenant, "user", reviewer or author, data)
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
    return _stored(tx, head)


def past(tx: Tx, tenant: str) -> Iterator[Callable[[], PolicySet | None]]:
    """Yield how to load each version that was ever current for a tenant, newest first; what is corrupt loads as None."""
    for version in dict.fromkeys(step.version for step in store.history(tx, tenant)):
        yield partial(_loaded, tx, tenant, version)


def _loaded(tx: Tx, tenant: str, version: str) -> PolicySet | None:
    stored = store.version(tx, tenant, version)
    try:
        return None if stored is None else from_body(stored.body, stored.id)
    except CorruptPolicies:
        return None


def _stored(tx: Tx, head: store.Head) -> PolicySet:
    stored = store.version(tx, head.tenant, head.version)
    if stored is None:
        raise CorruptPolicies("the head names a version that is not stored.")
    return from_body(stored.body, stored.id)


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
