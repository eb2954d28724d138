"""Fresh passkey assertions: for a session (RFC 9470), and over an exact challenge for approvals."""

from __future__ import annotations

from typing import Any

from redoubt.core.db import Tx

from ..challenges import Challenge
from ..errors import CeremonyRefused, NoPasskey
from ..models import PASSKEY_AMR, Browser, SessionState, SignIn
from ..options import request_options
from ..passkeys import Used
from ..store import passkey_by_credential, passkeys_of
from .base import Body, Flow


class StepUpFlow(Flow):
    """Step-up, and what others verify passkeys with."""

    async def stepup_options(self, browser: Browser, session: SessionState) -> dict[str, Any]:
        """Begin a step-up of `session` with one of its user's own passkeys."""
        await self._admit("stepup", browser)

        def issue(tx: Tx) -> dict[str, Any]:
            owned = passkeys_of(tx, session.user_id)
            if not owned:
                raise NoPasskey
            challenge = self.challenges.issue(
                tx, "stepup", browser, user_id=session.user_id, session_id=session.session_id
            )
            return request_options(self.config.rp, challenge, self.config.challenge_ttl, owned)

        return await self.core.db.write(issue)

    async def stepup_verify(self, browser: Browser, session: SessionState, credential: Body) -> SignIn:
        """End a step-up: five minutes of trust, and a rotated session whose old token is dead."""
        await self._admit("stepup", browser)
        token = browser.session_token or ""

        def effect(tx: Tx, challenge: Challenge) -> SignIn:
            self._same_session(challenge, session)
            used = self.passkeys.use(tx, credential, challenge.value, user_id=session.user_id)
            until = self.core.clock.now() + self.config.step_up
            amr = tuple(dict.fromkeys((*session.amr, *PASSKEY_AMR)))
            signed_in = self.sessions.rotate(tx, session.session_id, token, amr=amr, step_up_until=until)
            self._signed_in(tx, "identity.stepup", browser, signed_in, {"passkey": used.passkey_id})
            return signed_in

        return await self._ceremony("identity.stepup", "stepup", browser, credential, effect, session)

    def assertion_options(self, tx: Tx, user_id: str, challenge: bytes) -> dict[str, Any]:
        """Return the options of an assertion by `user_id` over `challenge`, such as an approval's."""
        owned = passkeys_of(tx, user_id)
        if not owned:
            raise NoPasskey
        return request_options(self.config.rp, challenge, self.config.challenge_ttl, owned)

    def verify_assertion(self, tx: Tx, user_id: str, challenge: bytes, assertion: Body) -> Used:
        """Check a fresh assertion by `user_id` over exactly these 32 bytes, and move the passkey's counter.

        The caller owns the challenge and must accept it once only. Raises CeremonyRefused.
        """
        if len(challenge) != 32:
            raise CeremonyRefused("challenge")
        return self.passkeys.use(tx, assertion, challenge, user_id=user_id)

    def public_key_for(self, tx: Tx, credential: bytes) -> bytes | None:
        """Return the COSE_Key bytes (RFC 9052, section 7) of a passkey that we know, for others who verify."""
        row = passkey_by_credential(tx, self._tenant, credential)
        return None if row is None else bytes(row.public_key)
