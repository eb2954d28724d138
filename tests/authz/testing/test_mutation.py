"""`redoubt policy mutate`: a mistake that no test notices is told; one that changes no decision is not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cedarpy
import pytest

from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.testing import Outcome, TestsFail, mutants, mutate, read_cases

from .test_policy_files import FULL, GIVEN, POLICIES, SCHEMA, case, invoke

MORE = (
    case("ann", "a", 49, "allow", "own")
    + case("ann", "b", 90, "allow", "open")
    + case("bob", "c", 0, "deny")
    + case("bob", "d", 0, "deny")
)
DOCS = """  - {uid: "Doc::c", attrs: {owner: {__entity: {type: User, id: ann}}, open: false}}
  - {uid: "Doc::d", attrs: {owner: {__entity: {type: User, id: ann}}}}
"""
WHOLE = FULL.replace("tests:\n", f"{DOCS}tests:\n") + MORE


def made(folder: Path, tests: str, policies: str = POLICIES) -> Path:
    (folder / "tests").mkdir(parents=True)
    (folder / "all.cedarschema").write_text(SCHEMA)
    (folder / "all.cedar").write_text(policies)
    (folder / "tests" / "docs.yaml").write_text(tests)
    return folder


def outcome(folder: Path, tests: str, **more: float) -> Outcome:
    file = folder / "docs.yaml"
    file.write_text(tests)
    return mutate(parse(PolicySource(SCHEMA, {"all.cedar": POLICIES})), read_cases(file), **more)


def test_every_kind_of_mistake_is_made_and_each_once() -> None:
    text = (
        '@id("p") permit (principal is User, action == Action::"read", resource is Doc) '
        "when { resource.owner == principal && (context.risk < 50 || resource has open) } unless { false };"
    )
    (policy,) = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
    found = list(mutants({"p": policy}))
    assert Counter(item.kind for item in found) == {
        "removed": 1, "effect flipped": 1, "scope widened": 3, "condition dropped": 3, "condition negated": 3,
        "operator changed": 3, "constant changed": 3, "made true": 2,
    }  # fmt: skip
    assert len({json.dumps(item.policy, sort_keys=True) for item in found}) == len(found)


def test_what_no_test_notices_is_told(tmp_path: Path) -> None:
    found = outcome(tmp_path, FULL, proof_seconds=0)
    told = {(item.policy_id, item.kind, " ".join(item.where.split())) for item in found.missed}
    assert ("open", "condition dropped", "when { resource.open }") in told
    assert ("own", "operator changed", "when { (context.risk) < 50 }") not in told
    assert ("own", "removed", "permit") not in told
    assert len(found.killed) > 10


def test_tests_that_notice_every_mistake_leave_only_what_decides_as_before(tmp_path: Path) -> None:
    found = outcome(tmp_path, WHOLE)
    assert [(item.kind, item.where) for item in found.missed] == []
    # Without `has`, reading an absent attribute is an error, which skips the permit all the same. The schema refuses
    # most of these.
    assert found.refused
    assert not {item.kind for item in found.equivalent} & {"removed", "effect flipped"}


def test_where_nothing_can_be_proven_what_decides_as_before_counts_as_missed(tmp_path: Path) -> None:
    text = POLICIES.replace("context.risk < 50", "context.risk < 50 && context.risk < 60")
    file = tmp_path / "docs.yaml"
    file.write_text(WHOLE)
    policies, cases = parse(PolicySource(SCHEMA, {"all.cedar": text})), read_cases(file)
    redundant = [item for item in mutate(policies, cases).equivalent if "< 60" in item.where]
    assert "condition dropped" in {item.kind for item in redundant}
    unproven = mutate(policies, cases, proof_seconds=0)
    assert all(one in unproven.missed for one in redundant)


def test_tests_that_fail_as_it_is_say_nothing_of_mistakes(tmp_path: Path) -> None:
    with pytest.raises(TestsFail, match="bob a 0"):
        outcome(tmp_path, GIVEN + case("bob", "a", 0, "allow"))


def test_the_command_ends_with_1_for_what_is_missed_and_looks_at_changes_only(tmp_path: Path) -> None:
    folder = made(tmp_path / "policies", FULL)
    result = invoke("mutate", folder)
    assert result.exit_code == 1
    assert "missed: open: condition dropped: when { resource.open }" in result.output
    base = made(tmp_path / "base", FULL, POLICIES.replace("risk < 50", "risk < 40"))
    changed = invoke("mutate", folder, "--changed", base)
    assert "open:" not in changed.output
    assert invoke("mutate", made(tmp_path / "whole", WHOLE)).exit_code == 0
    (folder / "tests" / "docs.yaml").unlink()
    assert invoke("mutate", folder).exit_code == 1
