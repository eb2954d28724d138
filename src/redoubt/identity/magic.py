"""Magic links: asked for by one browser, mailed by the worker, confirmed once by a POST from that browser.

Asking does the same for every address: one row, one job, one answer. Whether the address is anybody's is found out
by the worker, which no client can time. The link opens nothing by being fetched (mail scanners do), nothing in
another browser (the `__Host-pre` cookie binds it), and nothing twice.
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.jobs import Job, Jobs, enqueue

from . import links
from .errors import LinkRefused
from .models import Browser, IdentityConfig
from .ports import Mailer, RoleReader
from .store import magic_links, user_by_id
from .users import SELF_SIGN_UP, Users

JOB = "identity.magic"
Outcome = Literal["sent", "notice", "nobody", "over"]


class Magic:
    """Issues, mails and takes magic links."""

    def __init__(
        self,
        core: Core,
        config: IdentityConfig,
        users: Users,
        roles: RoleReader,
        mailer: Mailer,
        tenant: str = "main",
    ) -> None:
        self._core = core
        self._config = config
        self._users = users
        self._roles = roles
        self._mailer = mailer
        self._tenant = tenant
        self._mac = core.keys.mac("identity-link")

    def ask(self, tx: Tx, email: str, browser: Browser, next_path: str, *, user_id: str | None = None) -> str:
        """Store a link for `email` and the job that mails it; return its id. `user_id` proves a fresh account's address."""
        link_id = self._core.ids.uuid7()
        now = self._core.clock.now()
        row = {
            "id": link_id,
            "tenant": self._tenant,
            "email": email,
            "user_id": user_id,
            "browser_mac": browser.mac,
            "next": next_path,
            "created_at": now,
            "expires_at": now + self._config.magic_ttl,
            "used_at": None,
            "mailed_at": None,
        }
        tx.execute(sa.insert(magic_links), row)
        enqueue(tx, self._core, JOB, {"link": link_id}, tenant=self._tenant, key=f"{JOB}:{link_id}")
        return link_id

    def peek(self, tx: Tx, token: str, browser: Browser) -> None:
        """Raise LinkRefused unless `token` could be confirmed by this browser now; nothing changes."""
        link_id = links.read(self._mac, "magic", token)
        row = tx.execute(sa.select(magic_links).where(magic_links.c.id == link_id)).first()
        if row is None or row.used_at is not None or row.expires_at <= self._core.clock.now():
            raise LinkRefused("over")
        if row.browser_mac != browser.mac:
            raise LinkRefused("other-browser")

    def take(self, tx: Tx, token: object, browser: Browser) -> tuple[str, str]:
        """Use the link up and return (user id, where to go next); of any number of takers one succeeds.

        Raises LinkRefused when it is unknown, used, expired, of another browser, or of someone who signs in by
        passkey only. A link that another browser presents is not used up by that.
        """
        link_id = links.read(self._mac, "magic", token)
        now = self._core.clock.now()
        row = tx.execute(
            sa.update(magic_links)
            .where(
                magic_links.c.id == link_id,
                magic_links.c.browser_mac == browser.mac,
                magic_links.c.used_at.is_(None),
                magic_links.c.expires_at > now,
            )
            .values(used_at=now)
            .returning(magic_links)
        ).first()
        if row is None:
            raise LinkRefused("over-or-other-browser")
        user_id = row.user_id or self._users.of_address(tx, row.email, browser.mac)
        if user_id is None:
            return self._sign_up(tx, row.email, browser), row.next
        if self._passkey_only(tx, user_id):
            raise LinkRefused("passkey-only")
        self._users.prove(tx, user_id, row.email)
        return user_id, row.next

    def register_jobs(self, jobs: Jobs) -> None:
        """Let a worker mail the links."""
        jobs.outward(JOB, self._mail, self._settle)

    def _sign_up(self, tx: Tx, email: str, browser: Browser) -> str:
        if self._config.sign_up is None:
            raise LinkRefused("no-sign-up")
        handle = self._core.ids.random_bytes(32)
        try:
            with tx.conn.begin_nested():
                return self._users.create(
                    tx, email, handle, self._config.sign_up, SELF_SIGN_UP, verified=True
                )
        except IntegrityError:  # another link of this address won the race; its account is this reader's too
            user_id = self._users.of_address(tx, email, browser.mac)
            if user_id is None:
                raise LinkRefused("address-taken") from None
            return user_id

    def _passkey_only(self, tx: Tx, user_id: str) -> bool:
        user = user_by_id(tx, user_id)
        if user is None or user.disabled_at is not None:
            raise LinkRefused("no-user")
        return bool(self._roles.roles(tx, user.tenant, user.id) & self._config.passkey_roles)

    async def _mail(self, job: Job) -> Outcome:
        link_id = str(job.payload["link"])

        def look(tx: Tx) -> tuple[str, Outcome]:
            row = tx.execute(sa.select(magic_links).where(magic_links.c.id == link_id)).first()
            if row is None or row.used_at is not None or row.expires_at <= self._core.clock.now():
                return "", "over"
            user_id = row.user_id or self._users.of_address(tx, row.email, row.browser_mac)
            if user_id is None:
                return row.email, "nobody" if self._config.sign_up is None else "sent"
            return row.email, "notice" if self._passkey_only(tx, user_id) else "sent"

        email, outcome = await self._core.db.read(look)
        name = self._config.rp.name
        if outcome == "sent":
            url = f"{self._config.base_url}/auth/magic/{links.mint(self._mac, 'magic', link_id)}"
            minutes = int(self._config.magic_ttl.total_seconds() // 60)
            await self._mailer.send(
                email, f"Sign in to {name}", _LINK.format(name=name, url=url, minutes=minutes), link_id
            )
        elif outcome == "notice":
            await self._mailer.send(email, f"Signing in to {name}", _NOTICE.format(name=name), link_id)
        return outcome

    def _settle(self, tx: Tx, job: Job, outcome: Outcome) -> None:
        if outcome in ("sent", "notice"):
            tx.execute(
                sa.update(magic_links)
                .where(magic_links.c.id == str(job.payload["link"]))
                .values(mailed_at=self._core.clock.now())
            )


_LINK = """\
Someone, we hope you, asked to sign in to {name} with this address.

Open this link in the browser that you asked from:

{url}

It works once, within {minutes} minutes, and in that browser only.
If you did not ask, do nothing: nobody can sign in without it.
"""

_NOTICE = """\
Someone, we hope you, asked to sign in to {name} with this address.

Your account signs in by passkey only, so there is no link in this message.
If you did not ask, do nothing.
"""
