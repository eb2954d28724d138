"""Column types that read and write the same on both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect as SaDialect
from sqlalchemy.types import TypeDecorator

from ..canonical import canonical_json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


def microseconds(value: datetime) -> int:
    """Return an aware datetime as microseconds since 1970 in UTC, as `Timestamp` stores it; a naive one is refused."""
    if value.tzinfo is None:
        raise ValueError("timestamps are aware datetimes")
    return (value - _EPOCH) // _MICRO


class Timestamp(TypeDecorator[datetime]):
    """An aware datetime, stored as integer microseconds since 1970 in UTC: exact, ordered, the same on both databases."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: SaDialect) -> int | None:
        """Turn an aware datetime into microseconds; a naive one is refused."""
        if value is None:
            return None
        return microseconds(value)

    def process_result_value(self, value: int | None, dialect: SaDialect) -> datetime | None:
        """Turn microseconds back into an aware datetime."""
        return None if value is None else _EPOCH + value * _MICRO


class Json(TypeDecorator[Any]):
    """A JSON value, stored as its canonical text so that equal values have equal bytes."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: SaDialect) -> str | None:
        """Turn a value into canonical JSON text."""
        return None if value is None else canonical_json(value).decode()

    def process_result_value(self, value: str | None, dialect: SaDialect) -> Any:
        """Parse the stored text."""
        return None if value is None else json.loads(value)


def tenant_column() -> sa.Column[str]:
    """Return the tenant column that every table carries."""
    return sa.Column("tenant", sa.Text, nullable=False, server_default="main")
