"""Changes of prices: proposed with a dry run, approved by a second person over exactly that, and only then counting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.pan import contains_pan
from redoubt.guard import Approval, Approvals, Decision, Kind
from redoubt.guard.errors import ApprovalStale
from redoubt.guard.kinds import MayDecide

from ..errors import PriceConflict, PriceStale
from ..money import MAX_AMOUNT
from . import store
from .models import PricedRows, PriceKey, PriceProposal, PriceVersion, Window
from .rehearsal import rehearse
from .seal import genuine, sealed

KIND = "price.change"
WINDOW = Window()
MOST_WAITING = 5
"""Proposals of one price that may wait at a time."""
_MAX_REASON = 500


class Prices:
    """Rehearses and proposes changes of prices, and carries out those that were approved (guard's DryRun, Executor)."""

    def __init__(self, core: Core, rows: PricedRows) -> None:
        self._core, self._rows = core, rows

    def kind(self, may_decide: MayDecide, *, lifetime: timedelta = timedelta(hours=24)) -> Kind:
        """Return the kind of change request that a new price is; `may_decide` says who may be the second person."""
        return Kind(KIND, self, may_decide, self, lifetime=lifetime)

    def rehearse(self, tx: Tx, key: PriceKey, amount: int) -> dict[str, Any]:
        """Return the dry run of a change to `amount` in minor units, over what is recorded now; nothing is written.

        Raises PriceConflict where the price is that already or `amount` is none, PriceStale for an unknown price.
        """
        head = self._head(tx, key)
        _demand_change(head, amount)
        since = self._core.clock.now() - timedelta(days=WINDOW.days)
        orders = self._rows.orders(tx, key, since, WINDOW.most)
        charge = self._core.settings.charge
        caps = {"per_payment": charge.per_payment, "refunds_per_day": charge.refunds_per_day}
        return {
            "base": head.version,
            **rehearse(
                orders, head.amount, amount, head.currency,
                caps={name: limit for name, limit in caps.items() if limit is not None}, window=WINDOW,
            ),
        }  # fmt: skip

    def propose(
        self,
        tx: Tx,
        approvals: Approvals,
        key: PriceKey,
        evidence: Mapping[str, Any],
        *,
        author: str,
        reason: str,
        request_id: str | None = None,
    ) -> PriceProposal:
        """Ask for what `evidence`, a result of `rehearse`, shows; the price stays until somebody else approves it.

        Asking again for the same while it waits returns what waits. Raises PriceStale where another price counts
        than the one it was rehearsed over, PriceConflict for a bad reason or where too much waits already.
        """
        head, amount = self._head(tx, key), int(evidence["new"])
        _demand_change(head, amount)
        if (head.version, head.amount) != (evidence["base"], evidence["old"]):
            raise PriceStale(
                "the price changed since this change was rehearsed.", hint="Look again and repeat it."
            )
        reason = reason.strip()
        if not reason or len(reason) > _MAX_REASON or contains_pan(reason):
            raise PriceConflict(
                "a price change says why, in at most 500 characters and without card numbers."
            )
        now = self._core.clock.now()
        pending = [
            one
            for one in store.waiting(tx, key.tenant, now, entity=key.entity, row=key.row)
            if one.key == key and one.base == head.version
        ]
        for one in pending:
            if (one.amount, one.author, one.reason) == (amount, author, reason):
                return one
        if len(pending) >= MOST_WAITING:
            raise PriceConflict(
                "several changes of this price wait already.", hint="Withdraw one, or have it decided."
            )
        proposal = PriceProposal(
            self._core.ids.uuid7(), key, head.version, amount, head.currency, author, reason, dict(evidence), now, None
        )  # fmt: skip
        store.insert_proposal(tx, proposal)
        approval = approvals.create(
            tx, KIND, _payload(proposal), requester=author, ticket=reason, tenant=key.tenant, request_id=request_id
        )  # fmt: skip
        store.bind_approval(tx, proposal.id, approval.id)
        counts = {name: evidence[name] for name in ("orders", "affected", "unaffected")}
        data = {"from": head.amount, "to": amount, **counts, "approval": approval.id}
        _record(
            tx, self._core, "proposed", key, Actor(kind="user", id=author), head.currency, data, request_id
        )
        found = store.proposal(tx, key.tenant, proposal.id)
        if found is None:
            raise PriceStale("the proposal was not stored.")
        return found

    def run(self, tx: Tx, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the dry run that is stored with the proposal: what its author saw, an approver sees and signs."""
        proposal = store.proposal(tx, str(payload["tenant"]), str(payload["proposal"]))
        if proposal is None or any(payload.get(name) != value for name, value in _payload(proposal).items()):
            raise ApprovalStale("the request names another proposal than the one that is stored.")
        return proposal.evidence

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any]:
        """Make an approved price count, in the approving transaction: its version, its row and its event.

        Raises ApprovalStale where another price counts by now, or where the row is gone or must stay as it is.
        """
        payload = approval.payload
        proposal = store.proposal(tx, approval.tenant, str(payload.get("proposal")))
        if proposal is None or proposal.approval_id != approval.id:
            raise ApprovalStale("no proposal of this request is stored.")
        self.run(tx, payload)
        if (proposal.author, proposal.reason) != (approval.requester, approval.ticket):
            raise ApprovalStale("the request names another author or reason than its proposal.")
        key, now = proposal.key, self._core.clock.now()
        head = store.head(tx, key)
        if head is None or not genuine(head, self._core.keys):
            raise ApprovalStale("the price that counts was not set by this app.")
        if head.version != proposal.base:
            raise ApprovalStale("the price changed since this request was written.", hint="Propose it again.")
        version = PriceVersion(
            key, head.version + 1, proposal.amount, proposal.currency, proposal.author, proposal.reason, head.version,
            proposal.id, approval.id, decision.approver, proposal.proposed_at, now,
        )  # fmt: skip
        try:
            store.insert_version(tx, sealed(version, self._core.keys))
            self._rows.put(tx, key, proposal.amount)
        except IntegrityError as error:
            raise ApprovalStale("the database refused this price.") from error
        except PriceStale as error:
            raise ApprovalStale(error.message, hint=error.hint) from error
        data = {
            "from": head.amount, "to": proposal.amount, "version": version.version, "author": proposal.author,
            "approval": approval.id,
        }  # fmt: skip
        actor = Actor(kind="user", id=decision.approver)
        _record(tx, self._core, "changed", key, actor, proposal.currency, data, None)
        return {"price": f"{key.entity}.{key.field}", "row": key.row, "version": version.version}

    def _head(self, tx: Tx, key: PriceKey) -> PriceVersion:
        head = store.head(tx, key)
        if head is None:
            raise PriceStale("there is no such price.")
        if not genuine(head, self._core.keys):
            raise PriceStale(
                "the price that counts was not set by this app.", hint="Find out who wrote price_versions."
            )
        return head


def set_first(
    tx: Tx,
    core: Core,
    key: PriceKey,
    amount: int | None,
    currency: str,
    actor: Actor,
    request_id: str | None = None,
) -> None:
    """Store version 1 of a price with its event, before its row is stored: the row's own trigger asks for it."""
    now = core.clock.now()
    first = PriceVersion(
        key, 1, amount, currency, actor.id, "created", None, None, None, None, now, now
    )  # fmt: skip
    store.insert_version(tx, sealed(first, core.keys))
    _record(tx, core, "set", key, actor, currency, {"to": amount, "version": 1}, request_id)


def _payload(proposal: PriceProposal) -> dict[str, Any]:
    """Return what is signed. The database reads these bytes: free text stands between parts whose form is fixed."""
    key = proposal.key
    return {
        "amount": proposal.amount,
        "author": proposal.author,
        "base": proposal.base,
        "currency": proposal.currency,
        "entity": key.entity,
        "field": key.field,
        "note": proposal.reason,
        "proposal": proposal.id,
        "row": key.row,
        "tenant": key.tenant,
    }


def _demand_change(head: PriceVersion, amount: int) -> None:
    if type(amount) is not int or not 0 <= amount <= MAX_AMOUNT:
        raise PriceConflict("a price is a whole number of minor units within bounds.")
    if head.amount == amount:
        raise PriceConflict("this is the price already.")


def _record(
    tx: Tx,
    core: Core,
    what: str,
    key: PriceKey,
    actor: Actor,
    currency: str,
    data: Mapping[str, Any],
    request_id: str | None,
) -> None:
    record(
        tx,
        core,
        Event(
            action=f"payments.price.{what}",
            outcome="success",
            actor=actor,
            tenant=key.tenant,
            target=(key.entity, key.row),
            data={"field": key.field, "currency": currency, **data},
            request_id=request_id,
        ),
    )
