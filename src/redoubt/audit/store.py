"""Tables of the audit log. Entries, tiles and the tree only grow; triggers on both databases hold that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import sqlalchemy as sa
from attrs import asdict

from ..core.db import Timestamp, Tx, tenant_column
from .models import Entry
from .personal import Disclosure

metadata = sa.MetaData()

entries = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("class_uid", sa.BigInteger, nullable=False),
    sa.Column("severity_id", sa.Integer, nullable=False),
    sa.Column("actor_kind", sa.Text, nullable=False),
    sa.Column("actor_id", sa.Text, nullable=False),
    sa.Column("session", sa.Text, nullable=True),
    sa.Column("target_type", sa.Text, nullable=True),
    sa.Column("target_id", sa.Text, nullable=True),
    sa.Column("request_id", sa.Text, nullable=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
    sa.Column("leaf_index", sa.BigInteger, nullable=True, unique=True),
)

personal = sa.Table(
    "audit_personal",
    metadata,
    sa.Column("entry_id", sa.Text, primary_key=True),
    sa.Column("commitment", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("lookup", sa.Text, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

tree = sa.Table(
    "audit_tree",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("peaks", sa.LargeBinary, nullable=False),
    sa.Column("checkpoint", sa.Text, nullable=False),
)

tiles = sa.Table(
    "audit_tiles",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("idx", sa.BigInteger, primary_key=True),
    tenant_column(),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
)

lease = sa.Table(
    "audit_lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    tenant_column(),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
)

TRIGGERS = frozenset(
    {
        "audit_entries_insert", "audit_entries_update", "audit_entries_delete", "audit_tiles_update",
        "audit_tiles_delete", "audit_tree_update", "audit_tree_delete", "audit_lease_update", "audit_lease_delete",
    }
)  # fmt: skip

_ENTRY_COLUMNS = [entries.c[name] for name in (
    "id", "at", "tenant", "action", "outcome", "severity_id", "actor_kind", "actor_id", "session", "target_type",
    "target_id", "request_id", "leaf_index", "body",
)]  # fmt: skip
_INSERT_PERSONAL = sa.insert(personal)
_INSERTED = (
    "id", "tenant", "at", "action", "outcome", "class_uid", "severity_id", "actor_kind", "actor_id", "session",
    "target_type", "target_id", "request_id", "body", "leaf_hash",
)  # fmt: skip
_CHUNKS = (128, 64, 32, 16, 8, 4, 2, 1)
_TEXT = "text"
_TYPES = {"at": "bigint", "class_uid": "bigint", "severity_id": "int"}  # the others are text

Row = tuple[Any, ...]
"""A new entry as the driver takes it: the values of its columns in the order of `_INSERTED`, `at` in microseconds."""

# Texts are made of the constants above; every value is bound.
_SELECTED = ("decode(leaf_hash, 'hex')" if name == "leaf_hash" else name for name in _INSERTED)
_GIVEN = (f"{name} {_TYPES.get(name, _TEXT)}" for name in _INSERTED)
_FROM_JSON = (
    f"INSERT INTO audit_entries ({', '.join(_INSERTED)}) SELECT {', '.join(_SELECTED)}"  # noqa: S608
    f" FROM json_to_recordset(%s::json) AS given({', '.join(_GIVEN)})"
)


@lru_cache(32)
def _values(rows: int) -> str:
    one = f"({', '.join(['?'] * len(_INSERTED))})"
    return f"INSERT INTO audit_entries ({', '.join(_INSERTED)}) VALUES {', '.join([one] * rows)}"  # noqa: S608


def insert(tx: Tx, rows: Sequence[Row], disclosures: Iterable[tuple[str, str, Disclosure]]) -> None:
    """Append entries that have no place in the tree yet, with what opens their commitments.

    On PostgreSQL all go in one statement as one JSON document, which is written in a tenth of the time that the driver
    takes for an array a column. On SQLite they go in statements of a few sizes, so that each is prepared once: the
    interpreter's lock is given up once a statement, and a busy server has each such moment to wait for.
    """
    if rows and tx.dialect == "postgresql":
        given = [dict(zip(_INSERTED, (*row[:-1], row[-1].hex()), strict=True)) for row in rows]
        tx.conn.exec_driver_sql(_FROM_JSON, (json.dumps(given, ensure_ascii=False),))
    at = 0
    for size in _CHUNKS if tx.dialect == "sqlite" else ():
        while len(rows) - at >= size:
            tx.conn.exec_driver_sql(_values(size), tuple(chain.from_iterable(rows[at : at + size])))
            at += size
    opened = [{"entry_id": entry, "tenant": tenant, **asdict(found)} for entry, tenant, found in disclosures]
    if opened:
        tx.execute(_INSERT_PERSONAL, opened)


def entry_columns() -> list[sa.Column[Any]]:
    """Return the columns that make an `Entry`."""
    return list(_ENTRY_COLUMNS)


def to_entry(row: Any) -> Entry:
    """Turn a row of `entry_columns` into an `Entry`."""
    return Entry(**dict(row._mapping))
