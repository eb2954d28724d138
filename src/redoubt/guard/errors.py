"""What the guard refuses.

GuardError
├── LimitsUnavailable        the store of the rate limits cannot be used as it is set
├── SwitchError
│   ├── Killed               the capability is switched off
│   │   └── SwitchesStale    the switches could not be read lately: money is refused
│   └── SwitchRefused        a change of a switch that the rules do not allow
└── ApprovalError
    ├── ApprovalUnknown      there is no such request
    ├── KindUnknown          no such kind of request is registered
    ├── PayloadInvalid       the payload cannot be asked for
    └── ApprovalRefused      this decision is not allowed
        ├── SelfApproval     the requester cannot approve their own request
        ├── NotEntitled      this person may not approve this kind
        ├── AlreadyDecided   the request was approved, rejected or consumed before
        ├── ApprovalExpired  the request's time is over
        ├── ApprovalStale    what was asked for no longer fits what is there
        └── AssertionRefused the passkey assertion is not a fresh one over exactly this payload
"""

from __future__ import annotations

from ..core.errors import RedoubtError


class GuardError(RedoubtError):
    """The guard refused."""

    code = "guard"


class LimitsUnavailable(GuardError):
    """The store of the rate limits cannot be used as it is set."""

    code = "limits-unavailable"


class SwitchError(GuardError):
    """A switch is off, or a change of it was refused."""

    code = "switch"


class Killed(SwitchError):
    """The capability is switched off for this tenant."""

    code = "killed"

    def __init__(self, capability: str, tenant: str, message: str = "") -> None:
        super().__init__(
            message or f"{capability} is switched off.", hint="An operator switched it off; see the console."
        )
        self.capability = capability
        self.tenant = tenant


class SwitchesStale(Killed):
    """The switches could not be read lately, so nobody knows whether this is switched off."""

    code = "switches-stale"

    def __init__(self, capability: str, tenant: str) -> None:
        super().__init__(capability, tenant, f"{capability} waits until the switches can be read again.")


class SwitchRefused(SwitchError):
    """This change of a switch is not allowed."""

    code = "switch-refused"


class ApprovalError(GuardError):
    """A change request could not be made or decided."""

    code = "approval"


class ApprovalUnknown(ApprovalError):
    """There is no such change request in this tenant."""

    code = "approval-unknown"


class KindUnknown(ApprovalError):
    """No such kind of change request is registered."""

    code = "approval-kind-unknown"


class PayloadInvalid(ApprovalError):
    """The payload, ticket or lifetime of a change request is out of bounds."""

    code = "approval-payload-invalid"


class ApprovalRefused(ApprovalError):
    """This decision is not allowed."""

    code = "approval-refused"


class SelfApproval(ApprovalRefused):
    """The requester cannot approve their own request."""

    code = "approval-self"


class NotEntitled(ApprovalRefused):
    """This person may not decide this kind of request."""

    code = "approval-not-entitled"


class AlreadyDecided(ApprovalRefused):
    """The request was decided before; it is consumed once."""

    code = "approval-decided"


class ApprovalExpired(ApprovalRefused):
    """The request's time is over."""

    code = "approval-expired"


class ApprovalStale(ApprovalRefused):
    """What was asked for no longer fits what is there."""

    code = "approval-stale"


class AssertionRefused(ApprovalRefused):
    """The assertion is not a fresh passkey assertion of this person over exactly this payload."""

    code = "approval-assertion"
