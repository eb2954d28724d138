"""Verify on an app that we did not build: every labelled flaw is found, and the sound form has nothing broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from redoubt.controls import Evidence, Outcome, Verdict
from redoubt.verify import Options, Report, verify

FOREIGN = Path(__file__).parents[1] / "foreign"
FLAWS = {  # control → a text that its evidence must hold
    "IDN-1": "takes password",
    "IDN-9": "lacks HttpOnly, Secure",
    "IDN-11": "60 wrong guesses",
    "AUZ-1": "shows another's object",
    "AUZ-2": "GET /admin/report is still answered",
    "AUZ-6": "admin:admin logs in",
    "AUZ-7": "GET /export",
    "WHK-1": "another key was accepted",
    "WHK-3": "had its effect",
    "SUP-1": "not pinned",
    "SUP-7": "config.yaml:2",
    "VAL-3": "lacks HttpOnly, Secure",
    "VAL-5": "GET /admin/users",
    "VAL-8": "had its effect",
    "VAL-10": "Traceback",
}


@pytest.fixture(scope="module")
def flawed() -> Report:
    return verify(Options(str(FOREIGN / "flawed")))


@pytest.fixture(scope="module")
def sound() -> Report:
    return verify(Options(str(FOREIGN / "sound")))


@pytest.mark.parametrize("name", ["flawed", "sound"])
def test_ten_lines_say_enough_about_an_app(name: str) -> None:
    lines = (FOREIGN / name / "target.yaml").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 10


@pytest.mark.parametrize("control", sorted(FLAWS))
def test_every_flaw_is_found(flawed: Report, control: str) -> None:
    finding = flawed.of(control)
    assert finding.verdict is Verdict.BROKEN, finding.reason
    told = " ".join(one.detail for one in finding.evidence if one.outcome is Outcome.BROKE)
    assert FLAWS[control] in told


def test_the_sound_app_has_nothing_broken(sound: Report) -> None:
    assert [(one.control, one.reason) for one in sound.findings if one.verdict is Verdict.BROKEN] == []


@pytest.mark.parametrize("control", sorted(set(FLAWS) - {"IDN-1", "AUZ-1", "AUZ-2", "WHK-3"}))
def test_what_is_broken_there_is_proven_here(sound: Report, control: str) -> None:
    finding = sound.of(control)
    assert finding.verdict is Verdict.PROVEN, finding.reason
    assert all(one.outcome is Outcome.HELD for one in finding.evidence)


def test_the_objects_of_others_stay_out_of_reach_in_the_sound_app(sound: Report) -> None:
    held = [one for one in sound.of("AUZ-1").evidence if one.attack.startswith("reach another's")]
    assert [one.outcome for one in held] == [Outcome.HELD]
    assert {check.name for check in held[0].positives} >= {
        "the owner reads her own",
        "a stranger's own works",
        "a missing id is not found",
        "his session is still alive",
    }


def test_another_s_password_in_an_answer_is_found(flawed: Report, sound: Report) -> None:
    def shown(report: Report) -> Evidence:
        (one,) = [
            one for one in report.of("AUZ-1").evidence if one.attack.startswith("look for another's password")
        ]
        return one

    assert "GET /people shows a user another's password" in shown(flawed).detail
    assert all(check.held for check in shown(flawed).positives)
    assert shown(sound).outcome is Outcome.HELD, shown(sound).detail


DRIVEN = "drive the pages of another's tasks in a browser"


def driven(report: Report) -> Evidence:
    """Return what driving the pages showed; the tasks are in no description and on no API."""
    (one,) = [one for one in report.of("VAL-5").evidence if one.attack == DRIVEN]
    return one


@pytest.mark.parametrize(
    "effect",
    [
        "GET /tasks/{id} shows another's tasks to user, admin",
        "POST /tasks/{id} by user, admin changed another's tasks",
        "POST /tasks/{id} (Done) by user, admin changed another's tasks",
        "POST /tasks/{id}/delete by user, admin changed another's tasks",
    ],
)
def test_what_only_pages_lead_to_is_found_in_a_browser(flawed: Report, effect: str) -> None:
    found = driven(flawed)
    assert found.outcome is Outcome.BROKE
    assert effect in found.detail
    assert all(check.held for check in found.positives)
    assert any(one.attack == DRIVEN for one in flawed.of("AUZ-1").evidence)


def test_pages_that_ask_whose_task_it_is_hold_in_a_browser(sound: Report) -> None:
    found = driven(sound)
    assert found.outcome is Outcome.HELD, found.detail
    held = {check.name: check.detail for check in found.positives}
    assert "a stranger's own works" in held
    assert held["a missing one is not found"] == "404"
    acted = "POST /tasks/{id}, POST /tasks/{id}/delete, POST /tasks/{id} (Done)"
    assert held["who is offered a form changes something by it"] == acted
    assert "nobody" in {one.actor for one in found.exchanges}


def test_without_a_browser_the_pages_are_not_said_to_be_driven() -> None:
    report = verify(Options(str(FOREIGN / "sound"), only=("VAL-5", "AUZ-1"), browser=False))
    finding = report.of("VAL-5")
    assert finding.verdict is Verdict.NOT_SHOWN
    assert "not driven in a browser" in finding.reason
    assert "chromium" in finding.add
    assert [one.outcome for one in finding.evidence] == [Outcome.HELD] * 2  # the API was attacked, and held


def test_a_demoted_person_s_live_session_loses_the_role_in_the_sound_app(sound: Report) -> None:
    (one,) = sound.of("AUZ-2").evidence
    assert one.attack == "go on with a session after its role was taken"
    assert one.outcome is Outcome.HELD, one.detail
    assert {check.name for check in one.positives} >= {
        "who never had the role is refused",
        "with the role it is read",
        "who kept the role still reads",
    }


def test_every_control_has_exactly_one_verdict_and_a_reason(flawed: Report, sound: Report) -> None:
    for report in (flawed, sound):
        assert len({one.control for one in report.findings}) == len(report.findings) == 65
        assert all(one.reason for one in report.findings)


def test_what_was_not_shown_says_why(sound: Report) -> None:
    whk4 = sound.of("WHK-4")
    assert whk4.verdict is Verdict.NOT_SHOWN
    assert "processes" in whk4.add
