"""The values that identity hands around: frozen, without secrets."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from attrs import frozen

from redoubt.core.settings import Settings

from .ceremony import RelyingParty

PASSKEY_AMR = (
    "hwk",
    "user",
    "mfa",
)  # RFC 8176: proof of possession, presence; a verified user makes two factors
EMAIL_AMR = ("email",)


@frozen
class Risk:
    """How a request differs from the login of its session: what policies and the risk score look at."""

    score: int = 0
    network_changed: bool = False
    agent_changed: bool = False
    new_device: bool = False


@frozen
class Subject:
    """Who acts: what policies see of a signed-in user."""

    user_id: str
    tenant: str
    email: str
    email_verified: bool
    roles: frozenset[str]


@frozen
class SessionState:
    """One live session at one request: its subject, how and when it was authenticated, its device and risk."""

    session_id: str
    subject: Subject
    auth_time: datetime
    amr: tuple[str, ...]
    step_up_until: datetime | None
    device_id: str
    created_at: datetime
    expires_at: datetime
    risk: Risk

    @property
    def user_id(self) -> str:
        """The id of the signed-in user."""
        return self.subject.user_id

    @property
    def tenant(self) -> str:
        """The tenant of the signed-in user."""
        return self.subject.tenant

    @property
    def roles(self) -> frozenset[str]:
        """The roles of the signed-in user."""
        return self.subject.roles

    @property
    def email(self) -> str:
        """The address that the user gave; see `email_verified`."""
        return self.subject.email

    @property
    def email_verified(self) -> bool:
        """Whether the user proved to read that address."""
        return self.subject.email_verified

    def stepped_up(self, now: datetime) -> bool:
        """Say whether a passkey assertion of the last five minutes stands behind this session (RFC 9470)."""
        return self.step_up_until is not None and now < self.step_up_until


@frozen
class SignIn:
    """The end of a ceremony that signs in: the session, and the one copy of the token for its cookie."""

    session: SessionState
    token: str

    def __repr__(self) -> str:
        """Show the session's id only: the token is a secret."""
        return f"SignIn(session_id={self.session.session_id!r})"


@frozen
class Browser:
    """The browser that asks: the MAC of its `__Host-pre` cookie, its address and agent, its session cookie."""

    mac: bytes
    address: str
    agent: str
    request_id: str = ""
    session_token: str | None = None

    def __repr__(self) -> str:
        """Show neither token nor address."""
        return f"Browser(request_id={self.request_id!r})"


@frozen
class IdentityConfig:
    """What an app chooses: names, lifetimes and who may come in how.

    `sign_up` names the role of people who register themselves, None where nobody may. A user who holds one of
    `passkey_roles` is never signed in by e-mail: control of a mailbox is not enough for these.
    """

    rp: RelyingParty
    base_url: str
    sign_up: str | None = "customer"
    magic_links: bool = True
    passkey_roles: frozenset[str] = frozenset({"operator"})
    idle: timedelta = timedelta(hours=1)
    absolute: timedelta = timedelta(hours=12)
    step_up: timedelta = timedelta(minutes=5)
    challenge_ttl: timedelta = timedelta(minutes=5)
    magic_ttl: timedelta = timedelta(minutes=10)
    enrolment_ttl: timedelta = timedelta(days=3)
    genesis_ttl: timedelta = timedelta(days=30)
    home: str = "/"

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        title: str = "",
        sign_up: str | None = "customer",
        magic_links: bool = True,
        passkey_roles: frozenset[str] = frozenset(),
    ) -> IdentityConfig:
        """Return the configuration of the app that `settings` describe: rpId and origin come from its base URL.

        Operators are among `passkey_roles` whatever the app declares.
        """
        parts = urlsplit(settings.app.base_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        rp_id = settings.app.rp_id or parts.hostname or ""
        rp = RelyingParty(id=rp_id, name=title or settings.app.name, origins=(origin,))
        return cls(
            rp=rp,
            base_url=settings.app.base_url,
            sign_up=sign_up,
            magic_links=magic_links,
            passkey_roles=passkey_roles | {"operator"},
        )
