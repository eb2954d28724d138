"""Templates and links: a link is the policy that it stands for, to every reader, and every bad one is refused by name."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from typer.testing import CliRunner

from redoubt.authz import versions
from redoubt.authz.decide import Decider
from redoubt.authz.errors import CorruptPolicies, PolicyRejected
from redoubt.authz.models import AuthzRequest, Entity, EntityUid
from redoubt.authz.policyset import (
    PolicySet,
    PolicySource,
    from_body,
    parse,
    parse_folder,
    render_template,
    version_of,
)
from redoubt.authz.prove import compare as compared
from redoubt.cli import app
from redoubt.core.base import Core

SCHEMA = """
entity Team in [Team];
entity User in [Team];
entity Folder in [Folder];
entity Doc in [Folder] { open: Bool };
action read, write appliesTo { principal: [User, Team], resource: [Doc, Folder], context: { risk: Long } };
"""
POLICIES = """
// Whoever something was shared with.
@id("share") @note("ours")
permit (principal == ?principal, action == Action::"read", resource == ?resource) when { context.risk < 50 };
@id("team") permit (principal in ?principal, action, resource is Doc in ?resource);
@id("bar") forbid (principal is User in ?principal, action == Action::"write", resource);
@id("open") permit (principal is User, action == Action::"read", resource is Doc) when { resource.open };
"""


def link(name: str, template: str, principal: str = "", resource: str = "") -> dict[str, Any]:
    args = {"?principal": principal, "?resource": resource}
    return {
        "template_id": template,
        "link_id": name,
        "args": {key: item for key, item in args.items() if item},
    }


SHARED = link("s1", "share", 'User::"ann"', 'Doc::"d1"')
TEAM = link("t1", "team", 'Team::"t"', 'Folder::"f"')
BARRED = link("b1", "bar", 'Team::"out"')


def source(*links: Any, policies: str = POLICIES) -> PolicySource:
    return PolicySource(SCHEMA, {"all.cedar": policies}, links=json.dumps(links))


def request(user: str, action: str, doc: str, *, teams: tuple[str, ...] = (), folders: tuple[str, ...] = (), risk: int = 0,
            opened: bool = False) -> AuthzRequest:  # fmt: skip
    who = Entity("User", user, {}, tuple(EntityUid("Team", one) for one in teams))
    what = Entity("Doc", doc, {"open": opened}, tuple(EntityUid("Folder", one) for one in folders))
    return AuthzRequest.of(who, action, what, {"risk": risk})


def allows(policies: PolicySet, asked: AuthzRequest) -> bool:
    decision = Decider(policies).decide(asked)
    assert not decision.errors
    return decision.allowed


def problems(*links: Any, policies: str = POLICIES) -> list[str]:
    with pytest.raises(PolicyRejected) as caught:
        parse(source(*links, policies=policies))
    return [str(one) for one in caught.value.problems]


def test_a_link_allows_its_own_and_nobody_else() -> None:
    linked = parse(source(SHARED, TEAM, BARRED))
    assert allows(linked, request("ann", "read", "d1"))
    assert not allows(linked, request("ann", "read", "d1", risk=50))
    assert not allows(linked, request("ann", "read", "d2"))
    assert not allows(linked, request("bob", "read", "d1"))
    assert allows(linked, request("bob", "write", "d3", teams=("t",), folders=("f",)))
    assert not allows(linked, request("bob", "write", "d3", teams=("t", "out"), folders=("f",)))
    assert not allows(parse(source()), request("ann", "read", "d1"))
    decision = Decider(linked).decide(request("ann", "read", "d1"))
    assert decision.reasons == ("s1",)
    assert '@template("share")' in linked.texts["s1"]
    assert '@note("ours")' in linked.texts["s1"]


def test_a_version_is_its_links_whatever_their_order_and_a_set_without_them_is_as_before() -> None:
    linked = parse(source(SHARED, TEAM))
    assert parse(source(TEAM, SHARED)).version == linked.version
    assert len({parse(source(*some)).version for some in ((), (SHARED,), (TEAM,), (SHARED, TEAM))}) == 4
    plain = parse(PolicySource(SCHEMA, {"a.cedar": '@id("a") permit (principal, action, resource);'}))
    assert plain.body.keys() == {"schema", "policies"}
    assert linked.body["links"][0] == {
        "id": "s1",
        "template": "share",
        "values": {"?principal": {"type": "User", "id": "ann"}, "?resource": {"type": "Doc", "id": "d1"}},
    }
    assert [item["id"] for item in linked.body["policies"]] == ["open"]
    assert [item["id"] for item in linked.body["templates"]] == ["bar", "share", "team"]


def test_what_is_stored_reads_back_and_a_changed_link_does_not() -> None:
    odd = link("o", "share", 'User::"a \\"q\\" \\\\ \\u{7f} ž"', 'Doc::"d"')
    linked = parse(source(SHARED, odd))
    again = from_body(json.loads(json.dumps(linked.body)), linked.version)
    assert again == linked
    assert again.links == linked.links
    body = json.loads(json.dumps(linked.body))
    body["links"][0]["values"]["?principal"]["id"] = "eve"
    with pytest.raises(CorruptPolicies):
        from_body(body, linked.version)


def test_a_stored_version_keeps_its_links(core: Core) -> None:
    linked = parse(source(SHARED, TEAM))
    core.db.write_sync(lambda tx: versions.genesis(tx, core, linked))
    _, running = core.db.read_sync(lambda tx: versions.running(tx, core, "main"))
    assert running == linked
    assert allows(running, request("ann", "read", "d1"))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (link("x", "nothing", 'User::"a"', 'Doc::"d"'), "there is no template 'nothing'"),
        (link("x", "open"), "there is no template 'open'"),
        (link("open", "share", 'User::"a"', 'Doc::"d"'), "this id stands in all.cedar:"),
        (link("share", "share", 'User::"a"', 'Doc::"d"'), "this id stands in all.cedar:"),
        (link("x", "share", 'User::"a"'), "nothing is given for the slot ?resource"),
        (link("x", "bar", 'Team::"a"', 'Doc::"d"'), "has no slot ?resource"),
        (link("x", "share", 'Nobody::"a"', 'Doc::"d"'), "Nobody"),
        (link("x", "share", 'Doc::"a"', 'Doc::"d"'), ""),
        (link("x", "share", "ann", 'Doc::"d"'), "is no entity"),
        (link("x", "share", 'User::"a", action, resource); permit (principal', 'Doc::"d"'), "is no entity"),
        (link("x", "share", 'User::"a", action, resource) when { true }; //', 'Doc::"d"'), "is no entity"),
        (link("x", "share", "?principal", 'Doc::"d"'), "is no entity"),
        (link("x", "share", 'User::"' + "a" * 3000 + '"', 'Doc::"d"'), "written as"),
        ({**link("x", "share", 'User::"a"', 'Doc::"d"'), "more": 1}, "a link has template_id"),
        ({"template_id": "share", "link_id": "x", "args": {"?other": 'User::"a"'}}, "no slot is called '?other'"),
        ({"template_id": "share", "link_id": "x", "args": {"?principal": 7}}, "written as"),
    ],
)  # fmt: skip
def test_a_bad_link_is_refused_by_its_name(bad: dict[str, Any], says: str) -> None:
    found = problems(SHARED, bad)
    assert all(one.startswith(f"links.json @id({bad['link_id']!r}): ") for one in found)
    assert says in found[0]


@pytest.mark.parametrize("text", ["{", "{}", '"x"', "[1]", '[{"link_id": ""}]', "[" * 100_000])
def test_a_file_that_is_no_list_of_links_is_refused(text: str) -> None:
    with pytest.raises(PolicyRejected, match="links.json"):
        parse(PolicySource(SCHEMA, {"all.cedar": POLICIES}, links=text))


def test_every_problem_is_named_at_once() -> None:
    found = problems(
        SHARED, SHARED, link("x", "gone"), policies=POLICIES + "permit (principal, action, resource);"
    )
    assert ["this id stands in links.json already" in found[1], "no template" in found[2]] == [True, True]
    assert "policy number 5 has no @id" in found[0]


def test_a_template_is_checked_for_what_it_is_linked_to() -> None:
    wrong = (
        '@id("w") permit (principal == ?principal, action == Action::"read", resource) when { context.gone };'
    )
    found = problems(link("x", "w", 'User::"a"'), policies=wrong)
    assert [one.startswith("all.cedar:1 @id('w'): ") and "gone" in one for one in found] == [True]


def compare(old: PolicySet, new: PolicySet) -> str:
    return compared(old, new, budget_seconds=30).verdict


def test_a_link_is_judged_as_the_policy_that_it_stands_for() -> None:
    none, one, barred = parse(source()), parse(source(SHARED)), parse(source(SHARED, BARRED))
    assert compare(none, one) == "wider"
    assert compare(one, none) == "narrower"
    assert compare(one, parse(source(SHARED, policies=POLICIES.replace("< 50", "<= 49")))) == "equal"
    assert compare(barred, one) == "equal"  # nobody may write here: the bar stops nothing
    assert compare(parse(source(TEAM, BARRED)), parse(source(TEAM))) == "wider"
    assert compare(parse(source(TEAM)), parse(source(TEAM, BARRED))) == "narrower"
    within = link("u1", "team", 'Team::"t"', 'Folder::"f"')
    assert compare(parse(source(TEAM)), parse(source(TEAM, within))) == "equal"


def test_links_decide_as_cedars_own_do() -> None:
    """Random links and questions: what we put in a template's place is what the reference engine links."""
    draw = random.Random(7)
    own = {"share": ("User", "Doc"), "team": ("Team", "Folder"), "bar": ("Team", None)}
    outcomes = []
    for _ in range(12):
        links = []
        for number in range(draw.randrange(1, 6)):
            name = draw.choice(sorted(own))
            principal, resource = own[name]
            links.append(
                link(
                    f"l{number}", name, f'{principal}::"{draw.choice("ab")}"',
                    f'{resource}::"{draw.choice("ab")}"' if resource else "",
                )
            )  # fmt: skip
        ours = Decider(parse(source(*links)), shadow_every=1_000_000)
        engine = cedarpy.PolicySet.from_str(POLICIES)
        ids = {str(template.annotations["id"]): key for key, template in engine.to_pst().templates.items()}
        theirs = engine.with_linked_batch(
            [
                {"template_id": ids[item["template_id"]], "new_id": item["link_id"], "values": item["args"]}
                for item in links
            ]
        )
        for _ in range(40):
            asked = request(
                draw.choice("ab"), draw.choice(["read", "write"]), draw.choice("ab"),
                teams=tuple(one for one in "ab" if draw.random() < 0.4),
                folders=tuple(one for one in "ab" if draw.random() < 0.4),
                risk=draw.choice([0, 60]), opened=draw.random() < 0.2,
            )  # fmt: skip
            values = asked.values()
            entities = cedarpy.Entities.from_json_str(json.dumps(values.pop("entities")))
            expected = cedarpy.is_authorized(values, theirs, entities).decision is cedarpy.Decision.Allow
            assert allows_by(ours, asked) == expected
            outcomes.append(expected)
    assert 0.1 < sum(outcomes) / len(outcomes) < 0.9


