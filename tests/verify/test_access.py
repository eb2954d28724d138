"""Access as it is observed, beside what is declared: what the sources say, what differs, and how reports show it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from attrs import evolve

from redoubt.controls import Finding, Verdict
from redoubt.verify import Options, Report, as_html, as_json, as_text, verify
from redoubt.verify.access import (
    ANY,
    NOBODY,
    OTHER,
    OWN,
    TENANT,
    Cell,
    Says,
    Snapshot,
    Table,
    beside,
    merged,
    observed,
)
from redoubt.verify.errors import TargetInvalid
from redoubt.verify.openapi import Operation
from redoubt.verify.report import as_access
from redoubt.verify.target import Target

FOREIGN = Path(__file__).parents[1] / "foreign"
READ, WRITE = Operation("GET", "/orders/{id}"), Operation("PATCH", "/orders/{id}")
TABLE = Table(
    Target.model_validate(
        {
            "access": [
                {"as": ["customer"], "do": ["Order.read"], "own": True},
                {"as": ["customer"], "do": ["Order.pay"], "states": ["placed"]},
                {"as": ["support"], "do": ["GET /orders/{id}"]},
                {"as": ["operator"], "do": ["Order.delete"], "step_up": True},
            ]
        }
    ).access
    or ()
)


def cell(permission: str, role: str, relation: str = OWN, state: str = "", says: Says = Says.UNSAID) -> Cell:
    return Cell("GET /orders/{id}", permission, role, relation, says, 200 if says else 0, state=state)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (cell("Order.read", "customer"), Says.ALLOWED),
        (cell("Order.read", "customer", OTHER), Says.REFUSED),
        (cell("Order.read", "customer", TENANT), Says.REFUSED),
        (cell("Order.read", "support", OTHER), Says.ALLOWED),
        (cell("Order.pay", "customer", state="placed"), Says.ALLOWED),
        (cell("Order.pay", "customer", state="paid"), Says.REFUSED),
        (cell("Order.delete", "operator"), Says.STEP_UP),
        (cell("Order.read", NOBODY, NOBODY), Says.REFUSED),
    ],
)
def test_a_table_grants_what_a_line_names_and_nothing_else(asked: Cell, says: Says) -> None:
    assert TABLE.says(asked) is says


def row(allowed: bool, relation: str = "owner", **more: object) -> dict[str, object]:
    given = {"role": "customer", "risk": "low", "step_up": False, "state": None, "amount": None}
    return {"action": "Order.read", "relation": relation, **given, "allowed": allowed, **more}


SNAPSHOT = Snapshot(
    [
        row(True),
        row(False, risk="high"),
        row(False, "other"),
        row(False, "other-tenant"),
        row(False, "anonymous", role="anonymous"),
        row(True, action="Order.pay", state="placed"),
        row(False, action="Order.pay", state="paid"),
        row(False, action="Order.delete"),
        row(True, action="Order.delete", step_up=True),
        row(True, action="Order.refund", amount="small"),
        row(False, action="Order.refund", amount="large"),
    ]
)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (cell("Order.read", "customer"), Says.ALLOWED),
        (cell("Order.read", "customer", OTHER), Says.REFUSED),
        (cell("Order.read", "customer", TENANT), Says.REFUSED),
        (cell("Order.read", NOBODY, NOBODY), Says.REFUSED),
        (cell("Order.read", "customer", ANY), Says.DEPENDS),
        (cell("Order.pay", "customer", state="placed"), Says.ALLOWED),
        (cell("Order.pay", "customer", state="paid"), Says.REFUSED),
        (cell("Order.pay", "customer"), Says.DEPENDS),
        (cell("Order.delete", "customer"), Says.STEP_UP),
        (cell("Order.refund", "customer"), Says.DEPENDS),
        (cell("Order.ship", "customer"), Says.UNSAID),
        (cell("Order.read", "auditor"), Says.UNSAID),
    ],
)
def test_a_snapshot_says_what_its_rows_agree_on(asked: Cell, says: Says) -> None:
    assert SNAPSHOT.says(asked) is says


@pytest.mark.parametrize("text", ["", "{}", '[{"action": "x"}]', '["x"]'])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "decisions.json"
    path.write_text(text)
    with pytest.raises(TargetInvalid):
        Snapshot.read(path)
    with pytest.raises(TargetInvalid):
        Snapshot.read(tmp_path / "none.json")


def test_a_difference_is_a_contradiction_and_knows_which_way() -> None:
    asked = cell("Order.read", "customer", OTHER, says=Says.ALLOWED)
    (wider,) = beside(asked, [TABLE])
    assert wider.differs
    assert wider.wider
    assert wider.source == "target file"
    (narrower,) = beside(evolve(asked, relation=OWN, observed=Says.REFUSED), [TABLE])
    assert narrower.differs
    assert not narrower.wider
    assert not evolve(asked, declared=Says.STEP_UP, observed=Says.REFUSED).differs
    assert evolve(asked, declared=Says.STEP_UP).wider
    assert not evolve(asked, declared=Says.DEPENDS).differs
    assert not evolve(wider, observed=Says.UNSAID).differs
    assert beside(evolve(asked, permission="Order.ship"), [SNAPSHOT]) == [
        evolve(asked, permission="Order.ship")
    ]


def test_of_two_sources_the_one_that_differs_is_shown() -> None:
    asked = cell("Order.read", "support", OTHER, says=Says.ALLOWED)
    denies = Snapshot([row(False, "other", role="support")])
    (kept,) = merged([*beside(asked, [TABLE, denies]), asked])
    assert (kept.source, kept.differs) == ("decision snapshot", True)


@pytest.mark.parametrize(
    ("status", "nobody", "says"),
    [
        (200, False, Says.ALLOWED),
        (403, False, Says.REFUSED),
        (404, False, Says.REFUSED),
        (422, False, Says.ALLOWED),
        (422, True, Says.UNSAID),
        (303, True, Says.REFUSED),
        (200, True, Says.ALLOWED),
        (500, False, Says.UNSAID),
    ],
)
def test_what_an_answer_tells(status: int, nobody: bool, says: Says) -> None:
    assert observed(status, objects=True, nobody=nobody, operation=WRITE) is says
    assert observed(404, objects=False, nobody=nobody, operation=READ) is Says.UNSAID


# --- reports ---


@pytest.fixture
def report() -> Report:
    base = Cell(
        "GET /orders/{id}", "Order.read", "customer", OWN, Says.ALLOWED, 200, Says.ALLOWED, "target file"
    )
    cells = (
        base,
        evolve(base, relation=OTHER, declared=Says.REFUSED),
        evolve(base, role=NOBODY, relation=NOBODY, observed=Says.REFUSED, status=401, declared=Says.REFUSED),
        evolve(base, operation="GET /orders", relation=ANY, permission='Order.list,"x'),
        evolve(base, operation="POST /ghosts", observed=Says.UNSAID, status=0),
    )
    findings = (Finding("AUZ-1", Verdict.BROKEN, "another's is read"),)
    return Report("./app", 1, "2026-01-01T00:00:00+00:00", 1.0, findings, cells)


def test_the_csv_has_a_line_a_cell_with_its_control_s_verdict(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(as_access(report))))
    assert [(one["operation"], one["role"], one["relation"]) for one in rows] == [
        ("POST /ghosts", "customer", "own"),
        ("GET /orders", "customer", "any"),
        ("GET /orders/{id}", "customer", "own"),
        ("GET /orders/{id}", "customer", "other"),
        ("GET /orders/{id}", "nobody", "nobody"),
    ]
    assert rows[1]["permission"] == 'Order.list,"x'
    assert [one["differs"] for one in rows] == ["no", "no", "no", "yes", "no"]
    assert (
        rows[3] | {"declared": "refused", "observed": "allowed", "control": "AUZ-1", "verdict": "broken"}
        == rows[3]
    )
    assert (rows[4]["control"], rows[4]["verdict"]) == ("AUZ-7", "")


def test_text_and_html_show_the_table_and_name_each_difference(report: Report) -> None:
    text = as_text(report)
    assert "customer  nobody" in text
    assert "GET /orders/{id}  ✓ ✓!      ·" in text
    assert (
        "! customer GET /orders/{id} on another's: allowed, refused by the target file (AUZ-1: broken)"
        in text
    )
    assert "/ghosts" not in text
    page = as_html(report)
    assert '(<a href="#AUZ-1">AUZ-1</a>: broken)' in page
    assert '<b class="tag broke">✓!</b>' in page
    assert len(json.loads(as_json(report))["access"]) == 5


def test_without_what_was_observed_nothing_is_shown(report: Report) -> None:
    bare = evolve(report, access=())
    assert "as observed" not in as_text(bare) + as_html(bare)
    assert len(as_access(bare).splitlines()) == 1


# --- on a real app ---


def declared(tmp_path: Path, form: str) -> Report:
    """Verify AUZ-1 on the foreign app, with its access declared: notes are their owner's, reports the admin's."""
    app = tmp_path / form
    shutil.copytree(FOREIGN / form, app)
    lines = """
