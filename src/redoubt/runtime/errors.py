"""What can go wrong while an app is put together.

RuntimeFault
└── AlreadyBound   the guard was used before, or bound twice
"""

from __future__ import annotations

from redoubt.core.errors import RedoubtError


class RuntimeFault(RedoubtError):
    """The app cannot be guarded as it is."""

    code = "runtime"


class AlreadyBound(RuntimeFault):
    """The guard is not in the state that this call needs."""

    code = "runtime-binding"
