"""Who may do what, as it was observed, beside what is declared: one cell a role, relation and operation.

Declared is what the target file's `access:` table says, and what the app's own snapshot of decisions says, where its
repository has one. Observed is what the app answered to a request that changes nothing even where it is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from .errors import TargetInvalid
from .openapi import Operation
from .target import Access

NOBODY = "nobody"
OWN, OTHER, TENANT = "own", "other", "other tenant"
ANY = "any"
"""The relation of what is about no object."""


class Says(StrEnum):
    """What one side says of a cell."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    STEP_UP = "step-up"
    """Allowed with a fresh passkey, refused without."""
    DEPENDS = "depends"
    """On more than a cell tells: another state, another amount."""
    UNSAID = ""
    """Not declared, or not told by the answer."""


@frozen
class Cell:
    """One role's access to one operation, on what is theirs, another's, another tenant's, or on no object."""

    operation: str
    permission: str
    role: str
    relation: str
    observed: Says
    status: int = 0
    declared: Says = Says.UNSAID
    source: str = ""
    """Where it is declared."""
    state: str = ""
    """The state of the object that it was tried on."""

    @property
    def differs(self) -> bool:
        """Whether observed and declared contradict each other; what only one of them says does not."""
        if Says.UNSAID in (self.observed, self.declared) or self.declared is Says.DEPENDS:
            return False
        wanted = Says.ALLOWED if self.declared is Says.ALLOWED else Says.REFUSED
        return self.observed is not wanted

    @property
    def wider(self) -> bool:
        """Whether more is allowed than is declared."""
        return self.differs and self.observed is Says.ALLOWED

    @property
    def control(self) -> str:
        """The control whose verdict a difference bears on."""
        return "AUZ-7" if self.role == NOBODY else "AUZ-1"

    def words(self) -> str:
        """Return the cell as a sentence's beginning names it."""
        whose = {OWN: " on their own", OTHER: " on another's", TENANT: " on another tenant's"}
        return f"{self.role} {self.operation}{whose.get(self.relation, '')}"

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form of reports."""
        return {
            "operation": self.operation,
            "permission": self.permission,
            "role": self.role,
            "relation": self.relation,
            "state": self.state,
            "declared": str(self.declared),
            "source": self.source,
            "observed": str(self.observed),
            "status": self.status,
            "differs": self.differs,
            "control": self.control,
        }


@frozen
class Table:
    """The target file's `access:` lines."""

    lines: Sequence[Access]
    source = "target file"

    def _granting(self, cell: Cell) -> list[Access]:
        names = {cell.operation, cell.permission} - {""}
        return [one for one in self.lines if cell.role in one.roles and names & set(one.do)]

    def by_state(self, cell: Cell) -> bool:
        """Say whether an object's state bears on a cell."""
        return any(one.states for one in self._granting(cell))

    def says(self, cell: Cell) -> Says:
        """Return what the lines say of a cell: they grant, and what no line grants is refused."""
        fitting = [
            one
            for one in self._granting(cell)
            if not (one.own and cell.relation in (OTHER, TENANT))
            and not (one.states and cell.state and cell.state not in one.states)
        ]
        if not fitting:
            return Says.REFUSED
        return Says.STEP_UP if all(one.step_up for one in fitting) else Says.ALLOWED


_RELATIONS = {OWN: "owner", OTHER: "other", TENANT: "other-tenant"}


@frozen
class Snapshot:
    """An app's committed decisions: rows of action, role, relation, risk, step_up, state, amount and allowed."""

    rows: Sequence[Mapping[str, Any]]
    source = "decision snapshot"

    @classmethod
    def read(cls, path: Path) -> Snapshot:
        """Return the snapshot in a JSON file; raises TargetInvalid for what is none."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise TargetInvalid(f"{path} holds no decisions.", hint="decisions: names a JSON list.") from None
        fits = isinstance(found, list) and all(
            isinstance(one, dict) and {"action", "role", "relation", "allowed"} <= one.keys() for one in found
        )
        if not fits:
            raise TargetInvalid(f"{path} is no list of decisions.", hint="decisions: names a JSON list.")
        return cls(found)

    def by_state(self, cell: Cell) -> bool:
        """Say whether an object's state bears on a cell."""
        return any(one.get("state") is not None for one in self.rows if one["action"] == cell.permission)

    def says(self, cell: Cell) -> Says:
        """Return what the rows say of a cell at low risk; where they say both, what else it depends on is not known."""
        role, relations = cell.role, {_RELATIONS.get(cell.relation, "")}
        if role == NOBODY:
            role, relations = "anonymous", {"anonymous"}
        elif cell.relation == ANY:
            relations = {"owner", "other"}
        rows = [
            one
            for one in self.rows
            if one["action"] == cell.permission
            and one["role"] == role
            and one["relation"] in relations
            and one.get("risk") in (None, "low")
            and (not cell.state or one.get("state") in (None, cell.state))
        ]
        plain = {bool(one["allowed"]) for one in rows if not one.get("step_up")}
        fresh = {bool(one["allowed"]) for one in rows if one.get("step_up")}
        if not rows or not plain:
            return Says.UNSAID
        if len(plain) > 1:
            return Says.DEPENDS
        if plain == {True}:
            return Says.ALLOWED
        return Says.STEP_UP if True in fresh else Says.REFUSED


Declared = Table | Snapshot


def beside(cell: Cell, sources: Iterable[Declared]) -> list[Cell]:
    """Return a cell beside each source that says something of it; by itself where none does."""
    said = [evolve(cell, declared=one.says(cell), source=one.source) for one in sources]
    return [one for one in said if one.declared is not Says.UNSAID] or [cell]


def merged(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return one cell a role, relation, operation and state: a difference before what agrees, what is said before nothing."""
    kept: dict[tuple[str, str, str, str], Cell] = {}
    for one in cells:
        key = (one.operation, one.role, one.relation, one.state)
        known = kept.get(key)
        if known is None or (one.differs, one.declared is not Says.UNSAID) > (
            known.differs,
            known.declared is not Says.UNSAID,
        ):
            kept[key] = one
    return tuple(kept.values())


def observed(answer_status: int, *, objects: bool, nobody: bool, operation: Operation) -> Says:
    """Return what an answer says about access to a request that changes nothing even where it is allowed.

    Of nobody, only a refusal or content tells: many apps look at a body before they ask who sent it.
    """
    if answer_status in (401, 403) or (300 <= answer_status < 400 and nobody):
        return Says.REFUSED
    if answer_status == 404:
        return Says.REFUSED if objects else Says.UNSAID
    if 200 <= answer_status < 300:
        return Says.ALLOWED
    if answer_status in (400, 409, 422) and not nobody and operation.method != "GET":
        return Says.ALLOWED
    return Says.UNSAID
