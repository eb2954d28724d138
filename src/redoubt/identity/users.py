"""Accounts: made by whoever signs up or is enrolled; an address counts only once it is proved."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from redoubt.core.base import Core
from redoubt.core.db import Tx

from .errors import LinkRefused
from .ports import RoleAssigner
from .store import devices, user_by_id, user_by_verified_email, users

SELF_SIGN_UP = "self-sign-up"


class Users:
    """Makes accounts and finds whose a proved address is."""

    def __init__(self, core: Core, assigner: RoleAssigner, tenant: str = "main") -> None:
        self._core = core
        self._assigner = assigner
        self._tenant = tenant

    def create(self, tx: Tx, email: str, handle: bytes, role: str, by: str, *, verified: bool = False) -> str:
        """Make an account with one role and return its id."""
        user_id = self._core.ids.uuid7()
        now = self._core.clock.now()
        row = {
            "id": user_id,
            "tenant": self._tenant,
            "handle": handle,
            "email": email,
            "email_verified_at": now if verified else None,
            "epoch": 0,
            "created_at": now,
            "disabled_at": None,
        }
        tx.execute(sa.insert(users), row)
        self._assigner.assign(tx, self._tenant, user_id, role, by)
        return user_id

    def of_address(self, tx: Tx, email: str, browser_mac: bytes) -> str | None:
        """Return the account that someone who reads `email` in this browser may enter, or None.

        It is the one that proved the address; failing that, one that claims it *and* has been signed in by this
        very browser. A mere claim is not enough: whoever registered a stranger's address first would else wait
        inside the account that the stranger takes for their own.
        """
        proved = user_by_verified_email(tx, self._tenant, email)
        if proved is not None:
            return str(proved.id)
        claimed = (
            sa.select(users.c.id)
            .join(devices, devices.c.user_id == users.c.id)
            .where(
                users.c.tenant == self._tenant,
                users.c.email == email,
                users.c.disabled_at.is_(None),
                devices.c.browser_mac == browser_mac,
            )
            .order_by(users.c.created_at)
            .limit(1)
        )
        found = tx.execute(claimed).scalar_one_or_none()
        return None if found is None else str(found)

    def prove(self, tx: Tx, user_id: str, email: str) -> None:
        """Note that the user reads `email`; LinkRefused when they gave another since, or someone else proved it."""
        user = user_by_id(tx, user_id)
        if user is None or user.email != email:
            raise LinkRefused("address-changed")
        if user.email_verified_at is not None:
            return
        try:
            with tx.conn.begin_nested():
                tx.execute(
                    sa.update(users)
                    .where(users.c.id == user_id)
                    .values(email_verified_at=self._core.clock.now())
                )
        except IntegrityError:
            raise LinkRefused("address-taken") from None
