"""The gate for policy changes: what a change grants more, told to people and to machines."""

from __future__ import annotations

from .judging import judge
from .report import Finding, as_json, as_sarif, as_text, findings

__all__ = ["Finding", "as_json", "as_sarif", "as_text", "findings", "judge"]
