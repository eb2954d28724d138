"""The user's own passkeys and sessions."""

from __future__ import annotations

from typing import Any

from redoubt.core.db import Tx

from ..challenges import Challenge
from ..models import Browser, SessionState, SignIn
from ..options import creation_options
from ..stepup import require_step_up, require_step_up_or_first
from ..store import passkeys_of, user_by_id
from .base import Body, Flow


class AccountFlow(Flow):
    """Adding and removing passkeys, ending sessions."""

    async def passkey_options(self, browser: Browser, session: SessionState) -> dict[str, Any]:
        """Begin adding a passkey; needs a step-up, or a fresh login where it is the first."""
        await self._admit("add-passkey", browser)

        def issue(tx: Tx) -> dict[str, Any]:
            owned = passkeys_of(tx, session.user_id)
            require_step_up_or_first(session, self.core.clock.now(), self.config, len(owned))
            user = user_by_id(tx, session.user_id)
            assert user is not None
            challenge = self.challenges.issue(
                tx, "add-passkey", browser, user_id=session.user_id, session_id=session.session_id
            )
            return creation_options(
                self.config.rp, challenge, user.handle, user.email, self.config.challenge_ttl, owned
            )

        return await self.core.db.write(issue)

    async def passkey_verify(
        self, browser: Browser, session: SessionState, credential: Body, label: str = ""
    ) -> SignIn:
        """End adding a passkey; the session is rotated."""
        await self._admit("add-passkey", browser)
        token = browser.session_token or ""

        def effect(tx: Tx, challenge: Challenge) -> SignIn:
            self._same_session(challenge, session)
            owned = passkeys_of(tx, session.user_id)
            require_step_up_or_first(session, self.core.clock.now(), self.config, len(owned))
            new = self.passkeys.check_new(credential, challenge.value)
            passkey = self.passkeys.add(tx, session.user_id, new, label)
            signed_in = self.sessions.rotate(tx, session.session_id, token)
            self._joined(tx, "identity.passkey.add", browser, signed_in, passkey, {})
            return signed_in

        return await self._ceremony(
            "identity.passkey.add", "add-passkey", browser, credential, effect, session
        )

    async def remove_passkey(self, browser: Browser, session: SessionState, passkey_id: str) -> None:
        """Remove one of the user's passkeys; needs a step-up, and never takes the last way to sign in."""
        require_step_up(session, self.core.clock.now())
        by_mail = (
            self.config.magic_links
            and session.email_verified
            and not session.roles & self.config.passkey_roles
        )

        def remove(tx: Tx) -> None:
            self.passkeys.remove(tx, session.user_id, passkey_id, other_way=by_mail)
            self.journal.done(
                tx, "identity.passkey.remove", browser, session=session, target=("passkey", passkey_id)
            )

        await self.core.db.write(remove)

    async def revoke_session(self, browser: Browser, session: SessionState, session_id: str) -> None:
        """End one of the user's own sessions."""

        def revoke(tx: Tx) -> None:
            self.sessions.revoke(tx, session.user_id, session_id)
            self.journal.done(
                tx, "identity.session.revoke", browser, session=session, target=("session", session_id)
            )

        await self.core.db.write(revoke)

    async def revoke_all_sessions(self, browser: Browser, session: SessionState) -> None:
        """End every session of the user, this one included."""

        def revoke(tx: Tx) -> None:
            self.sessions.revoke_all(tx, session.user_id)
            self.journal.done(
                tx, "identity.session.revoke-all", browser, session=session, target=("user", session.user_id)
            )

        await self.core.db.write(revoke)

    def privileges_changed(self, tx: Tx, user_id: str) -> None:
        """End every session of a user whose roles change, in the transaction that changes them."""
        self.sessions.revoke_all(tx, user_id)
