"""The passkeys that we know: added by a registration, used by an assertion, listed and removed by their owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import IntegrityError

from redoubt.core.base import Core
from redoubt.core.db import Tx

from .ceremony import (
    KnownCredential,
    NewCredential,
    RelyingParty,
    credential_id,
    user_handle,
    verify_assertion,
    verify_registration,
)
from .errors import CeremonyRefused, LastLoginWay, NotFound
from .ports import PasskeyWatcher
from .store import passkey_by_credential, passkeys, user_by_id, users

_MAX_LABEL = 64


@frozen
class Used:
    """A passkey that has just answered: whose it is and which one."""

    user_id: str
    passkey_id: str
    credential_id: bytes


class Passkeys:
    """Registers, checks and removes passkeys."""

    def __init__(self, core: Core, rp: RelyingParty, tenant: str = "main") -> None:
        self._core = core
        self._rp = rp
        self._tenant = tenant
        self.watcher: PasskeyWatcher | None = None

    def check_new(self, credential: Mapping[str, Any], challenge: bytes) -> NewCredential:
        """Check a registration response; raises CeremonyRefused."""
        return verify_registration(self._rp, credential, challenge)

    def add(self, tx: Tx, user_id: str, new: NewCredential, label: str) -> str:
        """Store a checked passkey for `user_id` and return its id; a credential id that we know is refused."""
        passkey_id = self._core.ids.uuid7()
        row = {
            "id": passkey_id,
            "tenant": self._tenant,
            "user_id": user_id,
            "credential_id": new.credential_id,
            "public_key": new.public_key,
            "algorithm": new.algorithm,
            "sign_count": new.sign_count,
            "backup_eligible": new.backup_eligible,
            "backed_up": new.backed_up,
            "aaguid": new.aaguid,
            "transports": list(new.transports),
            "label": label[:_MAX_LABEL],
            "created_at": self._core.clock.now(),
            "last_used_at": None,
        }
        try:
            with tx.conn.begin_nested():
                tx.execute(sa.insert(passkeys), row)
        except IntegrityError:
            raise CeremonyRefused("credential-exists") from None
        if self.watcher is not None:
            self.watcher.passkey_added(tx, self._tenant, user_id, new.credential_id, new.public_key)
        return passkey_id

    def use(
        self, tx: Tx, credential: Mapping[str, Any], challenge: bytes, *, user_id: str | None = None
    ) -> Used:
        """Check an assertion against the passkey that it names, move its counter, and return whose it is.

        With `user_id` the passkey must be that user's; without it the authenticator must name the user by handle
        (a discoverable credential; WebAuthn Level 3, section 7.2, step 6). Raises CeremonyRefused.
        """
        row = passkey_by_credential(tx, self._tenant, credential_id(credential), lock=True)
        if row is None or (user_id is not None and row.user_id != user_id):
            raise CeremonyRefused("unknown-credential")
        user = user_by_id(tx, row.user_id)
        if user is None or user.disabled_at is not None:
            raise CeremonyRefused("unknown-user")
        handle = user_handle(credential)
        if (handle is None and user_id is None) or (handle is not None and handle != user.handle):
            raise CeremonyRefused("user-handle")
        known = KnownCredential(row.credential_id, row.public_key, row.sign_count, row.backup_eligible)
        assertion = verify_assertion(self._rp, credential, challenge, known)
        tx.execute(
            sa.update(passkeys)
            .where(passkeys.c.id == row.id)
            .values(
                sign_count=assertion.sign_count,
                backed_up=assertion.backed_up,
                last_used_at=self._core.clock.now(),
            )
        )
        return Used(row.user_id, row.id, row.credential_id)

    def remove(self, tx: Tx, user_id: str, passkey_id: str, *, other_way: bool) -> None:
        """Forget a passkey of `user_id`; the last one only where `other_way` says that they can still sign in."""
        # The user's row is the lock: two removals at once may not each see the other's passkey.
        tx.execute(sa.select(users.c.id).where(users.c.id == user_id).with_for_update())
        found = tx.execute(
            sa.select(passkeys.c.id, passkeys.c.credential_id).where(passkeys.c.user_id == user_id)
        )
        mine = {row.id: bytes(row.credential_id) for row in found}
        if passkey_id not in mine:
            raise NotFound
        if len(mine) == 1 and not other_way:
            raise LastLoginWay
        tx.execute(sa.delete(passkeys).where(passkeys.c.id == passkey_id))
        if self.watcher is not None:
            self.watcher.passkey_removed(tx, self._tenant, user_id, mine[passkey_id])
