"""What can go wrong with supply checks.

SupplyError
└── LockUnreadable   a lock cannot be read as one
"""

from __future__ import annotations

from redoubt.core.errors import RedoubtError


class SupplyError(RedoubtError):
    """A check of the supply chain could not be made."""

    code = "supply"


class LockUnreadable(SupplyError):
    """A lock file is not what its name says."""

    code = "lock-unreadable"
