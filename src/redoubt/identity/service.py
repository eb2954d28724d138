"""What identity does: one method a ceremony, each one transaction with its audit event.

A refusal inside a ceremony is committed too: the challenge stays used up and the refusal is in the audit log, while
everything the ceremony did besides is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.jobs import Jobs
from redoubt.guard.limits import Limiter

from .cache import SessionCache
from .ceremony import client_challenge, credential_id
from .challenges import Challenge, Challenges, Purpose
from .encoding import parse_email
from .enrolment import Enrolments
from .errors import (
    CeremonyRefused,
    ChallengeRefused,
    IdentityError,
    LinkRefused,
    NoPasskey,
    SignUpClosed,
    TooManyAttempts,
)
from .journal import Journal
from .magic import Magic
from .models import EMAIL_AMR, PASSKEY_AMR, Browser, IdentityConfig, SessionState, SignIn
from .options import creation_options, request_options
from .passkeys import Passkeys, Used
from .ports import Mailer, RoleAssigner, RoleReader
from .sessions import Sessions
from .stepup import require_step_up, require_step_up_or_first
from .store import (
    knows_device,
    knows_device_for_email,
    knows_device_of_anyone,
    passkey_by_credential,
    passkeys_of,
    user_by_id,
)
from .throttle import Throttle
from .users import SELF_SIGN_UP, Users

T = TypeVar("T")
Body = Mapping[str, Any]


class IdentityService:
    """Registration, login, links, sessions, step-up and enrolment of one tenant."""

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

    async def resolve(self, cookie_value: str | None, address: str, agent: str) -> SessionState | None:
        """Return the live session of a `__Host-session` cookie, or None; cached for at most one second."""
        return await self.sessions.resolve(cookie_value, address, agent)

    # -- sign-up and login -------------------------------------------------------------------------------------

    async def register_options(self, browser: Browser, email: object) -> dict[str, Any]:
        """Begin a self sign-up for `email`; the answer is the same whether the address is known or not."""
        self._sign_up_role()
        address = parse_email(email)
        await self._admit("register", browser)
        handle = self.core.ids.random_bytes(32)
        data = {"email": address, "handle": handle.hex()}
        challenge = await self.core.db.write(
            lambda tx: self.challenges.issue(tx, "register", browser, data=data)
        )
        return creation_options(self.config.rp, challenge, handle, address, self.config.challenge_ttl)

    async def register_verify(self, browser: Browser, credential: Body, label: str = "") -> SignIn:
        """End a self sign-up: account, passkey, role and session, and a mail that proves the address."""
        role = self._sign_up_role()
        await self._admit("register", browser)

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
        await self.revoke_session(browser, session, session.session_id, action="identity.logout")

    # -- magic links -------------------------------------------------------------------------------------------

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

    # -- step-up and approvals ---------------------------------------------------------------------------------

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

    # -- the user's own passkeys and sessions ------------------------------------------------------------------

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

    async def revoke_session(
        self,
        browser: Browser,
        session: SessionState,
        session_id: str,
        *,
        action: str = "identity.session.revoke",
    ) -> None:
        """End one of the user's own sessions."""

        def revoke(tx: Tx) -> None:
            self.sessions.revoke(tx, session.user_id, session_id)
            self.journal.done(tx, action, browser, session=session, target=("session", session_id))

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

    # -- enrolment ---------------------------------------------------------------------------------------------

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

    # -- what the ceremonies share -----------------------------------------------------------------------------

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
