"""The catalogue: whole, sound, and citing only what exists."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redoubt.cli.controls import app
from redoubt.controls import CatalogueInvalid, UnknownControl, catalogue
from redoubt.controls.catalogue import parse

GOOD = """
identity:
  title: Identity
  controls:
    IDN-1: {control: a, prove: b, asvs: [v5.0.0-6.3.3], api: [API2], pci: ["8.3.1"]}
"""


def vectors() -> Path:
    given = os.environ.get("REDOUBT_VECTORS")
    path = Path(given) if given else Path(__file__).parents[3] / "shared" / "vectors"
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail("the vectors are missing: set REDOUBT_VECTORS")
        pytest.skip("the standards' own files are not here: set REDOUBT_VECTORS")
    return path


def test_there_are_65_controls_in_seven_areas() -> None:
    assert len(catalogue()) == 65
    assert {area.key: len(area.controls) for area in catalogue().areas} == {
        "identity": 12,
        "authorization": 8,
        "webhooks": 10,
        "payments": 9,
        "supply_chain": 8,
        "operations": 8,
        "validation": 10,
    }


def test_every_control_says_what_holds_and_what_proves_it() -> None:
    for control in catalogue():
        assert control.control, control.id
        assert control.prove, control.id
        assert control.asvs, control.id
        assert control.enforce or control.area == "validation", control.id


def test_every_cited_asvs_requirement_exists() -> None:
    data = json.loads((vectors() / "asvs" / "asvs-5.0.0.flat.json").read_text())
    known = {f"v5.0.0-{one['req_id'].removeprefix('V')}" for one in data["requirements"]}
    assert len(known) == 345
    assert not {cited for control in catalogue() for cited in control.asvs} - known


def test_our_words_are_not_the_standards_words() -> None:
    data = json.loads((vectors() / "asvs" / "asvs-5.0.0.flat.json").read_text())
    texts = {one["req_description"].lower() for one in data["requirements"]}
    for control in catalogue():
        assert not any(control.control.lower() in text for text in texts if len(control.control) > 40), (
            control.id
        )


def test_a_control_is_found_in_any_case_and_a_wrong_id_names_its_neighbours() -> None:
    assert catalogue()["auz-7"].control == "deny by default"
    with pytest.raises(UnknownControl, match="IDN-9"):
        catalogue()["IDN-99"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("IDN-1:", "IDN_1:"),
        ("API2", "API11"),
        ("v5.0.0-6.3.3", "6.3.3"),
        ('"8.3.1"', '"eight"'),
        ("prove: b", "shown: b"),
        ("control: a", "control: a, severity: high"),
        ("title: Identity", "name: Identity"),
        ("identity:", "- identity"),
    ],
)
def test_a_damaged_catalogue_is_refused(old: str, new: str) -> None:
    assert len(parse(GOOD)) == 1
    with pytest.raises(CatalogueInvalid):
        parse(GOOD.replace(old, new))


def test_a_control_that_stands_twice_is_refused() -> None:
    twice = GOOD + GOOD.replace("identity:", "other:")
    with pytest.raises(CatalogueInvalid, match="twice"):
        parse(twice)


def test_the_command_lists_and_explains() -> None:
    listed = CliRunner().invoke(app, ["list"])
    assert listed.exit_code == 0
    assert sum(line.startswith("  ") for line in listed.output.splitlines()) == 65
    told = CliRunner().invoke(app, ["explain", "PAY-5"])
    assert told.exit_code == 0
    assert "two-person review" in told.output
    assert "v5.0.0-2.3.5" in told.output
    machine = CliRunner().invoke(app, ["list", "--area", "webhooks", "--json"])
    assert [one["id"] for one in json.loads(machine.output)] == [f"WHK-{n}" for n in range(1, 11)]


def test_unknown_names_are_usage_errors() -> None:
    assert CliRunner().invoke(app, ["explain", "NOPE-1"]).exit_code == 2
    assert CliRunner().invoke(app, ["list", "--area", "nowhere"]).exit_code == 2