def allows_by(decider: Decider, asked: AuthzRequest) -> bool:
    decision = decider.decide(asked)
    assert not decision.errors
    return decision.allowed


def test_ten_thousand_links_load_and_only_one_of_them_allows() -> None:
    links = [
        link(f"s{number}", "share", f'User::"u{number}"', f'Doc::"d{number}"') for number in range(10_000)
    ]
    decider = Decider(parse(source(*links)))
    assert decider.decide(request("u7", "read", "d7")).reasons == ("s7",)
    assert not decider.decide(request("u7", "read", "d8")).allowed


def test_links_of_a_folder_and_of_a_commit_are_checked_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "app.cedarschema").write_text(SCHEMA)
    (folder / "all.cedar").write_text(POLICIES)
    (folder / "links.json").write_text(json.dumps([SHARED]))
    for command in (
        ["init", "-q"], ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "one link"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (folder / "links.json").write_text(json.dumps([SHARED, TEAM]))
    assert parse_folder(folder).links[1].id == "t1"
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["policy", "check", "HEAD", "policies"])
    assert done.exit_code != 0
    assert "wider" in done.output
    assert '+@template("team")' in done.output
    assert CliRunner().invoke(app, ["policy", "check", "HEAD", "HEAD"]).exit_code == 0


def judged(text: str) -> bool:
    """Say what Cedar's own validator says of a policy or template as it is written."""
    return bool(cedarpy.validate_policies(text, cedarpy.Schema.from_str(SCHEMA)).validation_passed)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('permit (principal == ?principal, action == Action::"read", resource) when { context.risk < "a" };', "expected Long"),
        ('forbid (principal in ?principal, action, resource in ?resource) when { resource.open };', "open"),
        ('permit (principal == ?principal, action == Action::"read", resource == ?resource) when { resource.open };', "open"),
        ('permit (principal is Doc in ?principal, action, resource);', "applicable action"),
        ('permit (principal is Nobody in ?principal, action, resource);', "Nobody"),
        ('permit (principal, action == Action::"nope", resource in ?resource);', "nope"),
        ('permit (principal in ?principal, action, resource) when { principal.level > 1 };', "level"),
    ],
)  # fmt: skip
def test_a_templates_type_errors_show_without_a_link(text: str, says: str) -> None:
    whole = f'// first\n@id("t") {text}'
    assert not judged(whole)
    found = next(one for one in problems(policies=POLICIES + whole) if says in one)
    line = POLICIES.count("\n") + 2
    assert found.startswith(f"all.cedar:{line} @id('t'): ")
    other = PolicySource(SCHEMA, {"all.cedar": POLICIES, "b.cedar": whole})
    with pytest.raises(PolicyRejected) as caught:
        parse(other)
    assert {(one.file, one.policy_id, one.line) for one in caught.value.problems} == {("b.cedar", "t", 2)}


