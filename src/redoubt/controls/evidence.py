"""What a verdict rests on: what was sent, what came back, the oracle, the positive controls. Secrets are masked."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import field, frozen


class Outcome(StrEnum):
    """What one attack showed."""

    HELD = "held"
    """It ran, its positive controls held, and it had no effect."""
    BROKE = "broke"
    """It ran and had its effect."""
    INCONCLUSIVE = "inconclusive"
    """It did not run, or ran without showing anything: a missing means, a 429, a failed positive control."""


@frozen
class Exchange:
    """One request and its answer, as they may be shown: secrets are masked, long bodies are cut."""

    actor: str
    source: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str
    status: int
    answer_headers: Mapping[str, str]
    answer: str
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form of reports."""
        return {
            "actor": self.actor,
            "source": self.source,
            "sent": {
                "method": self.method,
                "url": self.url,
                "headers": dict(self.headers),
                "body": self.body,
            },
            "received": {
                "status": self.status,
                "headers": dict(self.answer_headers),
                "body": self.answer,
            },
            "note": self.note,
        }


@frozen
class Check:
    """A positive control: what must work for an attack to mean anything, and whether it did."""

    name: str
    held: bool
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form of reports."""
        return {"name": self.name, "held": self.held, "detail": self.detail}


@frozen
class Evidence:
    """One attack: its name, what decides about it, what it showed, and the exchanges that show it."""

    attack: str
    oracle: str
    outcome: Outcome
    detail: str = ""
    exchanges: tuple[Exchange, ...] = field(default=(), converter=tuple)
    positives: tuple[Check, ...] = field(default=(), converter=tuple)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form of reports."""
        return {
            "attack": self.attack,
            "oracle": self.oracle,
            "outcome": str(self.outcome),
            "detail": self.detail,
            "exchanges": [one.as_json() for one in self.exchanges],
            "positive_controls": [one.as_json() for one in self.positives],
        }
