"""What can go wrong about a verification itself; what is wrong about the app is a verdict, never an error.

VerifyError (RedoubtError)
├── TargetInvalid        the target file cannot be used as it is written
├── HostRefused          the target is not on this machine and the target file does not allow it
├── TargetUnreachable    nothing answers where the app should be, or it did not start
└── LoginFailed          nobody could be logged in
"""

from __future__ import annotations

from typing import ClassVar

from redoubt.core.errors import RedoubtError


class VerifyError(RedoubtError):
    """A verification could not be done; `exit_code` is what the command ends with."""

    code: ClassVar[str] = "verify"
    exit_code: ClassVar[int] = 3


class TargetInvalid(VerifyError):
    """The target file, or an option, cannot be used as it is written."""

    code = "target-invalid"
    exit_code = 2


class HostRefused(VerifyError):
    """The target is not on this machine, and its target file does not allow it."""

    code = "target-host-refused"
    exit_code = 2


class TargetUnreachable(VerifyError):
    """Nothing answers where the app should be, or it did not start."""

    code = "target-unreachable"


class LoginFailed(VerifyError):
    """Nobody could be logged in, so most of what follows would mean nothing."""

    code = "target-login"


class Unshown(Exception):
    """Raised inside a probe: this attack shows nothing, and why; `add` is the line of the target file that would help."""

    def __init__(self, reason: str, *, add: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.add = add


class NoSubject(Exception):
    """Raised inside a probe: the app has nothing that this control is about, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
