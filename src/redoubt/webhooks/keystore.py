"""Signing keys of endpoints and targets: declared by reference, kept sealed, each with its span of time.

A sealed copy of every key that ever counted stays, so that an old delivery can be verified as of its time after the
reference behind it has long changed. All processes read the same rows: what ends here ends everywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa

from ..audit import Actor, Event, record
from ..core.base import Core
from ..core.db import Tx
from ..core.secrets import SecretRef
from .errors import ConfigError, UnknownEndpoint
from .schemes import SCHEMES, SigningKey
from .schemes.keys import decode_secret, encode_secret
from .schemes.model import SecretForm
from .store import endpoints, insert_new, keys, targets

log = logging.getLogger("redoubt.webhooks")

_SEAL = "webhook-keys"
_MAX_LIVE = 8
_SERVICE = Actor(kind="service", id="webhooks")


def resolve(
    core: Core, name: str, refs: Sequence[SecretRef], form: SecretForm
) -> list[tuple[SecretRef, bytes]]:
    """Return the HMAC keys behind `refs` now; raises SecretError or ConfigError, naming the webhook and no value."""
    found = [(ref, decode_secret(core.settings.reveal(ref).reveal(), form)) for ref in refs]
    if len({secret for _, secret in found}) != len(found):
        raise ConfigError(f"webhook {name}: two references hold the same secret.", hint="Keep one of them.")
    return found


def declare(tx: Tx, core: Core, owner: str, tenant: str, declared: Sequence[tuple[SecretRef, bytes]]) -> None:
    """Make the stored keys of `owner` those that are declared now, besides keys that rotation made.

    A new secret counts from now; one that is declared no more ends now. A key that a rotation ended stays ended,
    though its reference still stands in the settings.
    """
    now = core.clock.now()
    rows = {row["key_id"]: row for row in tx.execute(sa.select(keys).where(keys.c.owner == owner)).mappings()}
    wanted = {_key_id(core, owner, secret): (ref, secret) for ref, secret in declared}
    for key_id, (ref, secret) in wanted.items():
        row = rows.get(key_id)
        if row is None:
            _insert(tx, core, owner, tenant, key_id, secret, str(ref))
        elif row["ended_by"] == "removal":
            tx.execute(
                sa.update(keys)
                .where(keys.c.owner == owner, keys.c.key_id == key_id)
                .values(not_before=now, not_after=None, ended_by=None)
            )
            _audit(tx, core, "webhook.key.added", owner, tenant, key_id)
        elif row["not_after"] is not None and row["not_after"] <= now:
            log.warning(
                "the secret %s of %s was rotated out; it may be removed from the settings", ref, owner
            )
    for key_id, row in rows.items():
        ended = row["not_after"] is not None and row["not_after"] <= now
        if row["ref"] is not None and key_id not in wanted and not ended:
            tx.execute(
                sa.update(keys)
                .where(keys.c.owner == owner, keys.c.key_id == key_id)
                .values(not_after=now, ended_by="removal")
            )
            _audit(tx, core, "webhook.key.ended", owner, tenant, key_id)


def rotate(
    tx: Tx, core: Core, name: str, ref: SecretRef | None, overlap: timedelta, actor: Actor
) -> str | None:
    """Add a key to the endpoint or target `name` and end its other keys after `overlap`.

    Without `ref` a new secret is made and returned in its sender's form, this once. Raises UnknownEndpoint.
    """
    if not timedelta() <= overlap <= timedelta(days=30):
        raise ConfigError("the overlap is between nothing and 30 days.")
    owner, tenant, form = _owner(tx, name)
    made: str | None = None
    if ref is None:
        raw = core.ids.random_bytes(32) if form == "whsec" else core.ids.token(32).encode()
        made = encode_secret(raw, form)
        secret = decode_secret(made, form)
    else:
        secret = decode_secret(core.settings.reveal(ref).reveal(), form)
    now = core.clock.now()
    key_id = _key_id(core, owner, secret)
    until = now + overlap
    tx.execute(
        sa.update(keys)
        .where(keys.c.owner == owner, keys.c.key_id != key_id)
        .where(sa.or_(keys.c.not_after.is_(None), keys.c.not_after > until))
        .values(not_after=until, ended_by="rotation")
    )
    _insert(tx, core, owner, tenant, key_id, secret, str(ref) if ref else None, actor)
    return made


def load(tx: Tx, core: Core, owner: str | None = None) -> dict[str, list[SigningKey]]:
    """Return the keys of every owner, ended ones included: whoever uses them asks for those that were live."""
    statement = sa.select(keys).order_by(keys.c.owner, keys.c.not_before, keys.c.key_id)
    if owner is not None:
        statement = statement.where(keys.c.owner == owner)
    found: dict[str, list[SigningKey]] = {}
    for row in tx.execute(statement).mappings():
        secret = core.keys.open_sealed(_SEAL, row["sealed"], f"{row['owner']}|{row['key_id']}".encode())
        key = SigningKey(row["key_id"], secret, row["not_before"], row["not_after"])
        found.setdefault(row["owner"], []).append(key)
    return found


class LiveKeys:
    """This process's view of the keys, at most a second old while the database answers."""

    def __init__(self, core: Core, *, max_age: float = 1.0) -> None:
        self._core = core
        self._max_age = max_age
        self._read_at = float("-inf")
        self._keys: Mapping[str, list[SigningKey]] = {}
        self._lock = asyncio.Lock()

    async def of(self, owner: str) -> list[SigningKey]:
        """Return the keys of `owner` that are live now, newest last."""
        if self._core.clock.monotonic() - self._read_at >= self._max_age:
            async with self._lock:
                if self._core.clock.monotonic() - self._read_at >= self._max_age:
                    await self.refresh()
        now = self._core.clock.now()
        return [key for key in self._keys.get(owner, ()) if key.live(now)][-_MAX_LIVE:]

    async def refresh(self) -> None:
        """Read the rows again now."""
        at = self._core.clock.monotonic()
        self._keys = await self._core.db.read(lambda tx: load(tx, self._core))
        self._read_at = at


