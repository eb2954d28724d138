"""One database interface over SQLite and PostgreSQL: transactions, group commit, migrations."""

from .columns import Json, Timestamp, microseconds, tenant_column
from .database import Database, Dialect, Tx
from .errors import DatabaseError, MigrationError, NotGranted, StorageUnavailable
from .grants import Access, Use, use
from .group import Coming, Command, GroupCommit
from .migrate import Domain, access_of, migrate

__all__ = [
    "Access",
    "Coming",
    "Command",
    "Database",
    "DatabaseError",
    "Dialect",
    "Domain",
    "GroupCommit",
    "Json",
    "MigrationError",
    "NotGranted",
    "StorageUnavailable",
    "Timestamp",
    "Tx",
    "Use",
    "access_of",
    "microseconds",
    "migrate",
    "tenant_column",
    "use",
]
