"""What every ceremony shares: who asks, the challenge used up, the effect whole or not at all, the refusal kept.

A refusal inside a ceremony is committed too: the challenge stays used up and the refusal is in the audit log, while
everything the ceremony did besides is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.jobs import Jobs
from redoubt.guard.limits import Limiter

from ..cache import SessionCache
from ..ceremony import client_challenge, credential_id
from ..challenges import Challenge, Challenges, Purpose
from ..enrolment import Enrolments
from ..errors import (
    CeremonyRefused,
    ChallengeRefused,
    IdentityError,
    LinkRefused,
    SignUpClosed,
    TooManyAttempts,
)
from ..journal import Journal
from ..magic import Magic
from ..models import Browser, IdentityConfig, SessionState, SignIn
from ..passkeys import Passkeys
from ..ports import Mailer, RoleAssigner, RoleReader
from ..sessions import Sessions
from ..store import knows_device, knows_device_of_anyone, passkey_by_credential, prune
from ..throttle import Throttle
from ..users import Users

T = TypeVar("T")
Body = Mapping[str, Any]


class Flow:
    """The parts that ceremonies are made of, bound to one app and tenant."""

    def __init__(
        self,
        core: Core,
        config: IdentityConfig,
        *,
        assigner: RoleAssigner,
        roles: RoleReader,
        mailer: Mailer,
        limiter: Limiter,
        tenant: str = "main",
    ) -> None:
        self.core = core
        self.config = config
        self.csrf_mac = core.keys.mac("csrf")
        self.pre_mac = core.keys.mac("browser")
        self.cache = SessionCache(core.clock)
        self.sessions = Sessions(core, config, roles, self.cache)
        self.users = Users(core, assigner, tenant)
        self.passkeys = Passkeys(core, config.rp, tenant)
        self.challenges = Challenges(core, config.challenge_ttl, tenant)
        self.enrolments = Enrolments(core, config.enrolment_ttl, tenant)
        self.magic = Magic(core, config, self.users, roles, mailer, tenant)
        self.throttle = Throttle(limiter, tenant)
        self.journal = Journal(core, tenant)
        self._assigner = assigner
        self._tenant = tenant

    def register_jobs(self, jobs: Jobs) -> None:
        """Let a worker do what identity enqueues."""
        self.magic.register_jobs(jobs)

    def browser(
        self, pre: str, address: str, agent: str, request_id: str = "", session_token: str | None = None
    ) -> Browser:
        """Return the browser that a checked `__Host-pre` cookie names."""
        return Browser(self.pre_mac.digest(pre), address, agent, request_id, session_token)

    async def resolve(
        self, cookie_value: str | None, address: str, agent: str, *, fresh: bool = False
    ) -> SessionState | None:
        """Return the live session of a `__Host-session` cookie, or None; at most 200 ms old, read anew with `fresh`."""
        return await self.sessions.resolve(cookie_value, address, agent, fresh=fresh)

    async def prune(self) -> int:
        """Delete challenges that are past, and links and sessions that ended a week ago; return how many."""
        now = self.core.clock.now()
        return await self.core.db.write(lambda tx: prune(tx, now, now - timedelta(days=7)))

    async def _ceremony(
        self,
        action: str,
        purpose: Purpose,
        browser: Browser,
        credential: Body,
        effect: Callable[[Tx, Challenge], SignIn],
        session: SessionState | None = None,
    ) -> SignIn:
        """Use the challenge up, then run `effect` whole or not at all; a refusal is recorded and then raised."""
        value = client_challenge(credential)

        def run(tx: Tx) -> SignIn | IdentityError:
            try:
                challenge = self.challenges.take(tx, purpose, browser, value)
                with tx.conn.begin_nested():
                    return effect(tx, challenge)
            except IdentityError as error:
                user_id = session.user_id if session else self._owner(tx, credential)
                self.journal.refused(tx, action, browser, error, user_id=user_id)
                return error

        return await self._or_refusal(purpose, browser, credential, run)

    async def _or_refusal(
        self, endpoint: str, browser: Browser, credential: Body | None, run: Callable[[Tx], T | IdentityError]
    ) -> T:
        result = await self.core.db.write(run)
        if not isinstance(result, IdentityError):
            return result
        if isinstance(result, CeremonyRefused | ChallengeRefused | LinkRefused):
            account, known = await self.core.db.read(lambda tx: self._account(tx, browser, credential))
            await self.throttle.failed(endpoint, browser, account, known_device=known)
        raise result

    def _account(self, tx: Tx, browser: Browser, credential: Body | None) -> tuple[str | None, bool]:
        owner = None if credential is None else self._owner(tx, credential)
        return owner, owner is not None and knows_device(tx, owner, browser.mac)

    def _owner(self, tx: Tx, credential: Body) -> str | None:
        """Return whose passkey a response *claims* to be: fit to count and to note, not to trust."""
        try:
            row = passkey_by_credential(tx, self._tenant, credential_id(credential))
        except CeremonyRefused:
            return None
        return None if row is None else str(row.user_id)

    async def _admit(self, endpoint: str, browser: Browser) -> None:
        known = await self.core.db.read(lambda tx: knows_device_of_anyone(tx, browser.mac))
        await self.throttle.ask(endpoint, browser, known_device=known)

    def _may_mail(self, email: str, browser: Browser) -> bool:
        try:
            self.throttle.mail_sync(email, browser, known_device=False)
        except TooManyAttempts:
            return False
        return True

    def _sign_up_role(self) -> str:
        if self.config.sign_up is None:
            raise SignUpClosed
        return self.config.sign_up

    @staticmethod
    def _same_session(challenge: Challenge, session: SessionState) -> None:
        if (challenge.user_id, challenge.session_id) != (session.user_id, session.session_id):
            raise ChallengeRefused("other-session")

    def _signed_in(
        self, tx: Tx, action: str, browser: Browser, signed_in: SignIn, data: Mapping[str, Any]
    ) -> None:
        session = signed_in.session
        self.journal.done(
            tx, action, browser, session=session, target=("user", session.user_id),
            data={**data, "new_device": session.risk.new_device},
        )  # fmt: skip

    def _joined(
        self,
        tx: Tx,
        action: str,
        browser: Browser,
        signed_in: SignIn,
        passkey_id: str,
        data: Mapping[str, Any],
    ) -> None:
        self.journal.done(
            tx, action, browser, session=signed_in.session, target=("passkey", passkey_id), data=data
        )
