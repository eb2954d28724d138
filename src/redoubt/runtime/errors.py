"""What can go wrong while an app is put together.

RuntimeFault
├── AlreadyBound   the guard was used before, or bound twice
└── BadCallers     who may ask the decision point is not declared as it must be
"""

from __future__ import annotations

from redoubt.core.errors import RedoubtError


class RuntimeFault(RedoubtError):
    """The app cannot be guarded as it is."""

    code = "runtime"


class AlreadyBound(RuntimeFault):
    """The guard is not in the state that this call needs."""

    code = "runtime-binding"


class BadCallers(RuntimeFault):
    """A caller of the decision point has no credential that counts."""

    code = "runtime-callers"
