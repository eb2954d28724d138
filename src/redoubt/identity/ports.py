"""What identity needs from others and names only as Protocols: the runtime binds them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from starlette.responses import Response

from redoubt.core.db import Tx

from .models import SessionState


class RoleAssigner(Protocol):
    """Gives a role to a user, in the transaction that makes the user; bound to authorization."""

    def assign(self, tx: Tx, tenant: str, user_id: str, role: str, by: str) -> None:
        """Give `role` to `user_id`; `by` is who decided (a user id, `self-sign-up` or `enrolment:ID`)."""
        ...


class RoleReader(Protocol):
    """Knows the roles of a user; bound to authorization."""

    def roles(self, tx: Tx, tenant: str, user_id: str) -> frozenset[str]:
        """Return the roles of `user_id` as they stand in this transaction."""
        ...

    def roles_of(
        self, tx: Tx, people: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], frozenset[str]]:
        """Return the roles of each of `people`, who are given by tenant and user id; who has none may be missing."""
        ...


class PasskeyWatcher(Protocol):
    """Told of passkeys that come and go, in the transaction that does it; bound to payments, whose charge service
    checks approvers by itself."""

    def passkey_added(
        self, tx: Tx, tenant: str, user_id: str, credential_id: bytes, public_key: bytes
    ) -> None:
        """Take note of a new passkey; `public_key` is its COSE_Key (RFC 9052, section 7)."""
        ...

    def passkey_removed(self, tx: Tx, tenant: str, user_id: str, credential_id: bytes) -> None:
        """Take note that a passkey is gone."""
        ...


class Mailer(Protocol):
    """Hands one message to a mail server."""

    async def send(self, to: str, subject: str, text: str, message_id: str) -> None:
        """Return once the server took the message; `message_id` repeats when the same message is sent again."""
        ...


class RequestGuard(Protocol):
    """What the runtime's middleware leaves in `scope["redoubt"]`: who asks, from where, and whether it is no forgery."""

    pre_cookie: str | None
    """The value of the `__Host-pre` cookie if this app made it (`cookies.valid_pre`), else None."""

    new_pre: str | None
    """A browser cookie that the response is to set; a route that makes one leaves it here and in `pre_cookie`."""

    @property
    def subject(self) -> SessionState | None:
        """The live session of the request, or None."""
        ...

    @property
    def session_token(self) -> str | None:
        """The value of the `__Host-session` cookie, live or not."""
        ...

    @property
    def client_address(self) -> str:
        """The client's IP address, trusted proxies taken off."""
        ...

    @property
    def user_agent(self) -> str:
        """The User-Agent header, bounded."""
        ...

    @property
    def request_id(self) -> str:
        """The id that the request carries through logs and audit."""
        ...

    def csrf_ok(self, form_token: str | None = None) -> bool:
        """Say whether origin and token hold; `form_token` is the body's `csrf_token` where there is no header."""
        ...

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Render a page; `pages` names what its layout needs."""
        ...
