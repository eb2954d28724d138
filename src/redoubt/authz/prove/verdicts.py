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
    `unknown` with a reason, and counts as wider.
    """

    environment: Environment
    verdict: Verdict
    reason: str = ""
    witness: AuthzRequest | None = None


@frozen
class Comparison:
    """The verdicts for all environments, and the gravest of them."""

    environments: tuple[EnvironmentVerdict, ...] = ()
    reason: str = ""

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
