"""Coming in by a one-time link, and minting one."""

from __future__ import annotations

from typing import Any

from redoubt.core.db import Tx

from ..challenges import Challenge
from ..encoding import parse_email
from ..errors import LinkRefused
from ..models import PASSKEY_AMR, Browser, SessionState, SignIn
from ..options import creation_options
from ..stepup import require_step_up
from .base import Body, Flow


class EnrolmentFlow(Flow):
    """Enrolment from both ends."""

    def mint_enrolment(
        self, tx: Tx, browser: Browser, session: SessionState, role: str, email: str | None = None
    ) -> str:
        """Make a one-time link that gives `role`, and return its address; the operator must have stepped up."""
        require_step_up(session, self.core.clock.now())
        address = None if email is None else parse_email(email)
        link_id, url = self.enrolments.mint(tx, role, session.user_id, address)
        self.journal.done(
            tx,
            "identity.enrolment.mint",
            browser,
            session=session,
            target=("enrolment", link_id),
            data={"role": role},
        )
        return url

    async def enrol_peek(self, browser: Browser, token: str) -> tuple[str, str | None]:
        """Return role and address of an open enrolment link; raises LinkRefused. Fetching it changes nothing."""
        await self._admit("enrol", browser)
        row = await self.core.db.read(lambda tx: self.enrolments.peek(tx, token))
        return row.role, row.email

    async def enrol_options(self, browser: Browser, token: object, email: object) -> dict[str, Any]:
        """Begin an enrolment with an open link."""
        address = parse_email(email)
        await self._admit("enrol", browser)
        handle = self.core.ids.random_bytes(32)

        def issue(tx: Tx) -> bytes:
            row = self.enrolments.peek(tx, token, address)
            data = {"email": address, "handle": handle.hex(), "enrolment": row.id}
            return self.challenges.issue(tx, "enrol", browser, data=data)

        challenge = await self.core.db.write(issue)
        return creation_options(self.config.rp, challenge, handle, address, self.config.challenge_ttl)

    async def enrol_verify(
        self, browser: Browser, token: object, credential: Body, label: str = ""
    ) -> SignIn:
        """End an enrolment: the link is used up by the account, passkey, role and session that it makes."""
        await self._admit("enrol", browser)

        def effect(tx: Tx, challenge: Challenge) -> SignIn:
            new = self.passkeys.check_new(credential, challenge.value)
            link = self.enrolments.take(tx, token)
            if link.id != challenge.data["enrolment"]:
                raise LinkRefused("other-link")
            email, handle = challenge.data["email"], bytes.fromhex(challenge.data["handle"])
            user_id = self.users.create(tx, email, handle, link.role, f"enrolment:{link.id}")
            self.enrolments.used_by(tx, link.id, user_id)
            passkey = self.passkeys.add(tx, user_id, new, label)
            signed_in = self.sessions.open(tx, user_id, browser, PASSKEY_AMR)
            self._joined(
                tx, "identity.enrol", browser, signed_in, passkey, {"role": link.role, "enrolment": link.id}
            )
            return signed_in

        return await self._ceremony("identity.enrol", "enrol", browser, credential, effect)
