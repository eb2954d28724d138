"""Who has which role, per tenant; every change is audited with who decided it.

Roles are what policies read most of people. A row that was written past the app has no seal, and gives nothing.
"""

from __future__ import annotations

from collections.abc import Collection

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

    def assign(self, tx: Tx, tenant: str, user_id: str, role: str, by: str) -> None:
        """Give `role` to a user; `by` is who decided. Giving what the user has changes nothing and records nothing.

        Raises UnknownRole for a role that is not declared.
        """
        self.demand_declared(role)
        if role in self.roles(tx, tenant, user_id):
            return
        store.remove_member(tx, tenant, user_id, role)  # a row that somebody wrote past the app
        given = store.Member(tenant, user_id, role, by, self._core.clock.now())
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
        """Return the roles of `user_id` as they stand in this transaction: those that this app gave."""
        return frozenset(
            row.role for row in store.members(tx, tenant, user_id) if holds(row, self._core.keys)
        )

    def holders(self, tx: Tx, tenant: str, role: str) -> list[str]:
        """Return the ids of those to whom this app gave `role`, sorted."""
        found = store.holders(tx, tenant, role)
        return sorted(row.user_id for row in found if holds(row, self._core.keys))

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
