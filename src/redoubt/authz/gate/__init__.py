"""The gate for policy changes: what a change grants more, told to people and to machines."""

from __future__ import annotations

from .directory import MAX_PEOPLE, Directory, role_holders, with_nobody
from .evidence import KEEPERS, Examined, examine
from .judging import judge
from .rehearsal import Recorded, recorded, rehearse
from .report import Finding, as_json, as_sarif, as_text, findings

__all__ = [
    "KEEPERS",
    "MAX_PEOPLE",
    "Directory",
    "Examined",
    "Finding",
    "Recorded",
    "as_json",
    "as_sarif",
    "as_text",
    "examine",
    "findings",
    "judge",
    "recorded",
    "rehearse",
    "role_holders",
    "with_nobody",
]