def some_template(rng: random.Random) -> str:
    """Return a template with scopes and a condition that fit, or do not."""
    principal = rng.choice(
        ("principal", "principal == ?principal", "principal in ?principal", "principal is User in ?principal",
         "principal is Team in ?principal", "principal is Doc in ?principal", 'principal in Team::"t"')
    )  # fmt: skip
    resource = rng.choice(
        ("resource", "resource == ?resource", "resource in ?resource", "resource is Doc in ?resource",
         "resource is Folder in ?resource", 'resource == Doc::"a$0"')
    )  # fmt: skip
    action = rng.choice(("action", 'action == Action::"read"', 'action in [Action::"read", Action::"write"]'))
    leaf = (
        "resource.open", "resource is Doc && resource.open", "context.risk < 5", 'context.risk < "5"', "principal.x",
        'principal in Team::"Slot0"', "context has risk", "resource has open && resource.open", "principal", "1 + true == 2",
        '"?principal" == "?resource"', 'resource in Folder::"?resource"', "if principal is User then true else 1 == 1",
    )  # fmt: skip
    clauses = "".join(
        f" {rng.choice(('when', 'unless'))} {{ {rng.choice(leaf)} }}" for _ in range(rng.choice((0, 1, 2)))
    )
    return f'@id("t") @note("Slot0 ?principal") {rng.choice(("permit", "forbid"))} ({principal}, {action}, {resource}){clauses};'


