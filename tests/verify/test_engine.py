"""The run itself: one verdict a control, a fixed order, refusals, budgets, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from redoubt.cli.verify import app
from redoubt.controls import Evidence, Outcome, Verdict, catalogue
from redoubt.verify import Options, TargetInvalid, TargetUnreachable, verify
from redoubt.verify.engine import _judge, _Tally
from redoubt.verify.errors import NoSubject, Unshown
from redoubt.verify.probe import Trial, registered
from redoubt.verify.schedule import ordered

FOREIGN = Path(__file__).parents[1] / "foreign"
run = CliRunner().invoke


def test_every_probe_belongs_to_a_control_and_has_a_name_of_its_own() -> None:
    probes = registered()
    assert {one.control for one in probes} <= {control.id for control in catalogue()}
    assert len({(one.control, one.name) for one in probes}) == len(probes)


def test_the_order_depends_on_the_seed_alone_and_keeps_the_phases() -> None:
    first, again, other = (ordered(registered(), seed) for seed in (1, 1, 2))
    assert first == again == ordered(list(reversed(registered())), 1)
    assert first != other
    assert [one.phase for one in first] == sorted(one.phase for one in first)


def test_a_run_leaves_nothing_in_the_folder_of_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    report = verify(Options(str(FOREIGN / "sound"), only=("SUP-1", "SUP-2", "SUP-7"), browser=False))
    assert report.of("SUP-1").verdict is Verdict.PROVEN
    assert list(tmp_path.iterdir()) == []


def test_a_probe_that_crashes_shows_nothing_and_says_so() -> None:
    trial = Trial()
    with trial.attack("a", "o"):
        raise ZeroDivisionError("oops")
    (attack,) = trial.attacks
    assert attack.outcome is Outcome.INCONCLUSIVE
    assert "ZeroDivisionError" in attack.details[0]


def test_a_failed_positive_control_shows_nothing() -> None:
    trial = Trial()
    with trial.attack("a", "o") as attack:
        attack.positive("the owner can", False)
        attack.broke("never reached")
    assert trial.attacks[0].outcome is Outcome.INCONCLUSIVE


def test_what_broke_before_something_went_wrong_stays_broken() -> None:
    trial = Trial()
    with trial.attack("a", "o") as attack:
        attack.check(False, "it leaked")
        raise Unshown("and then the app went away")
    assert trial.attacks[0].outcome is Outcome.BROKE


def test_an_app_without_the_subject_leaves_no_attack_behind() -> None:
    trial = Trial()
    with pytest.raises(NoSubject), trial.attack("a", "o"):
        raise NoSubject("no cookies")
    assert trial.attacks == []


def _evidence(*outcomes: Outcome) -> list[Evidence]:
    return [Evidence(str(one), "o", one, "d") for one in outcomes]


def test_a_control_is_proven_only_when_nothing_is_open() -> None:
    held, broke = _evidence(Outcome.HELD)[0], _evidence(Outcome.BROKE)[0]
    assert _judge("IDN-1", _Tally([held])).verdict is Verdict.PROVEN
    assert (
        _judge("IDN-1", _Tally([held], unshown=["a second probe had no means"])).verdict is Verdict.NOT_SHOWN
    )
    assert _judge("IDN-1", _Tally([held, broke], unshown=["x"])).verdict is Verdict.BROKEN
    assert _judge("IDN-1", _Tally(nothing=["no money"])).verdict is Verdict.NOT_APPLICABLE
    assert _judge("IDN-1", _Tally(nothing=["no money"], unshown=["x"])).verdict is Verdict.NOT_SHOWN
    assert _judge("IDN-1", _Tally()).verdict is Verdict.NOT_SHOWN


def test_an_app_that_does_not_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "target.yaml").write_text(
        'start: {command: ["{python}", -c, "raise SystemExit(\'no database\')"], ready: /}\n'
    )
    with pytest.raises(TargetUnreachable, match="no database"):
        verify(Options(str(tmp_path)))
    assert run(app, [str(tmp_path)]).exit_code == 3


def test_nothing_at_an_address_is_not_reached() -> None:
    with pytest.raises(TargetUnreachable):
        verify(Options("http://127.0.0.1:9"))


def test_a_folder_without_a_target_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(TargetInvalid, match="target.yaml"):
        verify(Options(str(tmp_path)))


@pytest.mark.parametrize(
    "arguments",
    [
        ["https://shop.example"],
        ["http://127.0.0.1:9", "--only", "NOPE-1"],
        ["http://127.0.0.1:9", "--budget", "soon"],
        ["http://127.0.0.1:9", "--format", "pdf"],
        ["http://127.0.0.1:9", "--format", "json", "--format", "html"],
        ["http://127.0.0.1:9", "--output", "report.docx"],
        ["nowhere/at/all"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert run(app, arguments).exit_code == 2


def test_a_spent_budget_leaves_the_rest_not_shown(tmp_path: Path) -> None:
    report = verify(Options(str(FOREIGN / "sound"), only=("AUZ-7", "SUP-1"), budget=1e-9, browser=False))
    assert {one.verdict for one in report.findings} == {Verdict.NOT_SHOWN}
    assert all("budget" in one.reason for one in report.findings)


def test_exit_codes_and_outputs_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flawed, sound = str(FOREIGN / "flawed"), str(FOREIGN / "sound")
    html, data = tmp_path / "r.html", tmp_path / "r.json"
    done = run(
        app, [flawed, "--only", "SUP-1,SUP-7", "--output", str(html), "--output", str(data), "--no-browser"]
    )
    assert done.exit_code == 1
    assert html.read_text().startswith("<!doctype html>")
    assert data.exists()
    assert "SUP-1" in done.stdout
    assert run(app, [sound, "--only", "SUP-1", "--no-browser"]).exit_code == 0
    assert run(app, [sound, "--only", "SUP-2", "--no-browser"]).exit_code == 0
    assert run(app, [sound, "--only", "SUP-2", "--no-browser", "--strict"]).exit_code == 4