def _owner(tx: Tx, name: str) -> tuple[str, str, SecretForm]:
    row = tx.execute(sa.select(endpoints).where(endpoints.c.name == name)).mappings().one_or_none()
    if row is not None:
        return f"in:{name}", row["tenant"], SCHEMES[row["scheme"]].secret
    row = tx.execute(sa.select(targets).where(targets.c.name == name)).mappings().one_or_none()
    if row is not None:
        return f"out:{name}", row["tenant"], "whsec"
    raise UnknownEndpoint(f"there is no webhook {name!r}.", hint="Names stand in the app's spec.")


def _key_id(core: Core, owner: str, secret: bytes) -> str:
    return core.keys.mac("webhook-key-id").digest(owner.encode() + b"\0" + secret).hex()[:16]


def _insert(
    tx: Tx,
    core: Core,
    owner: str,
    tenant: str,
    key_id: str,
    secret: bytes,
    ref: str | None,
    actor: Actor = _SERVICE,
) -> None:
    sealed = core.keys.seal(_SEAL, secret, f"{owner}|{key_id}".encode())
    values = {
        "owner": owner, "key_id": key_id, "tenant": tenant, "ref": ref, "sealed": sealed,
        "not_before": core.clock.now(),
    }  # fmt: skip
    inserted = tx.execute(insert_new(tx, keys).returning(keys.c.key_id), values)
    if inserted.scalar_one_or_none() is not None:
        _audit(tx, core, "webhook.key.added", owner, tenant, key_id, actor)


def _audit(
    tx: Tx, core: Core, action: str, owner: str, tenant: str, key_id: str, actor: Actor = _SERVICE
) -> None:
    record(
        tx,
        core,
        Event(
            action=action,
            outcome="success",
            actor=actor,
            tenant=tenant,
            target=("webhook", owner),
            data={"key_id": key_id},
        ),
    )
