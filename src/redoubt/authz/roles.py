"""Who has which role, per tenant; every change is audited with who decided it.

Roles are what policies read most of people. Each change appends a step under the app's seal that says what its person has
from then on, and the newest such step is what they are decided about by. A step that somebody wrote past the app has no
seal and changes nothing; nor does a row of the table of members that was written, deleted or put back.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import steps, store
from .errors import UnknownRole
from .seal import holds, sealed_member, sealed_step, stands

_log = logging.getLogger("redoubt.authz")


class Roles:
    """Gives, takes and reads roles in the caller's transaction."""

    def __init__(self, core: Core, declared: Collection[str] | None = None) -> None:
        """Know the `declared` roles, where given: any other is refused."""
        self._core = core
        self._declared = None if declared is None else frozenset(declared)

    def assign(
        self,
        tx: Tx,
        tenant: str,
        user_id: str,
        role: str,
        by: str,
        *,
        expires: datetime | None = None,
        approval_id: str | None = None,
    ) -> None:
        """Give `role` to a user, until `expires` where it is given; `by` is who decided.

        Giving what the user has changes nothing and records nothing. An emergency role names its `approval_id`, and the
        database refuses any that does not fit it. Raises UnknownRole for a role that is not declared.
        """
        self.demand_declared(role)
        steps.serialise(tx, tenant, user_id)
        held = self._held(tx, tenant, user_id)
        if any(one.role == role and self._lasts(one) for one in held):
            return
        given = sealed_member(
            store.Member(
                tenant, user_id, role, by, self._core.clock.now(), expires_at=expires, approval_id=approval_id
            ),
            self._core.keys,
        )
        others = [one for one in held if one.role != role]
        self._append(tx, "give", given, [*others, steps.Held(role, expires)])
        self._record(tx, "authz.grant", tenant, user_id, role, by)

    def demand_declared(self, role: str) -> None:
        """Raise UnknownRole for a role that is not declared."""
        if not role or (self._declared is not None and role not in self._declared):
            raise UnknownRole(
                f"no role {role!r} is declared.", hint="Declare it in the spec and in the policies."
            )

    def revoke(self, tx: Tx, tenant: str, user_id: str, role: str, by: str) -> bool:
        """Take `role` from a user; False when the user did not have it."""
        if not self._take(tx, tenant, user_id, role, by):
            return False
        self._record(tx, "authz.revoke", tenant, user_id, role, by)
        return True

    def roles(self, tx: Tx, tenant: str, user_id: str) -> frozenset[str]:
        """Return the roles of `user_id` as they stand now: those that this app gave and whose time is not over."""
        return frozenset(one.role for one in self._held(tx, tenant, user_id) if self._lasts(one))

    def roles_of(self, tx: Tx, people: Collection[tuple[str, str]]) -> dict[tuple[str, str], frozenset[str]]:
        """Return the roles of each of `people`, given by tenant and user id, as `roles` has them; one statement."""
        found: dict[tuple[str, str], frozenset[str]] = dict.fromkeys(people, frozenset())
        for last in steps.newest_of(tx, people):
            held = self._counted(tx, last)
            found[last.tenant, last.user_id] = frozenset(one.role for one in held if self._lasts(one))
        return found

    def holders(self, tx: Tx, tenant: str, role: str, *, lasting: bool = False) -> list[str]:
        """Return the ids of those to whom this app gave `role` and who have it now, sorted; `lasting`: without an end."""

        def has(held: Collection[steps.Held]) -> bool:
            return any(
                one.role == role and self._lasts(one) and not (lasting and one.expires_at is not None)
                for one in held
            )

        found = steps.newest_of_all(tx, tenant)
        return sorted(one.user_id for one in found if has(self._counted(tx, one)))

    def sweep(self, tx: Tx) -> int:
        """Take roles whose time is over, with an audit event each, and return how many; they gave nothing any more."""
        over = store.expiring(tx, before=self._core.clock.now())
        taken = 0
        for row in sorted(over, key=lambda one: (one.tenant, one.user_id)):
            held = self._held(tx, row.tenant, row.user_id)
            if any(one.role == row.role and self._lasts(one) for one in held):
                continue  # the row is not what was given
            if self._take(tx, row.tenant, row.user_id, row.role, row.granted_by, missing=True):
                self._record(tx, "authz.expire", row.tenant, row.user_id, row.role, row.granted_by)
                taken += 1
        return taken

    def adopt(self, tx: Tx) -> int:
        """Begin the steps of people whose roles were given before there were steps; return how many they are.

        It happens once, when no step was ever stored: what is found in the table of members later is nobody's role.
        """
        if not steps.none_yet(tx):
            return 0
        found: dict[tuple[str, str], list[store.Member]] = {}
        for row in steps.rows(tx):
            if holds(row, self._core.keys):
                found.setdefault((row.tenant, row.user_id), []).append(row)
        for (tenant, user_id), rows in found.items():
            nothing = store.Member(tenant, user_id, "", "upgrade", self._core.clock.now())
            self._append(tx, "adopt", nothing, [steps.Held(row.role, row.expires_at) for row in rows])
        return len(found)

    def _take(self, tx: Tx, tenant: str, user_id: str, role: str, by: str, *, missing: bool = False) -> bool:
        """Append the step that takes `role`; `missing`: even where only a row of it is left. False when nothing was."""
        steps.serialise(tx, tenant, user_id)
        held = self._held(tx, tenant, user_id)
        others = [one for one in held if one.role != role]
        if len(others) == len(held) and not missing:
            return False
        self._append(tx, "take", store.Member(tenant, user_id, role, by, self._core.clock.now()), others)
        return True

    def _append(self, tx: Tx, kind: str, member: store.Member, held: Collection[steps.Held]) -> None:
        last = steps.newest(tx, member.tenant, member.user_id)
        step = steps.Step(
            tenant=member.tenant,
            user_id=member.user_id,
            seq=last[0].seq + 1 if last else 0,
            kind=kind,
            role=member.role,
            granted_by=member.granted_by,
            at=member.at,
            expires_at=member.expires_at,
            approval_id=member.approval_id,
            member_seal=member.seal,
            held=tuple(sorted(held, key=lambda one: one.role)),
        )
        steps.append(tx, sealed_step(step, self._core.keys))

    def _held(self, tx: Tx, tenant: str, user_id: str) -> tuple[steps.Held, ...]:
        last = steps.newest(tx, tenant, user_id)
        return self._counted(tx, last[0]) if last else ()

    def _counted(self, tx: Tx, last: steps.Step) -> tuple[steps.Held, ...]:
        """Return what somebody has by their newest step that the app sealed; nothing where there is none in reach."""
        if stands(last, self._core.keys):
            return last.held
        _log.critical("a step of the roles of %s was written by somebody else than this app", last.user_id)
        for step in steps.older(tx, last.tenant, last.user_id):
            if stands(step, self._core.keys):
                return step.held
        return ()

    def _lasts(self, one: steps.Held) -> bool:
        return one.expires_at is None or self._core.clock.now() < one.expires_at

    def _record(self, tx: Tx, action: str, tenant: str, user_id: str, role: str, by: str) -> None:
        record(
            tx,
            self._core,
            Event(
                action=action,
                outcome="success",
                actor=Actor(kind="user" if len(by) == 36 else "service", id=by),
                tenant=tenant,
                target=("User", user_id),
                data={"role": role, "by": by},
            ),
        )
