"""Policy changes: judged before anything is written; what is not proven harmless is a change request.

What a second person signs, what it would change, and what their approval does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.guard.approvals import Approvals
from redoubt.guard.errors import ApprovalStale
from redoubt.guard.kinds import Kind, MayDecide
from redoubt.guard.models import Approval, Decision

from . import store, versions
from .errors import AuthzError, CorruptPolicies, StaleBase
from .gate import (
    Directory,
    Examined,
    PoliciesRefused,
    Recorded,
    earlier_sets,
    examine,
    recorded,
    role_holders,
    with_nobody,
)
from .models import Entity
from .policyset import PolicySet, from_body
from .proofs import demand_no_elevation, keep_proof
from .schema.types import Environment

BUDGET = 60.0
"""Seconds that the proof of a change may take."""


class PolicyChange:
    """Shows what a policy change alters, and makes it the head when it is approved."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def run(self, tx: Tx, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return which policies the change adds, removes and alters, with their text, and the verdict with its evidence.

        Raises StaleBase or CorruptPolicies where base or verdict are not stored as the payload names them.
        """
        verdict = store.verdict(tx, str(payload["tenant"]), str(payload["verdict_id"]))
        if verdict is None or (verdict.base, verdict.head) != (payload["base"], payload["version"]):
            raise CorruptPolicies("no verdict about this change is stored.", hint="Propose it again.")
        base = store.version(tx, str(payload["tenant"]), str(payload["base"]))
        if base is None:
            raise StaleBase("the base of this change is not stored.", hint="Propose it again.")
        before = from_body(base.body, base.id)
        changed = difference(before, from_body(payload["body"], str(payload["version"])))
        return {**changed, "verdict": verdict.verdict, "evidence": verdict.evidence}

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


@frozen
class Proposed:
    """What became of a proposal: the running `version` where its proof let it pass, else the `approval` it waits for."""

    verdict: store.Verdict
    difference: Mapping[str, Any]
    version: str | None
    approval: Approval | None


def propose(
    core: Core,
    approvals: Approvals,
    policies: PolicySet,
    *,
    author: str,
    ticket: str = "",
    note: str = "",
    tenant: str = versions.MAIN,
    budget_seconds: float = BUDGET,
    directory: Directory = role_holders,
) -> Proposed:
    """Judge `policies`, parsed and checked, and make them the head or ask somebody else to.

    Blocks for as long as the proof takes, at most about `budget_seconds`, and holds no transaction meanwhile. What is
    proven equal or narrower runs when this returns; everything else waits for a second person, and needs a ticket.
    The evidence that they see holds a dry run over recorded decisions, and who of `directory` would gain.
    Raises StaleBase where these policies run already or the head moved meanwhile, UnknownVersion before genesis,
    ReviewRequired without a ticket, PoliciesRefused for what no second person can approve.
    """
    asked = _Asked("change", author, ticket.strip(), note, tenant)
    return _ask(core, approvals, asked, lambda tx: policies, budget_seconds, directory)


def rollback(
    core: Core,
    approvals: Approvals,
    version: str,
    *,
    author: str,
    ticket: str = "",
    note: str = "",
    tenant: str = versions.MAIN,
    budget_seconds: float = BUDGET,
    directory: Directory = role_holders,
) -> Proposed:
    """Make the stored `version` the head again, or ask somebody else to: judged and reviewed as `propose` does."""
    asked = _Asked("rollback", author, ticket.strip(), note, tenant)
    return _ask(
        core, approvals, asked, lambda tx: versions.load(tx, tenant, version), budget_seconds, directory
    )


def rehearse(
    core: Core,
    policies: PolicySet,
    *,
    tenant: str = versions.MAIN,
    budget_seconds: float = BUDGET,
    directory: Directory = role_holders,
) -> tuple[Examined, dict[str, Any]]:
    """Return what a proposal of `policies` would show, and their difference to what runs; nothing is written.

    Raises StaleBase where these policies run already, UnknownVersion before genesis, PoliciesRefused as a proposal does.
    """
    found = _examined(core, tenant, lambda tx: policies, budget_seconds, directory)
    return found[2], found[3]


@frozen
class _Asked:
    kind: str
    author: str
    ticket: str
    note: str
    tenant: str


def _ask(
    core: Core,
    approvals: Approvals,
    asked: _Asked,
    wanted: Callable[[Tx], PolicySet],
    seconds: float,
    directory: Directory,
) -> Proposed:
    head, policies, found, changed = _examined(core, asked.tenant, wanted, seconds, directory)
    verdict = store.Verdict(
        core.ids.uuid7(), asked.tenant, head.version, head.seq, policies.version, asked.kind, asked.author,
        found.verdict, found.passes, found.evidence, core.clock.now(),
    )  # fmt: skip

    def file(tx: Tx) -> Proposed:
        store.insert_verdict(tx, verdict)
        keep_proof(tx, core, asked.tenant, policies)
        if verdict.passes:
            version = versions.activate_proven(
                tx, core, verdict, policies.body, ticket=asked.ticket, note=asked.note
            )
            return Proposed(verdict, changed, version, None)
        now = store.head(tx, asked.tenant)
        if now is None or (now.seq, now.version) != (verdict.base_seq, verdict.base):
            raise StaleBase("the policies changed while this change was judged.", hint="Propose it again.")
        payload = versions.payload_of(verdict, policies.body, ticket=asked.ticket, note=asked.note)
        approval = approvals.create(
            tx, versions.KIND, payload, requester=asked.author, ticket=asked.ticket, tenant=asked.tenant
        )
        return Proposed(verdict, changed, None, approval)

    return core.db.write_sync(file)


@frozen
class _Read:
    head: store.Head
    base: PolicySet
    wanted: PolicySet
    decisions: list[Recorded]
    people: list[Entity]
    earlier: Mapping[Environment, PolicySet]


def _examined(
    core: Core, tenant: str, wanted: Callable[[Tx], PolicySet], seconds: float, directory: Directory
) -> tuple[store.Head, PolicySet, Examined, dict[str, Any]]:
    """Read what is needed in one transaction, and judge outside of any."""

    def read(tx: Tx) -> _Read:
        head, base = versions.running(tx, core, tenant)
        new = wanted(tx)
        earlier = earlier_sets(base, new, versions.past(tx, tenant))
        return _Read(head, base, new, recorded(tx, tenant), with_nobody(directory(tx)), earlier)

    it = core.db.read_sync(read)
    head, base, policies = it.head, it.base, it.wanted
    if base.version == policies.version:
        raise StaleBase("these policies run already.", hint="There is nothing to change.")
    demand_no_elevation(policies, budget_seconds=seconds)
    found = examine(
        base,
        policies,
        budget_seconds=seconds,
        decisions=it.decisions,
        people=it.people,
        earlier=it.earlier,
    )
    if found.refused:
        raise PoliciesRefused(found.refused)
    return head, policies, found, difference(base, policies)


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
    }
