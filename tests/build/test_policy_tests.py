"""What a build emits for its policies: tests that notice every small mistake, and decisions that a person approves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.rules import AccessModel, Action, Allow, ResourceType, compile_policies, compile_schema
from redoubt.authz.testing import mutate, read_cases, run
from redoubt.build import policy_tests as module
from redoubt.build.builder import build, check
from redoubt.build.policy_tests import policy_tests
from redoubt.cli import app

MODEL = AccessModel(
    ("customer", "support"),
    (ResourceType("Order", owner=True, states=("placed", "paid")), ResourceType("Product")),
    (
        Action("Order.list", "Order", "collection", (Allow("customer"), Allow("support"))),
        Action("Product.list", "Product", "collection", (Allow("authenticated"),)),
        Action("Order.read", "Order", allow=(Allow("customer", owner=True), Allow("support"))),
        Action("Order.pay", "Order", allow=(Allow("customer", owner=True, risk_max=70, states=("placed",)),)),
        Action(
            "Order.refund", "Order", allow=(Allow("support", amount_max=500), Allow("customer", step_up=True))
        ),
        Action("Product.read", "Product", allow=(Allow("public", tenant=False),)),
        Action("Console.view", scope="app", allow=(Allow("support", step_up=True),)),
    ),
)


def cases(model: AccessModel, folder: Path) -> list:  # type: ignore[type-arg]
    found = []
    for name, text in policy_tests(model).items():
        (folder / name).write_text(text)
        found += read_cases(folder / name)
    return found


def test_they_hold_reach_every_branch_and_notice_every_mistake(tmp_path: Path) -> None:
    policies = parse(PolicySource(compile_schema(MODEL), compile_policies(MODEL)))
    asked = cases(MODEL, tmp_path)
    report = run(policies, asked)
    assert not report.failures
    assert (report.policies_percent, report.branches_percent) == (100, 100)
    found = mutate(policies, asked)
    assert [(one.policy_id, one.kind, one.where) for one in found.missed] == []
    assert len(found.killed) > 90


@pytest.mark.parametrize("attribute", ["tenant", "own", "risk", "step", "amount", "state", "role"])
def test_a_compiler_that_forgets_a_condition_fails_them(tmp_path: Path, attribute: str) -> None:
    loose = {
        "tenant": "principal.tenant == resource.tenant", "own": "resource.owner == principal",
        "risk": "context.risk <= 70", "step": "context.step_up", "amount": "context.amount <= 500",
        "state": '["placed"].contains(resource.state)', "role": 'principal in Role::"support"',
    }[attribute]  # fmt: skip
    texts = compile_policies(MODEL)
    assert any(loose in text for text in texts.values())
    instead = "principal" if attribute == "role" else "true"
    wrong = {name: text.replace(loose, instead) for name, text in texts.items()}
    report = run(parse(PolicySource(compile_schema(MODEL), wrong)), cases(MODEL, tmp_path))
    assert any("expected deny, got allow" in item.why for item in report.failures)


def test_they_are_worked_out_from_the_rules_and_always_the_same() -> None:
    assert policy_tests(MODEL) == policy_tests(MODEL)
    assert "compile_policies" not in Path(module.__file__).read_text()


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["policy", *(str(argument) for argument in arguments)])


@pytest.fixture
def mine(shop: Path, tmp_path: Path) -> Path:
    """A built shop of one's own."""
    return shutil.copytree(shop, tmp_path / "mine")


def test_a_built_app_holds_its_policy_tests_and_its_ci_runs_them(shop: Path) -> None:
    asked = [
        case for file in sorted((shop / "policies" / "tests").glob("*.yaml")) for case in read_cases(file)
    ]
    assert len(asked) > 300
    assert sum(not case.allow for case in asked) > sum(case.allow for case in asked) > 60
    assert invoke("test", shop / "policies", "--min-policies", "100", "--min-branches", "100").exit_code == 0
    ci = (shop / ".github" / "workflows" / "ci.yml").read_text()
    assert "run: redoubt policy test policies --min-policies 100" in ci
    assert "run: redoubt policy snapshot . --check" in ci
    assert "fetch-depth: 0" in ci
    assert "BASE: origin/${{ github.base_ref }}" in ci
    (check,) = [line.strip() for line in ci.splitlines() if "policy check" in line]
    assert check.startswith('redoubt policy check "$BASE" HEAD --policies policies $REVIEWED | tee')
    assert "${{" not in check  # no expression in what a shell reads
    assert "REVIEWED: ${{ contains(github.event.pull_request.labels.*.name, 'policy-reviewed')" in ci
    assert "shell: bash #" in ci  # with pipefail
    tools = (shop / "requirements-dev.txt").read_text()
    assert all(f"\n{name}==" in tools for name in ("z3-solver", "cvc5"))  # without them nothing is proven


@pytest.mark.parametrize("name", ["shop", "relay"])
def test_what_is_built_is_laid_out_already(name: str, request: pytest.FixtureRequest) -> None:
    found = invoke("fmt", request.getfixturevalue(name) / "policies", "--check")
    assert (found.exit_code, found.output) == (0, "")


def test_a_changed_decision_fails_until_it_is_approved(mine: Path) -> None:
    assert invoke("snapshot", mine, "--check").exit_code == 0
    spec = mine / "spec.yaml"
    before = (mine / "tests" / "decisions.json").read_text()
    spec.write_text(
        spec.read_text().replace(
            "actions: [Customer.read, Order.ship]", "actions: [Customer.read, Customer.delete, Order.ship]"
        )
    )
    build(spec, mine)
    assert check(spec, mine) == []
    assert (mine / "tests" / "decisions.json").read_text() == before
    asked = invoke("snapshot", mine, "--check")
    assert asked.exit_code == 1
    assert "+ support Customer.delete on other, risk high, fresh passkey" in asked.output
    assert "by Customer.delete:support" in asked.output
    assert "0 denied now" in asked.output
    assert "approve with --approve" in asked.output
    assert invoke("snapshot", mine).exit_code == 0
    assert (mine / "tests" / "decisions.json").read_text() == before
    assert invoke("snapshot", mine, "--approve").exit_code == 0
    assert invoke("snapshot", mine, "--check").exit_code == 0
    approved = json.loads((mine / "tests" / "decisions.json").read_text())
    assert any(
        row["action"] == "Customer.delete" and row["role"] == "support" and row["allowed"] for row in approved
    )
    assert check(spec, mine) == []


@pytest.mark.parametrize("spoilt", [None, "", "[", "{}", "[1]"])
def test_without_an_approved_table_nothing_is_approved(mine: Path, spoilt: str | None) -> None:
    file = mine / "tests" / "decisions.json"
    if spoilt is None:
        file.unlink()
    else:
        file.write_text(spoilt)
    assert invoke("snapshot", mine, "--check").exit_code == 1


def test_the_one_that_checks_does_not_approve(mine: Path) -> None:
    assert invoke("snapshot", mine, "--check", "--approve").exit_code == 2
