"""What a comparison of two policy sets says."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from ..models import AuthzRequest
from ..schema.types import Environment

Verdict = Literal["equal", "narrower", "new", "wider", "unknown"]
_ORDER: tuple[Verdict, ...] = ("equal", "narrower", "new", "unknown", "wider")


@frozen
class EnvironmentVerdict:
    """The verdict for one environment.

    `wider` comes with a `witness` that the reference engine allows under the new set and denies under the old one;
    `unknown` with a reason, and counts as wider. `fresh`: the older set has no such environment.
    """

    environment: Environment
    verdict: Verdict
    reason: str = ""
    witness: AuthzRequest | None = None
    fresh: bool = False


@frozen
class Breach:
    """A standing invariant that a new set breaks: `witness` is allowed by its permits, against the `rule`."""

    rule: str
    environment: Environment
    witness: AuthzRequest


@frozen
class Comparison:
    """The verdicts for all environments, the gravest of them, and the invariants that the new set breaks."""

    environments: tuple[EnvironmentVerdict, ...] = ()
    reason: str = ""
    breaches: tuple[Breach, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Return the gravest verdict: equal < narrower < new < unknown < wider."""
        if self.reason:
            return "unknown"
        found = {item.verdict for item in self.environments}
        return max(found, key=_ORDER.index, default="equal")

    @property
    def widens(self) -> bool:
        """Say whether the change must be treated as one that grants more: unless proven, it is."""
        return self.verdict in ("wider", "unknown", "new")
