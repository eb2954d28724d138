"""`redoubt policy check` lets pass what is proven to grant nothing more, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import Result
from typer.testing import CliRunner

from redoubt.authz.errors import PolicyRejected
from redoubt.authz.gate import judge
from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.cli.policy import app

SCHEMA = """
entity Group;
entity User in [Group] { level: Long };
entity Doc { owner: User };
action read appliesTo { principal: User, resource: Doc, context: { risk: Long } };
"""
MORE = "action write appliesTo { principal: User, resource: Doc, context: { risk: Long } };"
BASE = '@id("own") permit (principal, action == Action::"read", resource) when { context.risk < 50 };'
CHANGES = {
    "equal": BASE.replace("context.risk < 50", "50 > context.risk"),
    "narrower": BASE.replace("50", "40"),
    "wider": BASE.replace("<", "<="),
}


def policies(text: str, schema: str = SCHEMA) -> PolicySet:
    return parse(PolicySource(schema, {"app.cedar": text}))


def write(folder: Path, text: str, schema: str = SCHEMA) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "app.cedar").write_text(text)
    (folder / "app.cedarschema").write_text(schema)
    return folder


def run(base: Path | str, head: Path | str, *options: str) -> Result:
    return CliRunner().invoke(app, ["check", str(base), str(head), *options])


@pytest.mark.parametrize(("verdict", "code"), [("equal", 0), ("narrower", 0), ("wider", 3)])
def test_the_exit_code_says_whether_a_second_person_must_see_it(
    tmp_path: Path, verdict: str, code: int
) -> None:
    done = run(write(tmp_path / "a", BASE), write(tmp_path / "b", CHANGES[verdict]))
    assert done.exit_code == code, done.output
    assert done.output.startswith(f"{verdict}: ")
    assert ('"risk": 50' in done.output or "'risk': 50" in done.output) == (verdict == "wider")


def test_an_action_that_did_not_exist_needs_review(tmp_path: Path) -> None:
    text = (
        BASE
        + '@id("new") permit (principal, action == Action::"write", resource) when { principal == resource.owner };'
    )
    done = run(write(tmp_path / "a", BASE), write(tmp_path / "b", text, SCHEMA + MORE), "--format", "json")
    assert done.exit_code == 3
    assert json.loads(done.output)["verdict"] == "new"


def test_text_shows_what_the_witness_owns_and_belongs_to(tmp_path: Path) -> None:
    text = '@id("own") permit (principal in Group::"staff", action == Action::"read", resource);'
    done = run(write(tmp_path / "a", BASE), write(tmp_path / "b", text))
    assert "in Group::'staff' has level" in done.output, done.output


def test_json_holds_the_witness_and_the_diff(tmp_path: Path) -> None:
    done = run(write(tmp_path / "a", BASE), write(tmp_path / "b", CHANGES["wider"]), "--format", "json")
    answer = json.loads(done.output)
    assert answer["review"] is True
    (finding,) = answer["findings"]
    assert finding["witness"]["context"] == {"risk": 50}
    assert any(line.startswith("+") and "<= 50" in line for line in answer["diff"])


def test_sarif_names_the_changed_file_and_is_empty_for_a_refactoring(tmp_path: Path) -> None:
    base = write(tmp_path / "a", BASE)
    wider = json.loads(run(base, write(tmp_path / "b", CHANGES["wider"]), "--format", "sarif").output)
    (result,) = wider["runs"][0]["results"]
    assert result["ruleId"] == "policy-wider"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("b/app.cedar")
    equal = json.loads(run(base, write(tmp_path / "c", CHANGES["equal"]), "--format", "sarif").output)
    assert equal["runs"][0]["results"] == []


def test_commits_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@test",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@test",
    }

    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", *arguments], cwd=tmp_path, env={**os.environ, **names}, check=True, capture_output=True
        )

    git("init", "-q")
    for text in (BASE, CHANGES["wider"]):
        write(tmp_path / "policies", text)
        git("add", "-A")
        git("commit", "-q", "-m", "policies")
    monkeypatch.chdir(tmp_path)
    assert run("HEAD~1", "HEAD").exit_code == 3
    assert run("HEAD", "HEAD~1").exit_code == 0
    assert run("HEAD", "nowhere").exit_code == 2
    assert run("HEAD", "--output=stolen").exit_code == 2
    assert not (tmp_path / "stolen").exists()


def test_policies_that_do_not_parse_are_an_error_not_a_pass(tmp_path: Path) -> None:
    done = run(write(tmp_path / "a", BASE), write(tmp_path / "b", "permit (principal"))
    assert done.exit_code == 1
    assert isinstance(done.exception, PolicyRejected)


def test_without_solvers_nothing_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redoubt.authz.prove.engine", None)
    found = judge(policies(BASE), policies(CHANGES["narrower"]), budget_seconds=10)
    assert (found.verdict, found.widens) == ("unknown", True)


def test_a_prover_that_breaks_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("redoubt.authz.gate.judging.compare_under", broken)
    assert judge(policies(BASE), policies(CHANGES["narrower"]), budget_seconds=10).widens


def test_a_schema_that_cannot_be_read_proves_nothing() -> None:
    unreadable = evolve(policies(CHANGES["narrower"]), schema_text="entity")
    found = judge(policies(BASE), unreadable, budget_seconds=10)
    assert (found.verdict, found.widens) == ("unknown", True)