access:
- {as: [user, admin], do: [POST /notes, GET /notes, GET /me, PATCH /me, GET /people, GET /releases]}
- {as: [user, admin], do: ["GET /notes/{note_id}", "PATCH /notes/{note_id}", "DELETE /notes/{note_id}"], own: true}
- {as: [admin], do: [GET /admin/users, GET /admin/report, "PUT /admin/users/{name}"]}
"""
    with (app / "target.yaml").open("a") as target:
        target.write(lines)
    return verify(Options(str(app), only=("AUZ-1",), browser=False))


def test_what_differs_from_a_declared_table_breaks_and_is_marked(tmp_path: Path) -> None:
    report = declared(tmp_path, "flawed")
    wider = {(one.role, one.operation, one.relation) for one in report.access if one.wider}
    assert wider >= {
        ("user", "GET /notes/{note_id}", OTHER),
        ("user", "PATCH /notes/{note_id}", OTHER),
        ("user", "GET /admin/users", ANY),
    }
    finding = report.of("AUZ-1")
    told = " ".join(one.detail for one in finding.evidence)
    assert finding.verdict is Verdict.BROKEN
    assert "user GET /admin/users is allowed, which the target file denies" in told


def test_a_sound_app_does_as_its_table_says_and_nobody_may_nothing(tmp_path: Path) -> None:
    report = declared(tmp_path, "sound")
    assert [one.words() for one in report.access if one.differs] == []
    assert report.of("AUZ-1").verdict is Verdict.PROVEN, report.of("AUZ-1").reason
    seen = {(one.role, one.operation, one.relation): one.observed for one in report.access}
    assert seen["user", "GET /notes/{note_id}", OWN] is Says.ALLOWED
    assert seen["user", "GET /notes/{note_id}", OTHER] is Says.REFUSED
    assert seen["admin", "GET /admin/report", ANY] is Says.ALLOWED
    assert {says for (role, _, _), says in seen.items() if role == NOBODY} == {Says.REFUSED}


def test_what_nobody_declared_is_observed_all_the_same() -> None:
    report = verify(Options(str(FOREIGN / "sound"), only=("AUZ-1",), browser=False))
    assert report.of("AUZ-1").verdict is Verdict.NOT_SHOWN
    seen = {(one.role, one.operation, one.relation): one for one in report.access}
    assert seen["user", "GET /notes/{note_id}", OTHER].observed is Says.REFUSED
    assert not any(one.declared for one in report.access)
