"""Observed access in reports: as CSV for a review or a diff, and as the compact table of the other forms."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from attrs import frozen

from ..access import ANY, NOBODY, OTHER, OWN, TENANT, Cell, Says
from ..engine import Report

COLUMNS = (
    "operation", "permission", "role", "relation", "state", "declared", "source", "observed", "status", "differs",
    "control", "verdict",
)  # fmt: skip
_MARKS = {Says.ALLOWED: "✓", Says.REFUSED: "·", Says.UNSAID: "?"}
_ORDER = (ANY, OWN, OTHER, TENANT, NOBODY)
LEGEND = "✓ allowed, · refused, ? not tried or not told, ! other than declared; of objects: own, another's, another tenant's"


def as_access(report: Report) -> str:
    """Return the observed cells as CSV (RFC 4180), one a line under `COLUMNS`; each with its control's verdict.

    The lines are in the order of operation, role and relation, so that two runs can be compared by `diff`.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    verdicts = {one.control: str(one.verdict) for one in report.findings}
    for cell in in_order(report.access):
        found = cell.as_json()
        found["differs"] = "yes" if cell.differs else "no"
        writer.writerow({**found, "verdict": verdicts.get(cell.control, "")})
    return out.getvalue()


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Return cells by operation, role, relation and state; nobody stands last."""
    return sorted(
        cells,
        key=lambda one: (
            one.operation.split(" ")[-1], one.operation, one.role == NOBODY, one.role, _ORDER.index(one.relation), one.state,
        ),
    )  # fmt: skip


@frozen
class Line:
    """One operation in the compact table: for each role the marks of its relations."""

    operation: str
    marks: dict[str, str]


def compact(report: Report) -> tuple[list[str], list[Line]]:
    """Return the roles, nobody last, and a line for each operation of which anything was observed."""
    cells = in_order(report.access)
    roles = list(
        dict.fromkeys(one.role for one in sorted(cells, key=lambda one: (one.role == NOBODY, one.role)))
    )
    lines = []
    for operation in dict.fromkeys(one.operation for one in cells):
        mine = [one for one in cells if one.operation == operation]
        if any(one.observed is not Says.UNSAID for one in mine):
            lines.append(
                Line(operation, {role: _marks(one for one in mine if one.role == role) for role in roles})
            )
    return roles, lines


def _marks(cells: Iterable[Cell]) -> str:
    """Return a role's marks in the order of relations; `!` after each that differs from what is declared."""
    by_relation: dict[str, str] = {}
    for cell in cells:
        mark = _MARKS[cell.observed] + ("!" if cell.differs else "")
        if by_relation.get(cell.relation, "?") == "?" or cell.differs:
            by_relation[cell.relation] = mark
    return " ".join(by_relation[one] for one in _ORDER if one in by_relation)


def differences(report: Report) -> list[str]:
    """Return each difference as a sentence that names the control whose verdict it bears on."""
    verdicts = {one.control: one.verdict.words for one in report.findings}
    return [
        f"{cell.words()}{f' ({cell.state})' if cell.state else ''}: {cell.observed}, {cell.declared} by the {cell.source}"
        f" ({cell.control}: {verdicts.get(cell.control, 'not asked')})"
        for cell in in_order(report.access)
        if cell.differs
    ]
