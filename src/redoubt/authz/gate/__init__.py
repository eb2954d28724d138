"""The gate for policy changes: what a change grants more, told to people and to machines."""

from __future__ import annotations

from .evidence import KEEPERS, Examined, examine
from .judging import judge
from .report import Finding, as_json, as_sarif, as_text, findings

__all__ = ["KEEPERS", "Examined", "Finding", "as_json", "as_sarif", "as_text", "examine", "findings", "judge"]
