"""What can come of a call that leaves the machine.

EgressError (RedoubtError)
├── EgressRefused       policy: nothing was sent
├── EgressUnsupported   declared, but not enforced in this version: refused by name
├── EgressUnreachable   no connection or no TLS: nothing was sent
├── EgressTimeout       no whole answer in time: the other side may have acted
├── EgressBroken        the connection broke after sending: the other side may have acted
└── EgressTooLarge      the answer is above the cap: the other side has acted

Those that a call can raise are also the httpx error of the same meaning, so that an SDK over `Egress.transport`
understands them: ConnectError means that nothing was sent.
"""

from __future__ import annotations

from typing import ClassVar

import httpx

from ..errors import RedoubtError


class EgressError(RedoubtError):
    """An outgoing call did not bring a whole answer."""

    code: ClassVar[str] = "egress"


class EgressRefused(EgressError, httpx.ConnectError):
    """The policy does not allow this call; `reason` is a stable word for records and tests."""

    code = "egress-refused"

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class EgressUnsupported(EgressError):
    """Something is declared that this version does not enforce."""

    code = "egress-unsupported"


class EgressUnreachable(EgressError, httpx.ConnectError):
    """No validated address took the connection, or TLS failed; nothing was sent."""

    code = "egress-unreachable"


class EgressTimeout(EgressError, httpx.ReadTimeout):
    """There was no whole answer in time; whether the other side acted is unknown."""

    code = "egress-timeout"


class EgressBroken(EgressError, httpx.ReadError):
    """The connection broke before the whole answer came; whether the other side acted is unknown."""

    code = "egress-broken"


class EgressTooLarge(EgressError, httpx.ReadError):
    """The answer is larger than the cap."""

    code = "egress-too-large"
