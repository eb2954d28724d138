"""Sessions: opened at login, rotated when their worth changes, ended by idleness, age, their owner or an epoch.

The token exists once, in the cookie; the database holds its keyed MAC. A session keeps its id when its token is
rotated, so that its owner's list stays readable; the old token is dead from the same transaction on. Every user has
an epoch: raising it ends all sessions of that user at once, in every process within 200 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from attrs import evolve, frozen

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx

from .cache import SessionCache
from .drift import drift, ends
from .errors import AuthenticationRequired, NotFound
from .models import Browser, IdentityConfig, Risk, SessionState, SignIn, Subject
from .network import network_of
from .ports import RoleReader
from .reads import Macs, SessionReads
from .store import devices, insert_once, sessions, user_by_id, users, users_by_id

_SEEN_EVERY = 60.0
_MAX_AGENT = 256
_MAX_TOKEN = 64
_BY_TOKEN = sa.select(sessions).where(sessions.c.token_mac.in_(sa.bindparam("macs", expanding=True)))


@frozen
class _Live:
    """A session as the cache keeps it: its state at login, and where it came from."""

    state: SessionState
    network: str
    agent: str
    seen_at: datetime


class Sessions:
    """Opens, resolves, rotates and ends sessions."""

    def __init__(self, core: Core, config: IdentityConfig, roles: RoleReader, cache: SessionCache) -> None:
        self._core = core
        self._config = config
        self._roles = roles
        self._cache = cache
        self._mac = core.keys.mac("session")
        self._reads = SessionReads(core.db, cache, self._read_many)

    def open(self, tx: Tx, user_id: str, browser: Browser, amr: Sequence[str]) -> SignIn:
        """Start a session for `user_id` on `browser`; the one that its cookie carried before ends with it."""
        now = self._core.clock.now()
        if browser.session_token is not None:
            self._end_token(tx, browser.session_token, now)
        user = user_by_id(tx, user_id)
        if user is None or user.disabled_at is not None:
            raise AuthenticationRequired
        device_id, is_new = self._device(tx, user, browser, now)
        token = self._core.ids.token(32)
        row = {
            "id": self._core.ids.uuid7(),
            "tenant": user.tenant,
            "user_id": user_id,
            "token_mac": self._mac.digest(token),
            "epoch": user.epoch,
            "amr": list(amr),
            "auth_time": now,
            "step_up_until": None,
            "created_at": now,
            "seen_at": now,
            "expires_at": now + self._config.absolute,
            "device_id": device_id,
            "new_device": is_new,
            "network": network_of(browser.address),
            "agent": browser.agent[:_MAX_AGENT],
            "revoked_at": None,
        }
        tx.execute(sa.insert(sessions), row)
        live = self._live(row, user, self._roles.roles(tx, user.tenant, user.id))
        return SignIn(live.state, token)

    async def resolve(
        self, token: str | None, address: str, agent: str, *, fresh: bool = False
    ) -> SessionState | None:
        """Return the live session of a cookie's value, or None; at most 200 ms behind other processes.

        With `fresh` it is read anew, whatever is known of it.
        """
        if not token or len(token) > _MAX_TOKEN or not token.isascii():
            return None
        key = sha256(token.encode()).digest()  # what the cache goes by; the table goes by keyed MACs
        live: _Live | None = None if fresh else self._cache.get(key)
        if live is None:
            macs = tuple(self._mac.digests(token))
            live = await (self._read_anew(key, macs) if fresh else self._reads.one(key, macs))
            if live is None:
                return None
        now = self._core.clock.now()
        if not self._alive(live, now):
            return None
        if (now - live.seen_at).total_seconds() >= _SEEN_EVERY:
            await self._core.db.write(lambda tx: self._touch(tx, live.state.session_id, now))
        risk = drift(
            live.network,
            live.agent,
            live.state.risk.new_device,
            live.state.auth_time,
            now,
            address,
            agent[:_MAX_AGENT],
        )
        if ends(risk):
            await self._core.db.write(lambda tx: self._strayed(tx, live, risk))
            return None
        return live.state if risk == live.state.risk else evolve(live.state, risk=risk)

    async def _read_anew(self, key: bytes, macs: Macs) -> _Live | None:
        ticket = self._cache.begin()
        live = (await self._core.db.read(lambda tx: self._read_many(tx, {key: macs}))).get(key)
        if live is not None:
            self._cache.put(ticket, key, live.state.user_id, live.state.session_id, live, macs)
        return live

    def rotate(
        self,
        tx: Tx,
        session_id: str,
        old_token: str,
        *,
        amr: Sequence[str] | None = None,
        step_up_until: datetime | None = None,
    ) -> SignIn:
        """Give the session a new token; the old one is dead. Raises AuthenticationRequired when it is already."""
        now = self._core.clock.now()
        token = self._core.ids.token(32)
        values: dict[str, Any] = {"token_mac": self._mac.digest(token), "seen_at": now}
        if amr is not None:
            values |= {"amr": list(amr)}
        if step_up_until is not None:
            values |= {"step_up_until": step_up_until}
        changed = tx.execute(
            sa.update(sessions)
            .where(
                sessions.c.id == session_id,
                sessions.c.token_mac.in_(self._mac.digests(old_token)),
                sessions.c.revoked_at.is_(None),
                sessions.c.expires_at > now,
            )
            .values(**values)
        )
        live = self._read(tx, token) if changed.rowcount == 1 else None
        if live is None:
            raise AuthenticationRequired
        tx.after_commit(lambda: self._cache.drop_session(session_id))
        return SignIn(live.state, token)

    def revoke(self, tx: Tx, user_id: str, session_id: str) -> None:
        """End one session of `user_id`; raises NotFound when it is not that user's, or over."""
        ended = tx.execute(
            sa.update(sessions)
            .where(
                sessions.c.id == session_id, sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None)
            )
            .values(revoked_at=self._core.clock.now())
        )
        if ended.rowcount != 1:
            raise NotFound
        tx.after_commit(lambda: self._cache.drop_session(session_id))

    def revoke_all(self, tx: Tx, user_id: str) -> None:
        """End every session of `user_id` by raising the user's epoch: after a change of privileges, or on alarm."""
        tx.execute(sa.update(users).where(users.c.id == user_id).values(epoch=users.c.epoch + 1))
        tx.execute(
            sa.update(sessions)
            .where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
            .values(revoked_at=self._core.clock.now())
        )
        tx.after_commit(lambda: self._cache.drop_user(user_id))

    def list_of(self, tx: Tx, user_id: str) -> list[sa.Row[Any]]:
        """Return the live sessions of `user_id`, newest first."""
        now = self._core.clock.now()
        return list(
            tx.execute(
                sa.select(sessions)
                .join(users, users.c.id == sessions.c.user_id)
                .where(
                    sessions.c.user_id == user_id,
                    sessions.c.revoked_at.is_(None),
                    sessions.c.epoch == users.c.epoch,
                    sessions.c.expires_at > now,
                    sessions.c.seen_at > now - self._config.idle,
                )
                .order_by(sessions.c.created_at.desc())
            )
        )

    def _read(self, tx: Tx, token: str) -> _Live | None:
        return self._read_many(tx, {b"": tuple(self._mac.digests(token))}).get(b"")

    def _read_many(self, tx: Tx, wanted: Mapping[bytes, Macs]) -> dict[bytes, _Live]:
        """Return those of the `wanted` that live, by their keys; three statements, however many they are."""
        key_of = {mac: key for key, macs in wanted.items() for mac in macs}
        rows = [
            row
            for row in tx.execute(_BY_TOKEN, {"macs": list(key_of)}).mappings()
            if row["revoked_at"] is None
        ]
        people = users_by_id(tx, {row["user_id"] for row in rows})
        paired = [(row, people[row["user_id"]]) for row in rows if row["user_id"] in people]
        valid = [
            (row, user) for row, user in paired if user.disabled_at is None and user.epoch == row["epoch"]
        ]
        roles = self._roles.roles_of(tx, {(user.tenant, user.id) for _, user in valid})
        found = {}
        for row, user in valid:
            live = self._live(row, user, roles.get((user.tenant, user.id), frozenset()))
            if self._alive(live, self._core.clock.now()):
                found[key_of[row["token_mac"]]] = live
        return found

    def _live(self, row: Any, user: sa.Row[Any], roles: frozenset[str]) -> _Live:
        subject = Subject(
            user_id=user.id,
            tenant=user.tenant,
            email=user.email,
            email_verified=user.email_verified_at is not None,
            roles=roles,
        )
        state = SessionState(
            session_id=row["id"],
            subject=subject,
            auth_time=row["auth_time"],
            amr=tuple(row["amr"]),
            step_up_until=row["step_up_until"],
            device_id=row["device_id"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            risk=Risk(new_device=bool(row["new_device"])),
        )
        return _Live(state, row["network"], row["agent"], row["seen_at"])

    def _alive(self, live: _Live, now: datetime) -> bool:
        return now < live.state.expires_at and now < live.seen_at + self._config.idle

    def _touch(self, tx: Tx, session_id: str, now: datetime) -> None:
        tx.execute(sa.update(sessions).where(sessions.c.id == session_id).values(seen_at=now))
        tx.after_commit(lambda: self._cache.drop_session(session_id))

    def _strayed(self, tx: Tx, live: _Live, risk: Risk) -> None:
        """End a session that shows up where it cannot be: its cookie is somebody else's by now."""
        state = live.state
        ended = tx.execute(
            sa.update(sessions)
            .where(sessions.c.id == state.session_id, sessions.c.revoked_at.is_(None))
            .values(revoked_at=self._core.clock.now())
        )
        tx.after_commit(lambda: self._cache.drop_session(state.session_id))
        if ended.rowcount == 1:
            event = Event(
                action="identity.session.strayed",
                outcome="denied",
                actor=Actor(kind="user", id=state.user_id, session=state.session_id),
                tenant=state.tenant,
                target=("session", state.session_id),
                data={
                    "risk": risk.score,
                    "agent_changed": risk.agent_changed,
                    "network_changed": risk.network_changed,
                },
            )
            record(tx, self._core, event)

    def _end_token(self, tx: Tx, token: str, now: datetime) -> None:
        row = tx.execute(
            sa.select(sessions.c.id).where(
                sessions.c.token_mac.in_(self._mac.digests(token)), sessions.c.revoked_at.is_(None)
            )
        ).first()
        if row is not None:
            tx.execute(sa.update(sessions).where(sessions.c.id == row.id).values(revoked_at=now))
            tx.after_commit(lambda: self._cache.drop_session(row.id))

    def _device(self, tx: Tx, user: sa.Row[Any], browser: Browser, now: datetime) -> tuple[str, bool]:
        """Return the id of this browser as a device of the user, and whether it is a new one beside older ones."""
        where = (devices.c.user_id == user.id, devices.c.browser_mac == browser.mac)
        row = tx.execute(sa.select(devices.c.id).where(*where)).first()
        if row is not None:
            tx.execute(sa.update(devices).where(*where).values(last_seen_at=now))
            return str(row.id), False
        others = tx.execute(sa.select(devices.c.id).where(devices.c.user_id == user.id).limit(1)).first()
        values = {
            "id": self._core.ids.uuid7(),
            "tenant": user.tenant,
            "user_id": user.id,
            "browser_mac": browser.mac,
            "first_seen_at": now,
            "last_seen_at": now,
        }
        insert_once(tx, devices, values, ["user_id", "browser_mac"])
        device_id = tx.execute(sa.select(devices.c.id).where(*where)).scalar_one()
        return str(device_id), others is not None
