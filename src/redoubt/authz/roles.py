"""Who has which role, per tenant; every change is audited with who decided it.

Roles are what policies read most of people. A row that was written past the app has no seal, and gives nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .errors import UnknownRole
from .seal import holds, sealed_member


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
        if role in self.roles(tx, tenant, user_id):
            return
        store.remove_member(tx, tenant, user_id, role)  # a row that somebody wrote past the app
        given = store.Member(
            tenant, user_id, role, by, self._core.clock.now(), expires_at=expires, approval_id=approval_id
        )
        store.add_member(tx, sealed_member(given, self._core.keys))
        self._record(tx, "authz.grant", tenant, user_id, role, by)

    def demand_declared(self, role: str) -> None:
        """Raise UnknownRole for a role that is not declared."""
        if not role or (self._declared is not None and role not in self._declared):
            raise UnknownRole(
                f"no role {role!r} is declared.", hint="Declare it in the spec and in the policies."
            )

    def revoke(self, tx: Tx, tenant: str, user_id: str, role: str, by: str) -> bool:
        """Take `role` from a user; False when the user did not have it."""
        if not store.remove_member(tx, tenant, user_id, role):
            return False
        self._record(tx, "authz.revoke", tenant, user_id, role, by)
        return True

    def roles(self, tx: Tx, tenant: str, user_id: str) -> frozenset[str]:
        """Return the roles of `user_id` as they stand now: those that this app gave and whose time is not over."""
        return frozenset(row.role for row in store.members(tx, tenant, user_id) if self._counts(row))

    def roles_of(self, tx: Tx, people: Collection[tuple[str, str]]) -> dict[tuple[str, str], frozenset[str]]:
        """Return the roles of each of `people`, given by tenant and user id, as `roles` has them; one statement."""
        found: dict[tuple[str, str], set[str]] = {person: set() for person in people}
        for row in store.members_of(tx, people):
            if self._counts(row):
                found[row.tenant, row.user_id].add(row.role)
        return {person: frozenset(roles) for person, roles in found.items()}

    def holders(self, tx: Tx, tenant: str, role: str, *, lasting: bool = False) -> list[str]:
        """Return the ids of those to whom this app gave `role` and who have it now, sorted; `lasting`: without an end."""
        found = store.holders(tx, tenant, role)
        return sorted(
            row.user_id for row in found if self._counts(row) and not (lasting and row.expires_at is not None)
        )

    def sweep(self, tx: Tx) -> int:
        """Remove roles whose time is over, with an audit event each, and return how many; they gave nothing any more."""
        over = store.expiring(tx, before=self._core.clock.now())
        for row in over:
            store.remove_member(tx, row.tenant, row.user_id, row.role)
            self._record(tx, "authz.expire", row.tenant, row.user_id, row.role, row.granted_by)
        return len(over)

    def _counts(self, row: store.Member) -> bool:
        over = row.expires_at is not None and self._core.clock.now() >= row.expires_at
        return not over and holds(row, self._core.keys)

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
