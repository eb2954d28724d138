"""What can be wrong about controls.

ControlsError (RedoubtError)
├── UnknownControl     no control has that id
└── CatalogueInvalid   the catalogue's file does not hold what it must
"""

from __future__ import annotations

from typing import ClassVar

from redoubt.core.errors import RedoubtError


class ControlsError(RedoubtError):
    """Something about the catalogue of controls is wrong."""

    code: ClassVar[str] = "controls"


class UnknownControl(ControlsError):
    """No control has that id."""

    code = "control-unknown"


class CatalogueInvalid(ControlsError):
    """The catalogue's file does not hold what it must; this is a fault of the package, not of an app."""

    code = "catalogue-invalid"
