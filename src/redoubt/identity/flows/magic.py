"""Signing in by a mailed link."""

from __future__ import annotations

from redoubt.core.db import Tx

from ..encoding import parse_email
from ..errors import IdentityError, SignUpClosed
from ..models import EMAIL_AMR, Browser, SignIn
from ..store import knows_device_for_email
from .base import Flow


class MagicFlow(Flow):
    """Asking for a link, looking at it, confirming it."""

    async def magic_ask(self, browser: Browser, email: object, next_path: str = "") -> None:
        """Have a link mailed to `email`, if it is for anybody; the caller learns nothing either way."""
        if not self.config.magic_links:
            raise SignUpClosed
        address = parse_email(email)
        await self._admit("magic", browser)
        known = await self.core.db.read(
            lambda tx: knows_device_for_email(tx, self._tenant, address, browser.mac)
        )
        await self.throttle.mail(address, browser, known_device=known)

        def ask(tx: Tx) -> None:
            link_id = self.magic.ask(tx, address, browser, next_path or self.config.home)
            self.journal.done(tx, "identity.magic.ask", browser, target=("magic-link", link_id))

        await self.core.db.write(ask)

    async def magic_peek(self, browser: Browser, token: str) -> None:
        """Raise LinkRefused unless this browser could confirm the link now; fetching a link changes nothing."""
        await self._admit("magic-confirm", browser)
        await self.core.db.read(lambda tx: self.magic.peek(tx, token, browser))

    async def magic_confirm(self, browser: Browser, token: object) -> tuple[SignIn, str]:
        """Take the link: return the new session and where to go next."""
        await self._admit("magic-confirm", browser)

        def take(tx: Tx) -> tuple[SignIn, str] | IdentityError:
            try:
                user_id, next_path = self.magic.take(tx, token, browser)
                signed_in = self.sessions.open(tx, user_id, browser, EMAIL_AMR)
            except IdentityError as error:
                self.journal.refused(tx, "identity.login", browser, error)
                return error
            self._signed_in(tx, "identity.login", browser, signed_in, {"method": "magic-link"})
            return signed_in, next_path

        return await self._or_refusal("magic-confirm", browser, None, take)
