"""One-time enrolment links: whoever opens one registers a passkey and gets its role. Two exist at the beginning.

Genesis: `init_operators` makes two operator links, once for the life of a database. No account, key or password
exists by default; everything later comes from links that operators mint.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import links
from .errors import LinkRefused
from .store import enrolments, insert_once

GENESIS_ROLE = "operator"
_GENESIS = (1, 2)
_GENESIS_TTL = timedelta(days=30)
_MAC = "identity-link"


def init_operators(tx: Tx, core: Core) -> list[str]:
    """Make the two operator links of a new app, and return the addresses of those not yet used or expired.

    Only the first call on a database makes any: called again it returns what is left of them, at last nothing.
    """
    now = core.clock.now()
    for number in _GENESIS:
        row = _row(core, "main", GENESIS_ROLE, None, "genesis", _GENESIS_TTL) | {"genesis": number}
        insert_once(tx, enrolments, row, ["genesis"])
    open_links = tx.execute(
        sa.select(enrolments.c.id)
        .where(
            enrolments.c.genesis.is_not(None), enrolments.c.used_at.is_(None), enrolments.c.expires_at > now
        )
        .order_by(enrolments.c.genesis)
    ).scalars()
    return [url_of(core, link_id) for link_id in open_links]


def url_of(core: Core, link_id: str) -> str:
    """Return the address of an enrolment link; it is a secret."""
    return f"{core.settings.app.base_url}/enrol/{links.mint(core.keys.mac(_MAC), 'enrol', link_id)}"


class Enrolments:
    """Mints and takes enrolment links."""

    def __init__(self, core: Core, ttl: timedelta, tenant: str = "main") -> None:
        self._core = core
        self._ttl = ttl
        self._tenant = tenant
        self._mac = core.keys.mac(_MAC)

    def mint(self, tx: Tx, role: str, by: str, email: str | None = None) -> tuple[str, str]:
        """Make a link that gives `role` once, to `email` only where one is named; return (id, address)."""
        row = _row(self._core, self._tenant, role, email, by, self._ttl)
        tx.execute(sa.insert(enrolments), row)
        return row["id"], url_of(self._core, row["id"])

    def peek(self, tx: Tx, token: object, email: str | None = None) -> sa.Row[Any]:
        """Return the open link that `token` is; raises LinkRefused. Nothing changes."""
        link_id = links.read(self._mac, "enrol", token)
        row = tx.execute(sa.select(enrolments).where(enrolments.c.id == link_id)).first()
        if row is None or row.used_at is not None or row.expires_at <= self._core.clock.now():
            raise LinkRefused("over")
        if email is not None and row.email is not None and row.email != email:
            raise LinkRefused("other-address")
        return row

    def take(self, tx: Tx, token: object) -> sa.Row[Any]:
        """Use the link up and return it; of any number of takers one succeeds. Raises LinkRefused."""
        link_id = links.read(self._mac, "enrol", token)
        now = self._core.clock.now()
        row = tx.execute(
            sa.update(enrolments)
            .where(enrolments.c.id == link_id, enrolments.c.used_at.is_(None), enrolments.c.expires_at > now)
            .values(used_at=now)
            .returning(enrolments)
        ).first()
        if row is None:
            raise LinkRefused("over")
        return row

    def used_by(self, tx: Tx, link_id: str, user_id: str) -> None:
        """Note who came in by the link."""
        tx.execute(sa.update(enrolments).where(enrolments.c.id == link_id).values(used_by=user_id))


def _row(core: Core, tenant: str, role: str, email: str | None, by: str, ttl: timedelta) -> dict[str, Any]:
    now = core.clock.now()
    return {
        "id": core.ids.uuid7(),
        "tenant": tenant,
        "role": role,
        "email": email,
        "genesis": None,
        "created_by": by,
        "created_at": now,
        "expires_at": now + ttl,
        "used_at": None,
        "used_by": None,
    }
