"""The text report: verdicts by area, reasons wrapped, nothing that needs a terminal."""

from __future__ import annotations

import textwrap

from redoubt.controls import Outcome, Verdict, catalogue

from ..engine import Report
from .access import LEGEND, compact, differences

MARKS = {
    Verdict.PROVEN: "✓ proven",
    Verdict.BROKEN: "✗ broken",
    Verdict.NOT_APPLICABLE: "– n/a",
    Verdict.NOT_SHOWN: "? not shown",
}


def as_text(report: Report) -> str:
    """Return the verdicts by area, each broken or open one with its reason."""
    by_id = {finding.control: finding for finding in report.findings}
    lines = [f"Redoubt verify: {report.subject}", ""]
    for area in catalogue().areas:
        shown = [one for one in area.controls if one.id in by_id]
        if not shown:
            continue
        lines.append(area.title)
        for control in shown:
            finding = by_id[control.id]
            lines.append(f"  {MARKS[finding.verdict]:<12} {control.id:<7} {control.control}")
            if finding.verdict is Verdict.BROKEN:
                for one in finding.evidence:
                    if one.outcome is Outcome.BROKE:
                        lines += _wrapped(f"{one.attack}: {one.detail}")
            elif finding.verdict is not Verdict.PROVEN:
                lines += _wrapped(finding.reason)
                if finding.add:
                    lines += _wrapped(f"add: {finding.add}")
        lines.append("")
    lines += _access(report)
    counts = report.counts()
    lines.append(
        ", ".join(f"{counts[verdict]} {verdict.words}" for verdict in Verdict)
        + f" in {report.seconds:.0f} s."
    )
    lines.append(
        "Proven means: the named attacks ran and failed, and their positive controls held. It never means secure."
    )
    return "\n".join(lines) + "\n"


def _access(report: Report) -> list[str]:
    """Return the observed access as a table, with its differences named below."""
    roles, shown = compact(report)
    if not shown:
        return []
    first = max(len(one.operation) for one in shown)
    widths = [max(len(role), *(len(one.marks[role]) for one in shown)) for role in roles]
    rows = [("", dict(zip(roles, roles, strict=True))), *((one.operation, one.marks) for one in shown)]
    lines = [
        "Access, as observed",
        *textwrap.wrap(f"({LEGEND})", 110, initial_indent="  ", subsequent_indent="   "),
    ]
    for operation, marks in rows:
        cells = "  ".join(f"{marks[role]:<{width}}" for role, width in zip(roles, widths, strict=True))
        lines.append(f"  {operation:<{first}}  {cells}".rstrip())
    return [*lines, *(line for one in differences(report) for line in _wrapped(f"! {one}")), ""]


def _wrapped(text: str) -> list[str]:
    short = text if len(text) <= 420 else text[:420] + "…"
    return textwrap.wrap(short, 110, initial_indent=" " * 15, subsequent_indent=" " * 15)
