"""One attempt in a tenant of its own: what runs, what is wanted, who asks and who should decide."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from attrs import define, field, frozen
from sqlalchemy.exc import DBAPIError

from redoubt.authz import store, versions
from redoubt.authz.changes import Proposed, propose, rollback
from redoubt.authz.head import PolicyHead
from redoubt.authz.models import AuthzRequest, Caller, Entity, user_uid
from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.rules import AccessModel, Action, Allow
from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.errors import RedoubtError
from redoubt.guard.approvals import Approvals
from redoubt.guard.models import Approval

from ..gate.world import ANN, BOB
from ..model import SHOP, policies, source

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class Edit:
    """A wider policy set, and a request that it allows and the running one denies."""

    name: str
    policies: PolicySet
    probe: Callable[[str], AuthzRequest]


def _model(name: str, *allow: Allow) -> PolicySet:
    actions = tuple(Action(a.name, a.resource, a.scope, allow) if a.name == name else a for a in SHOP.actions)
    return policies(AccessModel(SHOP.roles, SHOP.resources, actions))


def _added(text: str) -> PolicySet:
    before = source()
    return parse(PolicySource(before.schema, {**before.policies, "extra.cedar": text}))


def _asked(
    action: str,
    role: str = "",
    *,
    user: str | None = "u",
    state: str = "draft",
    risk: int = 0,
    amount: int | None = None,
) -> Callable[[str], AuthzRequest]:
    def ask(tenant: str) -> AuthzRequest:
        caller = Caller(user, tenant, frozenset({role} if role else ()), risk, step_up=True)
        attrs = {"tenant": tenant, "owner": user_uid(user or "somebody"), "state": state}
        if action.startswith("Payment"):
            attrs.pop("state")
        context: dict[str, Any] = {"risk": risk, "step_up": True}
        if amount is not None:
            context["amount"] = amount
        return AuthzRequest.of(
            caller.principal(), action, Entity(action.partition(".")[0], "o", attrs), context
        )

    return ask


EDITS = (
    Edit(
        "support may update",
        _model(
            "Order.update", Allow("customer", owner=True, states=("draft",)), Allow("support", step_up=True)
        ),
        _asked("Order.update", "support"),
    ),
    Edit(
        "one more point of risk",
        _model("Order.read", Allow("customer", owner=True), Allow("support", risk_max=51)),
        _asked("Order.read", "support", risk=51),
    ),
    Edit(
        "any state",
        _model("Order.update", Allow("customer", owner=True)),
        _asked("Order.update", "customer", state="paid"),
    ),
    Edit(
        "a person by name",
        _added(
            '@id("x") permit (principal == User::"eve", action == Action::"Order.read", resource is Order);'
        ),
        _asked("Order.read", user="eve"),
    ),
    Edit(
        "any user",
        _added(
            '@id("x") permit (principal is User, action == Action::"Order.read", resource is Order)'
            " when { principal.tenant == resource.tenant && context.step_up };"
        ),
        _asked("Order.read"),
    ),
    Edit(
        "larger refunds",
        _model("Payment.refund", Allow("finance", step_up=True, amount_max=10_001)),
        _asked("Payment.refund", "finance", amount=10_001),
    ),
)
BASE = policies()
NARROW = _model("Payment.read", Allow("finance"))
PEOPLE = ((ANN, BOB), (BOB, ANN))


@define
class Scene:
    """A tenant whose policies are the shop's, an edit that somebody wants, and the clock."""

    core: Core
    approvals: Approvals
    clock: ManualClock
    follower: PolicyHead
    tenant: str
    edit: Edit
    author: str = ANN
    approver: str = BOB
    role: str = ""
    refusals: list[str] = field(factory=list)

    def begin(self) -> Scene:
        """Give the tenant a history of its own."""
        self.core.db.write_sync(lambda tx: versions.genesis(tx, self.core, BASE, tenant=self.tenant))
        return self

    def propose(self, wanted: PolicySet | None = None, *, ticket: str = "T-1", author: str = "") -> Proposed:
        return propose(
            self.core, self.approvals, wanted or self.edit.policies,
            author=author or self.author, ticket=ticket, tenant=self.tenant,
        )  # fmt: skip

    def rollback(self, version: str, *, ticket: str = "T-2", author: str = "") -> Proposed:
        return rollback(
            self.core,
            self.approvals,
            version,
            author=author or self.author,
            ticket=ticket,
            tenant=self.tenant,
        )

    def ask(self) -> Approval:
        """Propose the edit, which must wait."""
        approval = self.propose().approval
        assert approval is not None
        return approval

    def approve(self, request: Approval, person: str = "", signed: Approval | None = None) -> None:
        challenge = (signed or request).challenge.hex()
        self.core.db.write_sync(
            lambda tx: self.approvals.approve(
                tx, request.id, person or self.approver, {"id": challenge}, tenant=self.tenant
            )
        )

    def activate(self, request: Approval, payload: dict[str, Any], approver: str = "") -> None:
        """Go straight to what an approval sets in motion."""
        self.core.db.write_sync(
            lambda tx: versions.activate(
                tx,
                self.core,
                payload,
                approval_id=request.id,
                requester=self.author,
                approver=approver or self.approver,
            )
        )

    def sql(self, text: str, **values: Any) -> None:
        self.core.db.write_sync(lambda tx: tx.execute(sa.text(text), values))

    def row(self, text: str, **values: Any) -> dict[str, Any]:
        """Return the one row that SQL finds."""
        given = {"tenant": self.tenant, **values}
        return dict(self.core.db.read_sync(lambda tx: tx.execute(sa.text(text), given).mappings().one()))

    def sql_version(self, wanted: PolicySet, tenant: str = "") -> None:
        """Store the text of a version, which alone moves nothing."""
        at, to = self.core.clock.now(), tenant or self.tenant

        def write(tx: Any) -> None:
            if store.version(tx, to, wanted.version) is None:
                store.insert_version(
                    tx, store.Version(to, wanted.version, None, wanted.body, self.author, "", [], "", at)
                )

        self.core.db.write_sync(write)

    def activate_marked(self, request: Approval, payload: dict[str, Any]) -> None:
        """Mark the request as approved with SQL, then go straight to its effect with another payload."""
        self.sql(
            "UPDATE approvals SET state = 'approved', decided_by = :person, decided_at = :at, credential = 'k',"
            " assertion = '{}', assertion_hash = id WHERE id = :id",
            person=self.approver, at=self.micros(), id=request.id,
        )  # fmt: skip
        self.activate(request, payload)

    def refused(self, attempt: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Demand that the attempt is refused, by the app or by the database."""
        try:
            attempt(*arguments, **options)
        except (RedoubtError, DBAPIError) as error:
            self.refusals.append(type(error).__name__)
            return
        raise AssertionError("this was not refused")

    def head(self) -> store.Head:
        found = self.core.db.read_sync(lambda tx: store.head(tx, self.tenant))
        assert found is not None
        return found

    def micros(self) -> int:
        return (self.core.clock.now() - _EPOCH) // timedelta(microseconds=1)

    def forge_verdict(self, wanted: PolicySet, **changes: Any) -> str:
        """Write a verdict with SQL, and the version it is about; return its id."""
        now = self.head()
        row = {
            "id": self.core.ids.uuid7(), "tenant": self.tenant, "base": now.version, "base_seq": now.seq,
            "head": wanted.version, "kind": "change", "author": self.author, "verdict": "equal", "passes": 1,
            "evidence": "{}", "judged_at": self.micros(), **changes,
        }  # fmt: skip

        self.sql_version(wanted)
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        self.sql(f"INSERT INTO policy_verdicts ({names}) VALUES ({values})", **row)
        return str(row["id"])

    def forge_step(self, wanted: PolicySet, **changes: Any) -> None:
        """Write a step of the head with SQL."""
        row = {
            "tenant": self.tenant, "seq": self.head().seq + 1, "version": wanted.version, "kind": "change",
            "author": self.author, "approval_id": None, "reviewer": None, "ticket": "T-1", "note": "",
            "at": self.micros(), "verdict_id": None, "seal": "00" * 32, **changes,
        }  # fmt: skip
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        self.sql(f"INSERT INTO policy_head ({names}) VALUES ({values})", **row)

    def allows(self) -> bool:
        """Say whether what decides for the tenant allows what the edit wants."""
        self.follower.refresh_sync()
        return self.follower.decider(self.tenant).decide(self.edit.probe(self.tenant)).allowed
