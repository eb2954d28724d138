"""What a verdict rests on: what was sent, what came back, the oracle, the positive controls. Secrets are masked."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import frozen


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
    """One request and its answer, as they may be shown: secrets are masked, long bodies are cut.

    `signing` names what signed it, `SCHEME REFERENCE SECONDS`, so that a replay can sign it anew.
    """

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
    signing: str = ""

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
            "signing": self.signing,
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
    """One attack: its name, what decides about it, what it showed, and the exchanges that show it.

    `tell` says in machine's words how the effect shows, so that a replay can look for it: the exchange's number, its
    status, a text that its answer holds, and by whom the attack was, who need not be who sees the effect.
    """

    attack: str
    oracle: str
    outcome: Outcome
    detail: str = ""
    exchanges: tuple[Exchange, ...] = ()
    positives: tuple[Check, ...] = ()
    tell: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form of reports."""
        return {
            "attack": self.attack,
            "oracle": self.oracle,
            "outcome": str(self.outcome),
            "detail": self.detail,
            "exchanges": [one.as_json() for one in self.exchanges],
            "positive_controls": [one.as_json() for one in self.positives],
            "tell": dict(self.tell) if self.tell is not None else None,
        }
