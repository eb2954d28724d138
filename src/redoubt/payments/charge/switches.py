"""The charge service's own kill switches: what is killed here stays killed, whatever the app believes."""

from __future__ import annotations

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .errors import Held, Refused

CAPABILITIES = frozenset({"payments", "refunds", "all"})


def live(tx: Tx, capability: str, tenant: str) -> bool:
    """Say whether `capability` is killed neither for `tenant`, nor for every tenant (`*`), nor altogether.

    Read in the transaction of the money's own effect: there is no cache that could be stale, and a store that
    cannot be read lets nothing through.
    """
    table = store.switches
    killed = tx.execute(
        sa.select(table.c.capability).where(
            table.c.killed, table.c.tenant.in_([tenant, "*"]), table.c.capability.in_([capability, "all"])
        )
    ).first()
    return killed is None


def check(tx: Tx, capability: str, tenant: str) -> None:
    """Raise Held when `capability` is not live."""
    if not live(tx, capability, tenant):
        raise Held("killed", f"{capability} are switched off.")


def put(tx: Tx, core: Core, tenant: str, capability: str, killed: bool, revision: int) -> None:
    """Set a switch; an older revision than the stored one is refused, so that a replay re-enables nothing."""
    if capability not in CAPABILITIES:
        raise Refused("unknown-capability", "the charge service has no such switch.")
    table = store.switches
    store.insert_once(
        tx,
        table,
        {"tenant": tenant, "capability": capability, "killed": False, "revision": -1, "at": core.clock.now()},
    )
    changed = tx.execute(
        sa.update(table)
        .where(table.c.tenant == tenant, table.c.capability == capability, table.c.revision < revision)
        .values(killed=killed, revision=revision, at=core.clock.now())
    )
    if changed.rowcount != 1:
        raise Refused("stale-revision", "a newer revision of this switch is already set.")
