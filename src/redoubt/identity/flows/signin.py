"""Signing up and in by passkey, and out again."""

from __future__ import annotations

from typing import Any

from redoubt.core.db import Tx

from ..challenges import Challenge
from ..encoding import parse_email
from ..models import PASSKEY_AMR, Browser, SessionState, SignIn
from ..options import creation_options, request_options
from ..users import SELF_SIGN_UP
from .base import Body, Flow


class SignInFlow(Flow):
    """Registration, login and logout."""

    async def register_options(self, browser: Browser, email: object) -> dict[str, Any]:
        """Begin a self sign-up for `email`; the answer is the same whether the address is known or not."""
        await self._admit("register", browser)  # a closed door is no reason to answer without end
        self._sign_up_role()
        address = parse_email(email)
        handle = self.core.ids.random_bytes(32)
        data = {"email": address, "handle": handle.hex()}
        challenge = await self.core.db.write(
            lambda tx: self.challenges.issue(tx, "register", browser, data=data)
        )
        return creation_options(self.config.rp, challenge, handle, address, self.config.challenge_ttl)

    async def register_verify(self, browser: Browser, credential: Body, label: str = "") -> SignIn:
        """End a self sign-up: account, passkey, role and session, and a mail that proves the address."""
        await self._admit("register", browser)
        role = self._sign_up_role()

        def effect(tx: Tx, challenge: Challenge) -> SignIn:
            new = self.passkeys.check_new(credential, challenge.value)
            email, handle = challenge.data["email"], bytes.fromhex(challenge.data["handle"])
            user_id = self.users.create(tx, email, handle, role, SELF_SIGN_UP)
            passkey = self.passkeys.add(tx, user_id, new, label)
            signed_in = self.sessions.open(tx, user_id, browser, PASSKEY_AMR)
            if self.config.magic_links and self._may_mail(email, browser):
                self.magic.ask(tx, email, browser, self.config.home, user_id=user_id)
            self._joined(tx, "identity.register", browser, signed_in, passkey, {"role": role})
            return signed_in

        return await self._ceremony("identity.register", "register", browser, credential, effect)

    async def login_options(self, browser: Browser) -> dict[str, Any]:
        """Begin a login with whatever discoverable passkey the browser has; no name is asked for."""
        await self._admit("login", browser)
        challenge = await self.core.db.write(lambda tx: self.challenges.issue(tx, "login", browser))
        return request_options(self.config.rp, challenge, self.config.challenge_ttl)

    async def login_verify(self, browser: Browser, credential: Body) -> SignIn:
        """End a login: the passkey's owner gets a new session, the browser's old one ends."""
        await self._admit("login-verify", browser)

        def effect(tx: Tx, challenge: Challenge) -> SignIn:
            used = self.passkeys.use(tx, credential, challenge.value)
            signed_in = self.sessions.open(tx, used.user_id, browser, PASSKEY_AMR)
            self._signed_in(
                tx, "identity.login", browser, signed_in, {"method": "passkey", "passkey": used.passkey_id}
            )
            return signed_in

        return await self._ceremony("identity.login", "login", browser, credential, effect)

    async def logout(self, browser: Browser, session: SessionState) -> None:
        """End the session."""

        def end(tx: Tx) -> None:
            self.sessions.revoke(tx, session.user_id, session.session_id)
            self.journal.done(
                tx, "identity.logout", browser, session=session, target=("session", session.session_id)
            )

        await self.core.db.write(end)
