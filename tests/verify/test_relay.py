"""The relay, an app of webhooks alone: what verify shows on it is what its file expects, no more and no less."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from redoubt.build.builder import build
from redoubt.controls import Outcome, Verdict
from redoubt.controls.expected import compare, load
from redoubt.verify import Options, verify

RELAY = Path(__file__).parents[2] / "examples" / "relay"
pytestmark = [pytest.mark.xdist_group("relay"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("relay") / "relay"
    build(RELAY / "spec.yaml", out)
    return out


def test_the_verdicts_are_those_that_are_expected(relay: Path) -> None:
    report = verify(Options(str(relay), browser=False))
    departures = compare(load(RELAY / "expected.yaml"), report.findings)
    assert [(one.control, one.expected, one.found, report.of(one.control).reason) for one in departures] == []


def test_an_app_that_says_it_has_no_magic_links_is_held_to_it(relay: Path, tmp_path: Path) -> None:
    shutil.copytree(relay, tmp_path / "relay", symlinks=True)
    main = tmp_path / "relay" / "app" / "main.py"
    text = main.read_text()
    assert text.count("magic_links=False") == 1
    main.write_text(text.replace("magic_links=False", "magic_links=True"))
    finding = verify(Options(str(tmp_path / "relay"), only=("IDN-1",), browser=False)).of("IDN-1")
    assert finding.verdict is Verdict.BROKEN, finding.reason
    (one,) = [one for one in finding.evidence if one.outcome is Outcome.BROKE]
    assert "POST /auth/magic takes the request for a link" in one.detail
    assert all(check.held for check in one.positives)
