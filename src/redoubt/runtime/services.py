"""The domains of one app, built once and bound to each other: what a lower floor names as a Protocol ends here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from starlette.routing import Route

from redoubt import identity as identity_domain
from redoubt.audit import RECORD, Actor, Event, treestore
from redoubt.audit.noise import Noise
from redoubt.audit.sequencer import Sequencer
from redoubt.audit.store import entries
from redoubt.authz import AuthzRequest, Caller, Enforcer, Entity, PolicyHead, Roles
from redoubt.authz.breakglass import break_glass_kind
from redoubt.authz.changes import policy_change_kind
from redoubt.authz.membership import role_grant_kind
from redoubt.authz.permitted import permitted_actions
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.egress import Decision as EgressDecision
from redoubt.core.egress import Egress, EgressPolicy
from redoubt.core.jobs import Jobs
from redoubt.core.problem import Problem
from redoubt.guard import Approvals, Killed, Kinds, Limiter, SwitchBoard
from redoubt.guard.switches import enable_kind
from redoubt.identity import IdentityConfig, IdentityService, SessionState, SmtpMailer
from redoubt.identity.store import users
from redoubt.payments import Payments
from redoubt.webhooks import routes as webhook_routes
from redoubt.webhooks.service import Webhooks

from .charging import Charging
from .foureyes import OPERATOR, PasskeyVerifier, holders_of
from .pages import STATIC
from .payment_routes import routes as payment_routes
from .plan import AppPlan
from .pricing import Pricing
from .statics import folder_route, library_route

Loop = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
_PRUNE_EVERY = 600.0


@frozen(eq=False)
class Services:
    """Every domain's service in this process."""

    core: Core
    plan: AppPlan
    noise: Noise
    limiter: Limiter
    head: PolicyHead
    enforcer: Enforcer
    roles: Roles
    identity: IdentityService
    webhooks: Webhooks
    egress: Egress
    switches: SwitchBoard
    approvals: Approvals
    charging: Charging | None
    pricing: Pricing | None

    @classmethod
    def build(cls, core: Core, plan: AppPlan, process: str) -> Services:
        """Build them over `core` for what `plan` declares; `process` names this one to the charge service."""
        limiter, switches, noise = Limiter(core), SwitchBoard(core), Noise(core)
        head = PolicyHead(core)
        roles = Roles(core, plan.roles)
        config = IdentityConfig.from_settings(
            core.settings,
            title=plan.title,
            sign_up=plan.sign_up,
            magic_links=plan.magic_links,
            passkey_roles=plan.passkey_roles,
        )
        identity = IdentityService(
            core, config, assigner=roles, roles=roles, mailer=SmtpMailer(core), limiter=limiter
        )
        operators = holders_of(roles, OPERATOR)
        kinds = Kinds(
            enable_kind(core, operators),
            policy_change_kind(core, operators),
            role_grant_kind(core, roles, operators),
            break_glass_kind(core, roles, operators),
        )
        charging: Charging | None = None
        incoming = plan.webhooks
        if plan.payments is not None:
            charging = Charging(core, plan.payments, switches, roles, process)
            charging.register_kind(kinds)
            identity.passkeys.watcher = charging
            incoming = (*incoming, charging.endpoint())
        pricing = None
        if plan.entities is not None and any(kind.prices for kind in plan.entities.types):
            paid, approvers = None, frozenset({OPERATOR})
            if plan.payments is not None:
                paid, approvers = plan.payments.entity, approvers | plan.payments.approvers
            pricing = Pricing(core, plan.entities, paid)
            pricing.register_kind(kinds, holders_of(roles, *approvers))
        approvals = Approvals(core, kinds, PasskeyVerifier(identity))
        egress = Egress(EgressPolicy.from_settings(core.settings), observer=EgressRecorder(core))
        return cls(
            core=core,
            plan=plan,
            noise=noise,
            limiter=limiter,
            head=head,
            enforcer=Enforcer(core, head, noise),
            roles=roles,
            identity=identity,
            webhooks=Webhooks(core, incoming, plan.targets, sender=egress, switches=SwitchFace(switches)),
            egress=egress,
            switches=switches,
            approvals=approvals,
            charging=charging,
            pricing=pricing,
        )

    async def start(self) -> None:
        """Load what decides: policies, switches, webhook keys."""
        await self.head.refresh()
        await self.switches.start()
        await self.webhooks.start()

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what runs in every process: what follows policies and counts noise; switches follow by themselves."""
        return [self.head.run(), self.noise.run(asyncio.Event())]

    async def stop(self) -> None:
        """Stop following, record what was counted, and close outgoing connections."""
        await self.switches.stop()
        await self.noise.flush(everything=True)
        if self.charging is not None:
            await self.charging.close()
        await self.egress.aclose()

    def routes(self) -> list[Route]:
        """Return the library's own routes."""
        static = [library_route(f"/static/redoubt/{file.name}", file) for file in sorted(STATIC.iterdir())]
        if self.plan.static is not None:
            static.append(folder_route("/static/app", self.plan.static))
        found = [*static, *identity_domain.routes(self.identity)]
        if self.charging is not None:
            found += payment_routes(self.charging, self.approvals)
        if self.webhooks.declared:
            found += webhook_routes(self.webhooks, SwitchFace(self.switches))
        return found

    def register_jobs(self, jobs: Jobs) -> None:
        """Give a worker the handlers of every domain."""
        self.identity.register_jobs(jobs)
        self.webhooks.register(jobs)
        if self.charging is not None:
            self.charging.register_jobs(jobs)

    def background(self) -> Mapping[str, Loop]:
        """Return what runs in the worker only."""
        loops: dict[str, Loop] = {"audit": self._sequence, "prune": self._prune}
        if self.charging is not None:
            loops["payments"] = self.charging.payments.follow
        return loops

    @property
    def webhook_limit(self) -> int:
        """The largest body that any incoming webhook takes."""
        return max((config.max_body for config in self.webhooks.declared), default=0)

    @property
    def payments(self) -> Payments | None:
        """The app's side of payments; None where nothing is charged."""
        return None if self.charging is None else self.charging.payments

    def priced(self) -> Pricing:
        """Return what changes prices; raises Problem 500 where the app's plan names no entity that has one."""
        if self.pricing is None:
            raise Problem(500, "no-prices", "This app's plan has no prices.")
        return self.pricing

    def names(self, tx: Tx, ids: Sequence[str]) -> dict[str, str]:
        """Return the address of each user among `ids`, for pages that operators read."""
        rows = tx.execute(sa.select(users.c.id, users.c.email).where(users.c.id.in_(ids)))
        return {row.id: row.email for row in rows}

    def audit_head(self, tx: Tx) -> dict[str, Any]:
        """Return how far the audit log reaches: entries placed, entries waiting, the root."""
        tree = treestore.state(tx)
        waiting = tx.execute(
            sa.select(sa.func.count()).select_from(entries).where(entries.c.leaf_index.is_(None))
        ).scalar_one()
        return {"size": tree.size, "waiting": waiting, "root": tree.appender().root().hex()}

    def risk(self, session: SessionState) -> int:
        """Return how far this request strays from its session, 0 to 100."""
        return session.risk.score

    def allows(self, caller: Caller, action: str, resource: Entity, context: Mapping[str, Any]) -> bool:
        """Decide without an audit entry."""
        values = {**context, "risk": caller.risk, "step_up": caller.step_up}
        question = AuthzRequest.of(caller.principal(), action, resource, values)
        return self.head.decider(caller.tenant).decide(question).allowed

    def permitted(
        self, caller: Caller, actions: Iterable[str], resource: Entity, context: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """Return those of `actions` that `caller` may do on `resource`, without an audit entry."""
        values = {**context, "risk": caller.risk, "step_up": caller.step_up}
        decider = self.head.decider(caller.tenant)
        return permitted_actions(decider, caller.principal(), resource, actions, values)

    def demand_switch(self, capability: str, tenant: str, *, money: bool = False) -> None:
        """Raise the Problem of a killed capability."""
        try:
            self.switches.check(capability, tenant, money=money)
        except Killed as killed:
            raise Problem(
                503, "switched-off", "This is switched off for now.", headers={"Retry-After": "60"}
            ) from killed

    async def _sequence(self, stop: asyncio.Event) -> None:
        """Place new audit entries in the log and sign checkpoints."""
        await Sequencer(self.core).run(stop)

    async def _prune(self, stop: asyncio.Event) -> None:
        """Remove what has ended: done jobs, expired sessions and challenges."""
        while not stop.is_set():
            await Jobs(self.core).prune()
            await self.identity.prune()
            await self.core.db.write(self.roles.sweep)
            try:
                await asyncio.wait_for(stop.wait(), _PRUNE_EVERY)
            except TimeoutError:
                continue


@frozen(eq=False)
class EgressRecorder:
    """Records every decision about an outgoing call (core's EgressObserver): what cannot be recorded is not called."""

    core: Core

    async def decided(self, decision: EgressDecision) -> None:
        """Record where something of ours wanted to call, and whether it was let."""
        event = Event(
            action="egress.decide",
            outcome="success" if decision.allowed else "denied",
            actor=Actor(kind="service", id=decision.purpose),
            target=("Host", decision.target),
            data={"method": decision.method, "reason": decision.reason},
        )
        await self.core.db.group.submit(RECORD(self.core), event)


@frozen
class SwitchFace:
    """The switches as the webhooks domain names them."""

    board: SwitchBoard

    def check(self, capability: str, tenant: str) -> None:
        """Raise Killed when the capability is off."""
        self.board.check(capability, tenant)
