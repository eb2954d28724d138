"""The gate for policy changes: what a change grants more, told to people and to machines."""

from __future__ import annotations

from .directory import MAX_PEOPLE, Directory, role_holders, with_nobody
from .elevation import elevation_refusals, judged_writes
from .evidence import KEEPERS, Examined, examine
from .grants import GatedWrite, declared_grants, demand_grant, problems, regranted
from .judging import breach_refusals, earlier_sets, judge
from .newcomers import table_lines, tables
from .refusals import PoliciesRefused, Refusal
from .rehearsal import Recorded, recorded, rehearse
from .report import Finding, as_json, as_sarif, as_text, findings

__all__ = [
    "KEEPERS",
    "MAX_PEOPLE",
    "Directory",
    "Examined",
    "Finding",
    "GatedWrite",
    "PoliciesRefused",
    "Recorded",
    "Refusal",
    "as_json",
    "as_sarif",
    "as_text",
    "breach_refusals",
    "declared_grants",
    "demand_grant",
    "earlier_sets",
    "elevation_refusals",
    "examine",
    "findings",
    "judge",
    "judged_writes",
    "problems",
    "recorded",
    "regranted",
    "rehearse",
    "role_holders",
    "table_lines",
    "tables",
    "with_nobody",
]