def test_templates_are_taken_as_cedars_validator_takes_them() -> None:
    taken, refused = 0, 0
    for seed in range(300):
        text = some_template(random.Random(seed))
        expected = judged(text)
        try:
            parse(source(policies=text))
        except PolicyRejected:
            assert not expected, text
            refused += 1
        else:
            assert expected, text
            taken += 1
    assert min(taken, refused) > 60


def test_a_template_reads_back_from_its_json_form_as_it_was_written() -> None:
    for seed in range(100):
        text = some_template(random.Random(seed))
        template = json.loads(cedarpy.policies_to_json_str(text))["templates"].get("policy0")
        if template is not None:
            again = json.loads(cedarpy.policies_to_json_str(render_template(template)))
            assert again["templates"]["policy0"] == template


def test_a_stored_template_from_before_still_reads() -> None:
    """What is stored was checked when it came in, by that version: it is not checked anew by a stricter one."""
    good = parse(source(policies=POLICIES))
    bad = parse(
        source(
            policies='@id("x") permit (principal == ?principal, action == Action::"read", resource is Doc);'
        )
    )
    body = json.loads(json.dumps(good.body))
    template = json.loads(bad.body["templates"][0]["json"])
    template["conditions"] = [{"kind": "when", "body": {".": {"left": {"Var": "principal"}, "attr": "none"}}}]
    body["templates"].append({"id": "x", "json": json.dumps(template, sort_keys=True)})
    again = from_body(body, version_of(body))
    assert "x" in again.templates
