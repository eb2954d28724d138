"""What can go wrong with the database.

DatabaseError
├── StorageUnavailable   the server or the file could not be reached, or is locked for too long
├── NotGranted           this process may not run that statement
└── MigrationError       the schema is not what this version needs
"""

from __future__ import annotations

from ..errors import RedoubtError


class DatabaseError(RedoubtError):
    """The database refused or failed."""

    code = "database"


class StorageUnavailable(DatabaseError):
    """The database could not be reached; nothing was written."""

    code = "database-unavailable"


class NotGranted(DatabaseError):
    """The database refused a statement for want of a right; nothing was written."""

    code = "database-not-granted"


class MigrationError(DatabaseError):
    """The schema is not the one that this version needs."""

    code = "database-migration"
