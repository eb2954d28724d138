"""One database interface over SQLite and PostgreSQL: transactions, group commit, migrations."""

from .columns import Json, Timestamp, microseconds, tenant_column
from .database import Database, Dialect, Tx
from .errors import DatabaseError, MigrationError, StorageUnavailable
from .group import Command, GroupCommit
from .migrate import Domain, migrate

__all__ = [
    "Command",
    "Database",
    "DatabaseError",
    "Dialect",
    "Domain",
    "GroupCommit",
    "Json",
    "MigrationError",
    "StorageUnavailable",
    "Timestamp",
    "Tx",
    "microseconds",
    "migrate",
    "tenant_column",
]
