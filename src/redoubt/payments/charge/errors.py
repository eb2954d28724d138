"""What can go wrong in the charge service.

ChargeError
├── CommandInvalid       a command's body is malformed
├── CommandConflict      a command id was used again with another body
├── Refused              a rule refuses the command for good; `reason` says which
├── Held                 not now (switch, storage): nothing is written, the same command may come again
├── EventRefused         a provider event is unsigned, wrongly signed, too old or malformed
├── ConfigInvalid        the settings do not make a charge service
├── IdentityRefused      the client certificate is not one of a listed identity
└── LedgerError          an entry is unbalanced, or the chain is broken
"""

from __future__ import annotations

from redoubt.core.errors import RedoubtError


class ChargeError(RedoubtError):
    """The root of the charge service's errors."""

    code = "charge"


class CommandInvalid(ChargeError):
    """A command's body is malformed."""

    code = "command-invalid"


class CommandConflict(ChargeError):
    """A command id was used again with another body."""

    code = "command-conflict"


class Refused(ChargeError):
    """A rule refuses the command for good; the answer is stored, so that the same command gets it again."""

    code = "refused"

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class Held(ChargeError):
    """The command cannot be taken now and nothing was written; the sender tries again later."""

    code = "held"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class EventRefused(ChargeError):
    """A provider event is unsigned, wrongly signed, too old, too new or malformed."""

    code = "event-refused"


class ConfigInvalid(ChargeError):
    """The settings do not make a charge service."""

    code = "charge-config"


class IdentityRefused(ChargeError):
    """The client certificate is missing, expired or not one of a listed identity."""

    code = "identity-refused"


class LedgerError(ChargeError):
    """An entry is unbalanced, or what is stored does not verify."""

    code = "ledger"
