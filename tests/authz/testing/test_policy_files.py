"""`redoubt policy test` and `fmt`: an expectation that does not hold is told, and what no test reached is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from redoubt.authz.testing import BadTests, read_cases
from redoubt.cli.policy import app

SCHEMA = """
entity User;
entity Doc = { owner: User, open?: Bool };
action read appliesTo { principal: User, resource: Doc, context: { risk: Long } };
"""
POLICIES = """// who owns it
@id("own") permit (principal, action, resource) when { resource.owner == principal && context.risk < 50 };
@id("open") permit (principal,action,resource) when { resource has open && resource.open } unless { context.risk > 90 };
"""
GIVEN = """
given:
  - {uid: "User::ann"}
  - {uid: "User::bob"}
  - {uid: "Doc::a", attrs: {owner: {__entity: {type: User, id: ann}}}}
  - {uid: "Doc::b", attrs: {owner: {__entity: {type: User, id: bob}}, open: true}}
tests:
"""


def case(principal: str, resource: str, risk: int, then: str, by: str = "") -> str:
    more = f", by: {by}" if by else ""
    return (
        f"  - {{name: {principal} {resource} {risk}, when: {{principal: 'User::{principal}', action: read, "
        f"resource: 'Doc::{resource}', context: {{risk: {risk}}}}}, then: {then}{more}}}\n"
    )


FULL = (
    GIVEN
    + case("ann", "a", 0, "allow", "own")
    + case("ann", "a", 50, "deny")
    + case("bob", "a", 0, "deny")
    + case("ann", "b", 0, "allow", "open")
    + case("ann", "b", 91, "deny")
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policies"
    (made / "tests").mkdir(parents=True)
    (made / "all.cedarschema").write_text(SCHEMA)
    (made / "all.cedar").write_text(POLICIES)
    (made / "tests" / "docs.yaml").write_text(FULL)
    return made


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_tests_that_hold_pass_and_say_what_they_did_not_reach(folder: Path) -> None:
    result = invoke("test", folder)
    assert result.exit_code == 0, result.output
    assert "5 of 5 tests hold; policies 100 %, branches 90 % covered" in result.output
    assert "never false: open: when { resource.open }" in " ".join(result.output.split())


def test_a_wrong_answer_and_a_wrong_policy_fail(folder: Path) -> None:
    wrong = GIVEN + case("bob", "a", 0, "allow") + case("ann", "a", 0, "allow", "open")
    (folder / "tests" / "docs.yaml").write_text(wrong)
    result = invoke("test", folder)
    assert result.exit_code == 1
    assert "expected allow, got deny by no policy" in result.output
    assert "expected by open, got allow by own" in result.output


def test_covering_too_little_fails(folder: Path) -> None:
    assert invoke("test", folder, "--min-policies", "100", "--min-branches", "90").exit_code == 0
    assert invoke("test", folder, "--min-branches", "91").exit_code == 1
    (folder / "tests" / "docs.yaml").write_text(GIVEN + case("bob", "a", 0, "deny"))
    result = invoke("test", folder, "--min-policies", "1")
    assert result.exit_code == 1
    assert "never decided: own" in result.output


def test_only_what_changed_is_measured(folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "all.cedarschema").write_text(SCHEMA)
    (base / "all.cedar").write_text(POLICIES.replace("risk < 50", "risk < 40"))
    result = invoke("test", folder, "--changed", base, "--min-branches", "100")
    assert result.exit_code == 0, result.output
    assert "open:" not in result.output


def test_no_tests_are_no_success(folder: Path) -> None:
    (folder / "tests" / "docs.yaml").unlink()
    assert invoke("test", folder).exit_code == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tests: []",
        "tests: [",
        "tests: [{name: a, when: {principal: 'User::a', action: read, resource: 'Doc::a'}, then: perhaps}]",
        "tests: [{name: a, when: {principal: a, action: read, resource: 'Doc::a'}, then: deny}]",
        "tests: [{name: a, when: {principal: 'User::a', acton: read, resource: 'Doc::a'}, then: deny}]",
        "given: [{uid: 'User::a'}, {uid: 'User::a'}]\ntests: [1]",
        "given: &a [*a]\ntests: *a",
        "!!python/object/apply:os.system ['true']",
    ],
)
def test_a_file_out_of_format_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(BadTests, match="t.yaml"):
        read_cases(path)


def test_formatting_keeps_comments_and_is_done_once(folder: Path) -> None:
    checked = invoke("fmt", folder, "--check")
    assert checked.exit_code == 1
    assert (folder / "all.cedar").read_text() == POLICIES
    assert invoke("fmt", folder).exit_code == 0
    once = (folder / "all.cedar").read_text()
    assert "// who owns it" in once
    assert invoke("fmt", folder, "--check").exit_code == 0
    assert invoke("fmt", folder).output == ""
    assert (folder / "all.cedar").read_text() == once


def test_nothing_is_formatted_where_one_file_does_not_parse(folder: Path) -> None:
    (folder / "bad.cedar").write_text("permit (")
    assert invoke("fmt", folder).exit_code == 1
    assert (folder / "all.cedar").read_text() == POLICIES


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_nothing_is_formatted_where_one_file_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    (folder / "more.cedar").write_text(POLICIES.replace('"own"', '"own2"').replace('"open"', '"open2"'))
    before = {path.name: path.read_text() for path in folder.glob("*.cedar")}
    names = {path.name for path in folder.iterdir()}
    if failing == "replace":
        real = Path.replace

        def refuse(self: Path, target: Path) -> Path:
            if self.suffix == ".new" and target.name == "more.cedar":
                raise OSError(28, "No space left on device", str(target))
            return real(self, target)

        monkeypatch.setattr(Path, "replace", refuse)
    else:
        seen: list[int] = []

        def full(handle: int) -> None:
            seen.append(handle)
            if len(seen) > 2:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
    result = invoke("fmt", folder)
    assert result.exit_code == 1
    assert "nothing was changed" in result.output
    assert "formatted all.cedar" not in result.output
    assert {path.name: path.read_text() for path in folder.glob("*.cedar")} == before
    assert {path.name for path in folder.iterdir()} == names
