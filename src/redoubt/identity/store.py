"""The tables of identity and the statements over them.

Nothing here lets anyone in by being read: session, device and browser tokens are stored as keyed MACs only, and a
link's token is not stored at all (see `links`). Passkeys are public keys.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from redoubt.core.db import Json, Timestamp, Tx, tenant_column

metadata = sa.MetaData()

users = sa.Table(
    "identity_users",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("handle", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("email_verified_at", Timestamp, nullable=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("disabled_at", Timestamp, nullable=True),
    sa.Index("identity_users_email", "tenant", "email"),
    # An address belongs to the one account that proved it; unproved claims of it may be many.
    sa.Index(
        "identity_users_verified_email",
        "tenant",
        "email",
        unique=True,
        sqlite_where=sa.text("email_verified_at IS NOT NULL"),
        postgresql_where=sa.text("email_verified_at IS NOT NULL"),
    ),
)

passkeys = sa.Table(
    "identity_passkeys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("user_id", sa.Text, sa.ForeignKey("identity_users.id"), nullable=False, index=True),
    sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("algorithm", sa.Integer, nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    sa.Column("backup_eligible", sa.Boolean, nullable=False),
    sa.Column("backed_up", sa.Boolean, nullable=False),
    sa.Column("aaguid", sa.Text, nullable=False),
    sa.Column("transports", Json, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("last_used_at", Timestamp, nullable=True),
)

challenges = sa.Table(
    "identity_challenges",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("challenge", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("browser_mac", sa.LargeBinary, nullable=False),
    sa.Column("user_id", sa.Text, nullable=True),
    sa.Column("session_id", sa.Text, nullable=True),
    sa.Column("data", Json, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False, index=True),
    sa.Column("used_at", Timestamp, nullable=True),
)

magic_links = sa.Table(
    "identity_magic_links",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=True),
    sa.Column("browser_mac", sa.LargeBinary, nullable=False),
    sa.Column("next", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False, index=True),
    sa.Column("used_at", Timestamp, nullable=True),
    sa.Column("mailed_at", Timestamp, nullable=True),
)

sessions = sa.Table(
    "identity_sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("user_id", sa.Text, sa.ForeignKey("identity_users.id"), nullable=False, index=True),
    sa.Column("token_mac", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("amr", Json, nullable=False),
    sa.Column("auth_time", Timestamp, nullable=False),
    sa.Column("step_up_until", Timestamp, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("seen_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False, index=True),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("new_device", sa.Boolean, nullable=False),
    sa.Column("network", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("revoked_at", Timestamp, nullable=True),
)

devices = sa.Table(
    "identity_devices",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("user_id", sa.Text, sa.ForeignKey("identity_users.id"), nullable=False),
    sa.Column("browser_mac", sa.LargeBinary, nullable=False),
    sa.Column("first_seen_at", Timestamp, nullable=False),
    sa.Column("last_seen_at", Timestamp, nullable=False),
    sa.UniqueConstraint("user_id", "browser_mac", name="identity_devices_of_user"),
    sa.Index("identity_devices_browser", "browser_mac"),
)

enrolments = sa.Table(
    "identity_enrolments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=True),
    sa.Column("genesis", sa.Integer, nullable=True, unique=True),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("used_at", Timestamp, nullable=True),
    sa.Column("used_by", sa.Text, nullable=True),
)


_USER = sa.select(users).where(users.c.id == sa.bindparam("user_id"))
_USERS = sa.select(users).where(users.c.id.in_(sa.bindparam("user_ids", expanding=True)))


def user_by_id(tx: Tx, user_id: str) -> sa.Row[Any] | None:
    """Return the user's row, or None."""
    return tx.execute(_USER, {"user_id": user_id}).first()


def users_by_id(tx: Tx, user_ids: Collection[str]) -> dict[str, sa.Row[Any]]:
    """Return the rows of those of `user_ids` that exist, by id."""
    if not user_ids:
        return {}
    return {row.id: row for row in tx.execute(_USERS, {"user_ids": list(user_ids)})}


def user_by_verified_email(tx: Tx, tenant: str, email: str) -> sa.Row[Any] | None:
    """Return the one account that proved `email`, or None."""
    return tx.execute(
        sa.select(users).where(
            users.c.tenant == tenant, users.c.email == email, users.c.email_verified_at.is_not(None)
        )
    ).first()


def passkey_by_credential(
    tx: Tx, tenant: str, credential_id: bytes, *, lock: bool = False
) -> sa.Row[Any] | None:
    """Return the passkey with this credential id; `lock` holds its row until the transaction ends."""
    statement = sa.select(passkeys).where(
        passkeys.c.tenant == tenant, passkeys.c.credential_id == credential_id
    )
    return tx.execute(statement.with_for_update() if lock else statement).first()


def passkeys_of(tx: Tx, user_id: str) -> list[sa.Row[Any]]:
    """Return the user's passkeys, oldest first."""
    return list(
        tx.execute(sa.select(passkeys).where(passkeys.c.user_id == user_id).order_by(passkeys.c.created_at))
    )


def knows_device(tx: Tx, user_id: str, browser_mac: bytes) -> bool:
    """Say whether this browser has signed this user in before."""
    return (
        tx.execute(
            sa.select(devices.c.id).where(devices.c.user_id == user_id, devices.c.browser_mac == browser_mac)
        ).first()
        is not None
    )


def knows_device_of_anyone(tx: Tx, browser_mac: bytes) -> bool:
    """Say whether anybody has been signed in by this browser."""
    return tx.execute(sa.select(devices.c.id).where(devices.c.browser_mac == browser_mac)).first() is not None


def knows_device_for_email(tx: Tx, tenant: str, email: str, browser_mac: bytes) -> bool:
    """Say whether an account with this address has been signed in by this browser."""
    statement = (
        sa.select(devices.c.id)
        .join(users, users.c.id == devices.c.user_id)
        .where(users.c.tenant == tenant, users.c.email == email, devices.c.browser_mac == browser_mac)
    )
    return tx.execute(statement).first() is not None


def insert_once(tx: Tx, table: sa.Table, values: dict[str, Any], conflict: list[str]) -> bool:
    """Insert a row unless one with the same `conflict` columns is there; say whether this call inserted it."""
    from sqlalchemy.dialects import postgresql, sqlite

    insert: Any = sqlite.insert if tx.dialect == "sqlite" else postgresql.insert
    statement = insert(table).values(values).on_conflict_do_nothing(index_elements=conflict)
    return tx.execute(statement).rowcount == 1


def prune(tx: Tx, now: datetime, keep_from: datetime) -> int:
    """Delete challenges and links that are past, and sessions that ended before `keep_from`; return how many."""
    gone = tx.execute(sa.delete(challenges).where(challenges.c.expires_at < now)).rowcount
    gone += tx.execute(sa.delete(magic_links).where(magic_links.c.expires_at < keep_from)).rowcount
    gone += tx.execute(sa.delete(sessions).where(sessions.c.expires_at < keep_from)).rowcount
    gone += tx.execute(sa.delete(sessions).where(sessions.c.revoked_at < keep_from)).rowcount
    return gone
