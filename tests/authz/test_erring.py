"""A forbid that may come to an error fails open, so a set that has one is refused, by name and line."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import cedarpy
import pytest
from typer.testing import CliRunner

from redoubt.authz.decide import Decider
from redoubt.authz.erring import risky
from redoubt.authz.errors import PolicyRejected
from redoubt.authz.lines import first_lines
from redoubt.authz.models import AuthzRequest, Entity
from redoubt.authz.policyset import PolicySource, from_body, parse, unchecked
from redoubt.authz.prove import Unsupported
from redoubt.authz.prove.bounds import bound
from redoubt.authz.prove.compiler import Compiler
from redoubt.authz.prove.solve import solve
from redoubt.authz.prove.world import World
from redoubt.authz.schema import read_schema
from redoubt.cli.policy import app
from tests.authz import corpus

SCHEMA = """
entity User { level: Long };
entity Doc { size: Long, due?: datetime };
action read appliesTo { principal: User, resource: Doc, context: { more: Long } };
"""
PERMIT = '@id("all") permit (principal, action, resource);\n'
OPENS = (
    PERMIT
    + '// the limit; do not touch\n\n@id("limit")\nforbid (principal, action, resource)\n'
    + "when { resource.size + context.more > 100 };\n"
)
BOUNDED = OPENS.replace(
    "resource.size +",
    "resource.size > 100 || context.more > 100 || resource.size < 0 || context.more < 0 || resource.size +",
)


def source(text: str) -> PolicySource:
    return PolicySource(SCHEMA, {"app.cedar": text})


def test_why_it_is_refused_the_forbid_is_skipped_where_it_matters_most() -> None:
    policies = unchecked({"all": _est(PERMIT), "limit": _est(OPENS.removeprefix(PERMIT))}, SCHEMA)
    user = Entity("User", "u", {"level": 1})

    def asked(more: int) -> bool:
        request = AuthzRequest.of(user, "read", Entity("Doc", "d", {"size": 90}), {"more": more})
        return Decider(policies).decide(request).allowed

    assert not asked(50)
    assert asked(2**63 - 1)  # the sum overflows, the forbid errs, and what it should stop passes


def test_a_forbid_that_may_err_is_refused_with_its_name_its_line_and_the_reason() -> None:
    with pytest.raises(PolicyRejected) as caught:
        parse(source(OPENS))
    (problem,) = caught.value.problems
    assert (problem.file, problem.policy_id, problem.line) == ("app.cedar", "limit", 4)
    assert str(problem).startswith("app.cedar:4 @id('limit'): this forbid may come to an error (+:")
    assert "what it should stop would pass" in str(problem)


@pytest.mark.parametrize(
    "body",
    [
        "context.more * 2 > 1",
        "-resource.size > 1",
        'resource has due && resource.due.offset(duration("1h")) > datetime("2026-01-01")',
        'resource has due && resource.due.durationSince(datetime("1960-01-01")) > duration("1h")',
    ],
)
def test_every_operator_that_can_overflow_is_looked_at(body: str) -> None:
    with pytest.raises(PolicyRejected):
        parse(source(PERMIT + f'@id("limit") forbid (principal, action, resource) when {{ {body} }};'))


def test_a_bounded_sum_a_permit_that_errs_and_plain_forbids_pass() -> None:
    assert set(parse(source(BOUNDED)).texts) == {"all", "limit"}
    parse(source(OPENS.replace("forbid", "permit")))
    parse(
        source(
            PERMIT + '@id("x") forbid (principal, action, resource) when { context.more > resource.size };'
        )
    )


def test_what_cannot_be_decided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redoubt.authz.prove.engine", None)
    other = BOUNDED.replace("100", "101")  # no answer of an earlier test fits
    with pytest.raises(PolicyRejected):
        parse(source(other))
    parse(source(PERMIT + '@id("x") forbid (principal, action, resource) when { context.more > 7 };'))


def test_a_stored_set_is_not_put_to_the_solvers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = parse(source(BOUNDED))
    monkeypatch.setattr("redoubt.authz.policyset.forbid_that_errs", lambda *_: pytest.fail("asked"))
    assert from_body(stored.body, stored.version).version == stored.version


def test_policy_check_refuses_such_a_set(tmp_path: Path) -> None:
    for name, text in (("a", PERMIT), ("b", OPENS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.cedar").write_text(text)
        (tmp_path / name / "app.cedarschema").write_text(SCHEMA)
    done = CliRunner().invoke(app, ["check", str(tmp_path / "a"), str(tmp_path / "b")])
    assert done.exit_code == 1
    assert isinstance(done.exception, PolicyRejected)


def test_a_policy_too_deep_for_the_engine_is_refused_in_our_words() -> None:
    deep = " && ".join(f'principal == User::"{number}"' for number in range(90))
    with pytest.raises(PolicyRejected) as caught:
        parse(source(f'@id("deep") permit (principal, action, resource) when {{ {deep} }};'))
    assert caught.value.problems[0].policy_id == "deep"


def test_lines_are_found_past_comments_text_and_annotations() -> None:
    text = (
        '// a; b\n@id("a;//") permit (principal, action, resource) when { "x;\\"y" == "z" };\n\n'
        '@note("two\nlines") @id("b")\nforbid (principal, action, resource); @id("c") permit (principal, action, resource);'
    )
    cedarpy.policies_to_json_str(text)
    assert first_lines(text) == [2, 4, 6]
    assert first_lines("// nothing; here\n") == []


def test_no_policy_of_the_corpus_that_looks_fine_can_err() -> None:
    """The short way out is sound: the solvers find no error where there is no risky operator."""
    looked = 0
    for case in corpus.cases(every=40):
        if not case.should_validate:
            continue
        schema = read_schema(case.schema)
        for item in bound(unchecked(case.policies, case.schema)).values():
            for environment in schema.environments():
                world = World(schema)
                try:
                    got = Compiler(world, schema, environment).policy(item.policy, item.slots)
                except Unsupported:
                    continue
                if item.applies(schema, environment) and not risky(item.policy):
                    looked += 1
                    asked = solve([got.errs, *world.close()], time.monotonic() + 10)
                    assert asked.possible is False, (case.name, asked.why)
    assert looked >= 100


def _est(text: str) -> dict[str, object]:
    (policy,) = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
    found: dict[str, object] = policy
    return found


def test_a_template_too_deep_for_the_engine_is_refused_in_our_words() -> None:
    deep = " && ".join(f'principal == User::"{number}"' for number in range(90))
    with pytest.raises(PolicyRejected) as caught:
        parse(source(f'@id("deep") permit (principal == ?principal, action, resource) when {{ {deep} }};'))
    assert caught.value.problems[0].policy_id == "deep"
