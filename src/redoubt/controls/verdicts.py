"""The four verdicts, and how attacks add up to one."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from attrs import frozen

from .evidence import Evidence, Outcome


class Verdict(StrEnum):
    """What verify says of one control. `proven` names its attacks; it never means “secure”."""

    PROVEN = "proven"
    """The named attacks ran, their positive controls held, none succeeded."""
    BROKEN = "broken"
    """An attack succeeded."""
    NOT_APPLICABLE = "not_applicable"
    """The app has no such subject."""
    NOT_SHOWN = "not_shown"
    """No means, no observer or no probe; the reason says what would show it."""

    @property
    def words(self) -> str:
        """The verdict as people read it."""
        return self.value.replace("_", " ")


@frozen
class Finding:
    """The one verdict of a control in a run, its reason in a sentence, its evidence, and the line that would help."""

    control: str
    verdict: Verdict
    reason: str
    evidence: tuple[Evidence, ...] = ()
    add: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, control: str, evidence: Sequence[Evidence], seconds: float = 0.0) -> Finding:
        """Return the verdict that follows from attacks: one success breaks, one open question leaves it not shown.

        No attack at all shows nothing.
        """
        broke = [one for one in evidence if one.outcome is Outcome.BROKE]
        unclear = [one for one in evidence if one.outcome is Outcome.INCONCLUSIVE]
        if broke:
            reason = "; ".join(f"{one.attack}: {one.detail or one.oracle}" for one in broke[:3])
            return cls(control, Verdict.BROKEN, reason, tuple(evidence), seconds=seconds)
        if unclear or not evidence:
            reason = "; ".join(f"{one.attack}: {one.detail}" for one in unclear[:3]) or "nothing was tried"
            return cls(control, Verdict.NOT_SHOWN, reason, tuple(evidence), seconds=seconds)
        names = ", ".join(one.attack for one in evidence)
        plural = "attacks" if len(evidence) > 1 else "attack"
        return cls(
            control,
            Verdict.PROVEN,
            f"{len(evidence)} {plural} failed: {names}",
            tuple(evidence),
            seconds=seconds,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form of reports."""
        return {
            "id": self.control,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "add": self.add,
            "evidence": [one.as_json() for one in self.evidence],
        }
