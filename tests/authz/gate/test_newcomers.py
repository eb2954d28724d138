"""What is new existed in no stored version, stays inside the invariants, and is shown as a table by role and name."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from redoubt.authz.access import AccessModel, Action, Allow, ResourceType
from redoubt.authz.changes import propose, rehearse
from redoubt.authz.errors import PolicyRejected
from redoubt.authz.gate import PoliciesRefused, breach_refusals, judge, tables
from redoubt.authz.models import Caller
from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.prove import Comparison, Unsupported
from redoubt.authz.prove.logic import FALSE
from redoubt.authz.prove.replay import allows
from redoubt.authz.rules import compile_schema
from redoubt.cli.policy import app
from redoubt.cli.policy_proposals import evidence_lines
from redoubt.core.base import Core

from ..model import SHOP, policies, source
from .world import ANN, approve, begin, head

NOTE = ResourceType("Note", owner=True)


def shop(*allow: Allow, more: str = "", beyond: str = "", notes: bool = True) -> PolicySet:
    """The shop with notes, which no version had; `more` is policy text, `beyond` what Note.read goes outside of."""
    model = SHOP
    if notes:
        model = AccessModel(
            SHOP.roles, (*SHOP.resources, NOTE), (*SHOP.actions, Action("Note.read", "Note", allow=allow))
        )
    given = source(model)
    schema = given.schema
    if beyond:
        schema = schema.replace('action "Note.read"', f'@outside("{beyond}")\naction "Note.read"')
    return parse(PolicySource(schema, {**given.policies, "zmore.cedar": more}))


SHOWN = shop(Allow("customer", owner=True), Allow("support"))


def verdicts(found: Comparison) -> dict[tuple[str, str], str]:
    return {
        (item.environment.principal, item.environment.action.id): item.verdict
        for item in found.environments
        if item.verdict != "equal"
    }


def judged(new: PolicySet, old: PolicySet | None = None) -> Comparison:
    return judge(old or policies(), new, budget_seconds=30)


def test_what_no_version_had_is_new_where_somebody_may_and_nothing_elsewhere() -> None:
    assert verdicts(judged(SHOWN)) == {("User", "Note.read"): "new"}
    assert verdicts(judged(shop())) == {}  # an action that nothing permits


def test_an_old_permit_that_reaches_it_is_wider_also_when_it_was_touched() -> None:
    every = '@id("all") permit (principal in Role::"operator", action, resource) when {{ principal.tenant == resource.tenant && {} }};'
    base = shop(more=every.format("context.risk < 5"), notes=False)
    for condition in ("context.risk < 5", "context.risk < 4"):
        found = judged(shop(Allow("customer", owner=True), more=every.format(condition)), base)
        assert verdicts(found)["User", "Note.read"] == "wider"
        (witness,) = [item.witness for item in found.environments if item.verdict == "wider"]
        assert witness is not None


def test_an_old_permit_that_reaches_it_through_a_group_is_wider() -> None:
    def build(more: str = "") -> PolicySet:
        schema = f"""
        entity Role; entity User in [Role]; entity Doc; entity Note;
        action reading;
        action readDoc in [reading] appliesTo {{ principal: User, resource: Doc, context: {{}} }};
        {more}
        """
        text = '@id("r") permit (principal in Role::"a", action in Action::"reading", resource);'
        return parse(PolicySource(schema, {"a.cedar": text}))

    note = "action readNote in [reading] appliesTo { principal: User, resource: Note, context: {} };"
    assert verdicts(judged(build(note), build())) == {("User", "readNote"): "wider"}


@pytest.mark.parametrize(
    ("allow", "more", "beyond", "rule"),
    [
        ((Allow("support", tenant=False),), "", "", "tenant"),
        ((Allow("public"),), "", "", "nobody"),
        (
            (),
            '@id("x") permit (principal is User, action == Action::"Note.read", resource is Note);',
            "",
            "tenant",
        ),
        (
            (),
            '@id("x") permit (principal, action == Action::"Note.read", resource is Note)'
            " when { principal.tenant == resource.tenant || context.step_up };",
            "nobody",
            "tenant",
        ),
    ],
)
def test_outside_of_an_invariant_it_is_refused_with_a_request_that_shows_it(
    allow: tuple[Allow, ...], more: str, beyond: str, rule: str
) -> None:
    new = shop(*allow, more=more, beyond=beyond)
    if allow:
        new = parse(
            PolicySource(
                new.schema_text.replace(f'@outside("{rule}")', ""), {"a.cedar": "\n".join(new.texts.values())}
            )
        )
    refused = [item for item in breach_refusals(judged(new)) if item.message.endswith(rule)]
    assert refused
    for breach in judged(new).breaches:
        assert allows(breach.witness, new.engine, new.schema) is True
        assert breach.environment.action.id == "Note.read"
    lawful = parse(
        PolicySource(
            new.schema_text.replace(
                'action "Note.read"', '@outside("tenant, nobody")\naction "Note.read"'
            ).replace('@outside("nobody")\n@outside', "@outside"),
            {"a.cedar": "\n".join(new.texts.values())},
        )
    )
    assert breach_refusals(judged(lawful)) == []
    assert "new" in verdicts(judged(lawful)).values()


def test_what_a_spec_says_of_the_public_and_of_all_tenants_stands_in_the_schema() -> None:
    assert breach_refusals(judged(shop(Allow("public")))) == []
    assert breach_refusals(judged(shop(Allow("support", tenant=False)))) == []
    text = compile_schema(SHOP)
    assert '@outside("nobody")\naction "Product.read"' in text
    assert '@outside("nobody")\naction "Order.read"' not in text


INVARIANT = (
    '@id("no-refund-without-a-key") @invariant("a refund takes a fresh passkey")'
    ' forbid (principal, action == Action::"Payment.refund", resource) unless { context.step_up };'
)
LOOSE = '@id("x") permit (principal in Role::"support", action == Action::"Payment.refund", resource is Payment) when { principal.tenant == resource.tenant };'


def test_a_declared_invariant_is_one_that_no_permit_reaches() -> None:
    inside = shop(more=INVARIANT, notes=False)
    assert breach_refusals(judged(inside)) == []
    outside = shop(more=INVARIANT + LOOSE, notes=False)
    found = judged(outside, inside)
    (refused,) = breach_refusals(found)
    assert "no-refund-without-a-key (a refund takes a fresh passkey)" in refused.message
    (breach,) = found.breaches
    assert allows(breach.witness, outside.engine, outside.schema) is False  # the forbid holds it at run time
    kept = parse(PolicySource(outside.schema_text, {"a.cedar": LOOSE}))
    assert allows(breach.witness, kept.engine, kept.schema) is True


def test_an_invariant_that_is_called_like_a_standing_one_takes_nothing_from_it() -> None:
    decoy = (
        '@id("tenant") @invariant forbid (principal, action, resource) when { context.risk > 100 };'
        '@id("nobody") @invariant forbid (principal, action, resource) when { context.risk > 100 };'
    )
    found = judged(shop(more=decoy + OUTSIDE))
    assert "tenant" in {item.rule for item in found.breaches}


def test_a_new_resource_without_a_tenant_is_outside_where_people_have_one() -> None:
    given = source()
    text = '@id("x") permit (principal in Role::"support", action == Action::"Memo.read", resource is Memo);'
    schema = given.schema.replace("{", "{{").replace("}", "}}") + (
        'entity Memo;\n{}action "Memo.read" appliesTo {{ principal: [User], resource: [Memo], context: {{}} }};'
    )
    new, said = (
        parse(PolicySource(schema.format(note), {**given.policies, "z.cedar": text}))
        for note in ("", '@outside("tenant") ')
    )
    assert {item.rule for item in judged(new).breaches} == {"tenant"}
    assert verdicts(judged(said)) == {("User", "Memo.read"): "new"}
    assert judged(said).breaches == ()


def test_an_invariant_is_a_forbid() -> None:
    with pytest.raises(PolicyRejected, match="is a forbid"):
        shop(more=LOOSE.replace('@id("x")', '@id("x") @invariant'), notes=False)


def test_an_invariant_that_is_taken_away_or_gone_beyond_waits_for_a_second_person(core: Core) -> None:
    approvals = begin(core, shop(more=INVARIANT, notes=False))
    gone = propose(core, approvals, policies(), author=ANN, ticket="T")
    assert gone.verdict.verdict == "equal"
    assert gone.verdict.evidence["invariants"] == ["no-refund-without-a-key"]
    assert gone.approval is not None
    beyond = source()
    schema = beyond.schema.replace('action "Order.read"', '@outside("nobody")\naction "Order.read"')
    found = propose(
        core,
        approvals,
        parse(PolicySource(schema, {**beyond.policies, "i.cedar": INVARIANT})),
        author=ANN,
        ticket="T",
    )
    assert found.verdict.evidence["invariants"] == ["Order.read (@outside)"]
    assert found.approval is not None


def test_what_is_not_proven_to_be_inside_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(*given: object) -> None:
        raise Unsupported("out of time")

    monkeypatch.setattr("redoubt.authz.prove.invariants.solve", gives_up)
    found = judged(SHOWN)
    assert verdicts(found) == {("User", "Note.read"): "unknown"}
    (item,) = [item for item in found.environments if item.verdict == "unknown"]
    assert "not proven to keep tenant" in item.reason


def test_a_proposal_outside_of_an_invariant_is_not_stored(core: Core) -> None:
    approvals = begin(core)
    bad = shop(more='@id("x") permit (principal is User, action == Action::"Note.read", resource is Note);')
    with pytest.raises(PoliciesRefused, match="invariant tenant"):
        propose(core, approvals, bad, author=ANN, ticket="T")
    with pytest.raises(PoliciesRefused):
        rehearse(core, bad)
    assert head(core) == policies().version


def test_an_access_that_was_removed_is_not_new_when_it_comes_back(core: Core) -> None:
    approvals = begin(core)
    request = propose(core, approvals, SHOWN, author=ANN, ticket="T").approval
    assert request is not None
    assert request.dry_run["verdict"] == "new"
    approve(core, approvals, request)
    assert propose(core, approvals, policies(), author=ANN).approval is None  # it is taken away at once
    narrow = parse(PolicySource(SHOWN.schema_text, {"a.cedar": "\n".join(
        text for name, text in SHOWN.texts.items() if name != "Note.read:support"
    )}))  # fmt: skip
    more = shop(Allow("customer"), Allow("support"))
    for again, against in ((SHOWN, "equal"), (narrow, "narrower"), (more, "wider")):
        back = propose(core, approvals, again, author=ANN, ticket="T")
        (finding,) = back.verdict.evidence["findings"]
        assert back.approval is not None
        assert back.verdict.verdict == finding["verdict"] == "wider"
        assert (
            f"it was removed; against the last version that had it ({SHOWN.version[:12]}) it is {against}"
            in finding["message"]
        )
        assert finding["witness"] is not None
    nothing, _ = rehearse(core, shop())
    assert nothing.verdict == "equal"


PEOPLE = [
    Caller("u1", "main", {"customer"}).principal(),
    Caller("u2", "main", {"support"}).principal(),
    Caller("u3", "main", {"operator"}).principal(),
    Caller("u4", "main").principal(),
]


def test_the_table_says_by_role_who_may_and_names_who_gets_in(core: Core) -> None:
    approvals = begin(core)
    proposed = propose(core, approvals, SHOWN, author=ANN, ticket="T", directory=lambda tx: PEOPLE)
    (table,) = proposed.verdict.evidence["tables"]
    assert table["where"] == "Note.read · Note"
    rows = {row["who"]: (list(row["cells"].values()), row["ids"]) for row in table["rows"]}
    assert rows["customer"] == (["may", "never", "never"], ["u1"])
    assert rows["support"] == (["may", "may", "never"], ["u2"])
    assert rows["operator"] == (["never", "never", "never"], [])
    assert rows["no role"] == (["never", "never", "never"], [])
    assert rows["nobody (not logged in)"] == (["none", "never", "never"], [])
    lines = list(evidence_lines(proposed.verdict.evidence, proposed.difference, {"u2": "sue@example.org"}))
    assert any(line.split() == ["support", "may", "may", "-", "sue@example.org"] for line in lines)


def test_the_table_shows_the_public_and_other_tenants() -> None:
    new = shop(Allow("public"), Allow("support", tenant=False))
    (table,) = tables(new, judged(new))
    rows = {row["who"]: list(row["cells"].values()) for row in table["rows"]}
    assert rows["nobody (not logged in)"] == ["none", "may", "never"]
    assert rows["support"] == ["may", "may", "may"]
    assert rows["customer"] == ["may", "may", "never"]


def test_out_of_time_a_cell_is_not_known() -> None:
    (table,) = tables(SHOWN, judged(SHOWN), seconds=0)
    assert {cell for row in table["rows"] for cell in row["cells"].values()} == {"unknown"}


def write(folder: Path, wanted: PolicySet) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "app.cedarschema").write_text(wanted.schema_text)
    (folder / "app.cedar").write_text("\n".join(wanted.texts.values()))
    return folder


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_the_check_shows_the_table_and_refuses_what_is_outside(tmp_path: Path) -> None:
    base, new = write(tmp_path / "base", policies()), write(tmp_path / "new", SHOWN)
    said = run(base, new)
    assert said.exit_code == 3
    assert "who may, at Note.read · Note:" in said.stdout
    plain = json.loads(run(base, new, "--format", "json").stdout)
    assert (plain["verdict"], plain["tables"][0]["where"]) == ("new", "Note.read · Note")
    log = json.loads(run(base, new, "--format", "sarif").stdout)["runs"][0]
    (result,) = log["results"]
    assert result["ruleId"] == "policy-new"
    assert result["properties"]["table"]["columns"] == ["owner", "other", "other tenant"]
    bad = shop(more='@id("x") permit (principal is User, action == Action::"Note.read", resource is Note);')
    refused = run(base, write(tmp_path / "bad", bad), "--reviewed")
    assert refused.exit_code == 1
    assert "it goes beyond the invariant tenant" in refused.stdout
    assert "policy-invariant" in run(base, tmp_path / "bad", "--format", "sarif").stdout


def test_commits_before_the_base_are_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"GIT_{who}_{what}": "a@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", *arguments], cwd=tmp_path, env={**os.environ, **names}, check=True, capture_output=True
        )

    git("init", "-q")
    for wanted in (SHOWN, policies(), SHOWN):
        write(tmp_path / "policies", wanted)
        git("add", "-A")
        git("commit", "-q", "-m", "policies")
    monkeypatch.chdir(tmp_path)
    back = run("HEAD~1", "HEAD")
    assert back.exit_code == 3
    assert "it was removed; against the last version that had it" in back.stdout
    assert run("HEAD", "HEAD~1").exit_code == 0


OUTSIDE = '@id("x") permit (principal is User, action == Action::"Note.read", resource is Note);'


def test_without_the_invariants_what_is_outside_only_waits(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redoubt.authz.prove.invariants.held", lambda verdicts, *given: (verdicts, ()))
    assert propose(core, begin(core), shop(more=OUTSIDE), author=ANN, ticket="T").approval is not None


def test_without_the_earlier_versions_what_comes_back_looks_new(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    approvals = begin(core, SHOWN)
    propose(core, approvals, policies(), author=ANN)
    assert rehearse(core, SHOWN)[0].verdict == "wider"
    monkeypatch.setattr("redoubt.authz.changes.earlier_sets", lambda *given: {})
    assert rehearse(core, SHOWN)[0].verdict == "new"


def test_without_older_permits_what_they_reach_looks_new(monkeypatch: pytest.MonkeyPatch) -> None:
    every = '@id("all") permit (principal in Role::"operator", action, resource) when { principal.tenant == resource.tenant };'
    base, new = shop(more=every, notes=False), shop(Allow("customer", owner=True), more=every)
    assert verdicts(judged(new, base))["User", "Note.read"] == "wider"
    monkeypatch.setattr("redoubt.authz.prove.engine._Query._reach", lambda self, item, theirs: FALSE)
    assert verdicts(judged(new, base))["User", "Note.read"] == "new"
