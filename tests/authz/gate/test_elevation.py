"""Nobody gives themselves by a granted write what they lacked: attacks are shown and refused, their honest twins pass."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from typer.testing import CliRunner

from redoubt.authz.decide import Decider
from redoubt.authz.gate import elevation as module
from redoubt.authz.gate import elevation_refusals, judged_writes, problems
from redoubt.authz.models import AuthzRequest, Entity, EntityUid
from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.prove.elevation import elevates, elevations
from redoubt.authz.prove.writes import Witness
from redoubt.authz.schema import read_schema
from redoubt.cli.policy import app

from ..model import policies

SCHEMA = """
entity Org;
{team}entity Team in [Org] {{ open: Bool }};
entity Service, App;
{user}entity User in [Team] {{ level: Long, ok: Bool, away?: Bool, marks: Set<String>, boss?: User, home: {{ city: String }} }} tags String;
entity Doc {{ owner: User, need: Long }};
action read, edit appliesTo {{ principal: [User, Service], resource: Doc, context: {{ risk: Long }} }};
action promote appliesTo {{ principal: [User, Service], resource: User, context: {{ risk: Long }} }};
action join appliesTo {{ principal: [User, Service], resource: Team, context: {{ risk: Long }} }};
action "import" in ["manage"] appliesTo {{ principal: [User, Service], resource: App, context: {{ risk: Long }} }};
action manage;
"""


def build(*texts: str, user: str = "", team: str = "") -> PolicySet:
    notes = {"user": user and f'@grant("{user}")\n', "team": team and f'@grant("{team}")\n'}
    joined = "\n".join(f'@id("p{number}") {text}' for number, text in enumerate(texts))
    return parse(PolicySource(SCHEMA.format(**notes), {"a.cedar": joined}))


def may(action: str, when: str = "true", who: str = "principal is User") -> str:
    return f'permit ({who}, action == Action::"{action}", resource) when {{ {when} }};'


@frozen
class Attack:
    """A permit or forbid that reads something, how the schema grants its write, and a twin by which nobody gains."""

    name: str
    reads: tuple[str, ...]
    permitted: str
    twin: str
    user: str = "by promote"
    team: str = ""


SELF, OTHERS = may("promote"), may("promote", "principal != resource")
BY_SERVICE = may("promote", who="principal is Service")
ATTACKS = [
    Attack("a flag", (may("read", "principal.ok"),), SELF, OTHERS),
    Attack("a flag, lowered", (may("read", "!principal.ok"),), SELF, OTHERS),
    Attack("a number", (may("read", "principal.level > 3"),), SELF, BY_SERVICE),
    Attack("a set", (may("read", 'principal.marks.contains("x")'),), SELF, OTHERS),
    Attack("a set, emptied", (may("read", "principal.marks.isEmpty()"),), SELF, OTHERS),
    Attack("a record", (may("read", 'principal.home.city == "x"'),), SELF, OTHERS),
    Attack("what may be missing", (may("read", "principal has away"),), SELF, OTHERS),
    Attack("what may be missing, taken away", (may("read", "!(principal has away)"),), SELF, OTHERS),
    Attack("a tag", (may("read", 'principal.hasTag("a") && principal.getTag("a") == "x"'),), SELF, OTHERS),
    Attack(
        "a tag whose name is data",
        (may("read", 'principal.hasTag(principal.home.city)'),), SELF, OTHERS,
    ),
    Attack("a group", (may("read", 'principal in Team::"x"'),), SELF, OTHERS),
    Attack("a group of a group", (may("read", 'principal in Org::"x"'),), SELF, BY_SERVICE),
    Attack(
        "a suspension, lifted",
        (may("read"), 'forbid (principal in Team::"suspended", action == Action::"read", resource);'),
        SELF,
        OTHERS,
    ),
    Attack(
        "a forbid by a number",
        (may("read"), 'forbid (principal is User, action == Action::"read", resource) when { principal.level < 3 };'),
        SELF,
        may("promote", "principal.level >= 3 && principal != resource"),
    ),
    Attack(
        "of who owns the resource",
        (may("read", "resource.owner.level > 3"),),
        OTHERS,
        may("promote", who="principal is Service"),
    ),
    Attack(
        "of whom I refer to",
        (may("read", "principal has boss && principal.boss.ok"),),
        OTHERS,
        may("promote", "!(resource has boss) && false"),
    ),
    Attack(
        "whom I refer to",
        (may("read", "principal has boss && principal.boss.ok"),),
        SELF,
        may("promote", "principal == resource && principal has boss && false"),
    ),
    Attack(
        "of my group",
        (may("read", 'principal in Team::"x" && Team::"x".open'),),
        may("join"),
        may("join", "false"),
        user="",
        team="by join",
    ),
    Attack(
        "my group's edge",
        (may("read", 'principal in Org::"x"'),),
        may("join"),
        may("join", 'principal in Org::"x"'),
        user="",
        team="by join",
    ),
    Attack(
        "the write itself",
        (may("edit", "principal.ok"), may("promote", "principal.ok")),
        may("promote", "principal.level > 3"),
        may("promote", "principal.ok && principal.level > 3"),
    ),
    Attack(
        "joining what gives",
        (may("read", 'principal in Team::"x"'),),
        may("join"),
        may("join", 'resource != Team::"x"'),
        user="by join",
    ),
    Attack(
        "joining what gives through its group",
        (may("read", 'principal in Org::"x"'),),
        may("join", 'resource != Team::"x"'),
        may("join", '!(resource in Org::"x")'),
        user="by join",
    ),
    Attack(
        "leaving what stops",
        (may("read", '!(principal in Team::"x")'),),
        may("join"),
        may("join", '!(resource == Team::"x")'),
        user="by join",
    ),
    Attack(
        "on something else",
        (may("read", "principal.ok"),),
        may("import"),
        may("import", "principal.ok"),
        user="by import",
    ),
    Attack(
        "by a group of actions",
        (may("read", "principal.ok"),),
        may("import"),
        may("import", "principal.ok"),
        user="by manage",
    ),
    Attack(
        "by one of several",
        (may("read", "principal.ok"), OTHERS),
        may("import"),
        may("import", "false"),
        user="by promote, import",
    ),
    Attack(
        "two inputs at once, the second while the first takes the permission away",
        (may("read", "principal.ok && principal.level > 3"),),
        may("promote", "principal == resource && !principal.ok && principal.level == 0"),
        may("promote", "principal == resource && principal.ok && principal.level > 3"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda item: item.name)
def test_an_attack_is_shown_on_the_reference_engine_and_its_twin_passes(attack: Attack) -> None:
    bad = build(*attack.reads, attack.permitted, user=attack.user, team=attack.team)
    (found,) = elevations(bad, read_schema(bad.schema_text), judged_writes(bad), 20)
    assert found.witness is not None, found.reason
    assert elevates(bad, found.witness)
    assert _differs_only_as_granted(bad, found.witness)
    (refused,) = elevation_refusals(bad, budget_seconds=20)
    assert refused.rule == "self-elevation"
    assert refused.lines
    good = build(*attack.reads, attack.twin, user=attack.user, team=attack.team)
    assert judged_writes(good)
    assert elevation_refusals(good, budget_seconds=20) == []


def _differs_only_as_granted(policies: PolicySet, found: Witness) -> bool:
    writes = {item.action: item for item in judged_writes(policies)}
    inputs = writes[found.permitted.action].inputs
    before = {item.uid: item for item in found.gained.entities}
    assert found.permitted.entities == found.gained.entities
    for new in found.written:
        old, granted = before[new.uid], inputs[new.type]
        changed = {name for name in {*old.attrs, *new.attrs} if old.attrs.get(name) != new.attrs.get(name)}
        assert changed <= granted.attributes
        tags = {name for name in {*old.tags, *new.tags} if old.tags.get(name) != new.tags.get(name)}
        assert tags <= granted.tags or "*" in granted.tags
        edges = {*old.parents} ^ {*new.parents}
        assert {edge.type for edge in edges} <= granted.edges
        if found.permitted.resource.type in granted.edges:
            assert edges <= {found.permitted.resource}
        if found.permitted.resource.type == new.type:
            assert new.uid == found.permitted.resource
    return True


def test_one_action_that_writes_two_kinds_of_edges_is_judged_for_both_together() -> None:
    """I join a team that is in nothing, while the same action puts that team into what gives."""
    read = may("read", 'principal in Org::"x" && principal in Team::"t"')
    writer = may("join", 'resource == Team::"t" && !(principal in Team::"t")')
    bad = build(read, writer, user="by join", team="by join")
    assert len(elevation_refusals(bad, budget_seconds=20)) == 1
    good = build(read, may("join", 'resource == Team::"u"'), user="by join", team="by join")
    assert elevation_refusals(build(read, may("join", "false"), user="by join", team="by join")) == []
    assert elevation_refusals(good, budget_seconds=20) != []  # who is in t and u gains by what u is put into


def test_what_a_witness_says_is_what_is_replayed() -> None:
    bad = build(may("read", "principal.ok"), SELF, user="by promote")
    (found,) = elevations(bad, read_schema(bad.schema_text), judged_writes(bad), 20)
    assert found.witness is not None
    assert not elevates(bad, evolve(found.witness, written=()))
    harmless = evolve(found.witness, written=tuple(
        item for item in found.witness.gained.entities if item.uid == found.witness.written[0].uid
    ))  # fmt: skip
    assert not elevates(bad, harmless)


def test_sources_promises_and_the_librarys_own_action_need_no_proof() -> None:
    read = may("read", "principal.ok")
    assert judged_writes(policies()) == []
    assert elevation_refusals(policies()) == []
    for user in ("by sign-up, request", "by import (new)", "by import (approved), promote (new)"):
        assert judged_writes(build(read, may("import"), SELF, user=user)) == []
        assert problems(build(read, may("import"), user=user)) == []
    assert judged_writes(build(read, may("import"), user="")) == []
    assert problems(build(read, user="by import (maybe)")) != []


def test_a_promise_beside_a_name_without_one_is_none() -> None:
    text = SCHEMA.format(user='@grant("by promote (new)")\n', team="").replace(
        "ok: Bool", '@grant("by promote") ok: Bool'
    )
    found = parse(PolicySource(text, {"a.cedar": f'@id("a") {may("read", "principal.ok")}\n@id("b") {SELF}'}))
    assert len(elevation_refusals(found, budget_seconds=20)) == 1


def test_an_action_that_has_the_name_of_a_source_is_judged() -> None:
    text = SCHEMA.format(user='@grant("by sign-up")\n', team="").replace("promote", '"sign-up"')
    own = parse(
        PolicySource(text, {"a.cedar": f'@id("a") {may("read", "principal.ok")}\n@id("b") {may("sign-up")}'})
    )
    assert len(elevation_refusals(own, budget_seconds=20)) == 1
    enrol = text.replace("sign-up", "Enrolment.create")
    mine = parse(
        PolicySource(
            enrol, {"a.cedar": f'@id("a") {may("read", "principal.ok")}\n@id("b") {may("Enrolment.create")}'}
        )
    )
    assert len(elevation_refusals(mine, budget_seconds=20)) == 1


@pytest.mark.parametrize("how", ["time", "solver", "broken", "unsupported", "disagreement"])
def test_what_is_not_proven_is_refused(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = build(may("read", "principal.ok"), OTHERS, user="by promote")
    monkeypatch.setattr(module, "_proven", type(module._proven)())
    seconds = 20.0
    match how:
        case "time":
            seconds = 0.0
        case "solver":
            monkeypatch.setitem(sys.modules, "redoubt.authz.prove.elevation", None)
        case "broken":
            monkeypatch.setattr("redoubt.authz.prove.elevation.elevations", lambda *given: 1 / 0)
        case "unsupported":
            texts = (may("read", 'principal.marks.contains(["a"]) && principal.ok'), OTHERS)
            odd = SCHEMA.replace("marks: Set<String>", "marks: Set<Set<String>>")
            joined = "\n".join(f'@id("p{number}") {text}' for number, text in enumerate(texts))
            good = parse(
                PolicySource(odd.format(user='@grant("by promote")\n', team=""), {"a.cedar": joined})
            )
        case "disagreement":
            monkeypatch.setattr("redoubt.authz.prove.solve._second", lambda text, milliseconds: "sat")
    refused = elevation_refusals(good, budget_seconds=seconds)
    assert refused
    assert all("not proven" in item.message for item in refused)


def test_a_proof_is_kept_by_content_and_a_doubt_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    good = build(
        may("read", "principal.ok"), may("promote", "principal != resource && true"), user="by promote"
    )
    monkeypatch.setattr(module, "_proven", type(module._proven)())
    assert elevation_refusals(good, budget_seconds=0) != []
    assert elevation_refusals(good, budget_seconds=20) == []
    monkeypatch.setattr("redoubt.authz.prove.elevation.elevations", lambda *given: 1 / 0)
    assert elevation_refusals(good, budget_seconds=20) == []
    assert elevation_refusals(build(may("read", "principal.ok"), SELF, user="by promote")) != []


CONDITIONS = [
    "principal.ok", "principal.level > 1", "principal has away && principal.away", 'principal.marks.contains("a")',
    'principal in Team::"t"', 'principal in Org::"o" && context.risk < 2', 'principal.hasTag("x")',
    "principal has boss && principal.boss.ok", "!principal.ok", 'resource.owner.level > 1 || principal in Team::"t"',
]  # fmt: skip
WRITERS = [
    "principal != resource", "principal == resource", "resource.ok", "principal.ok", "resource.level > principal.level",
    'resource in Team::"t"', "context.risk < 1", 'principal in Org::"o"',
]  # fmt: skip


def test_no_random_write_elevates_by_a_set_that_is_proven() -> None:
    """Sets by dice: where a write in a random store elevates its doer, the prover says so too."""
    dice = random.Random(11)
    proven = shown = 0
    for _ in range(40):
        reads = [may("read", dice.choice(CONDITIONS)), may("edit", f"!({dice.choice(CONDITIONS)})")]
        writer = may("promote", f"{dice.choice(WRITERS)} && {dice.choice(WRITERS)}")
        found = build(*reads, writer, user="by promote")
        if not judged_writes(found):
            continue
        refused = elevation_refusals(found, budget_seconds=20)
        assert all(item.witness is not None for item in refused), refused
        decider, elevated = Decider(found), False
        for _ in range(150):
            elevated = elevated or _elevates_by_dice(dice, decider)
        assert not elevated or refused, (reads, writer)
        proven, shown = proven + (not refused), shown + elevated
    assert proven > 5
    assert shown > 5


def _elevates_by_dice(dice: random.Random, decider: Decider) -> bool:
    ids = ["u", "v"]
    users = {name: _user(dice, name) for name in ids}
    org, team = (
        Entity("Org", "o"),
        Entity("Team", "t", {"open": True}, (EntityUid("Org", "o"),) if dice.random() < 0.5 else ()),
    )
    doc = Entity("Doc", "d", {"owner": EntityUid("User", dice.choice(ids)), "need": 0})
    me, target, context = users["u"], users[dice.choice(ids)], {"risk": dice.randint(0, 2)}
    around = (*users.values(), org, team, doc)
    permitted = AuthzRequest.of(me, "promote", target, context, *around)
    if not decider.decide(permitted).allowed:
        return False
    after = {**users, target.id: _user(dice, target.id)}
    action = dice.choice(["read", "edit"])
    was = AuthzRequest.of(me, action, doc, context, *around)
    will = AuthzRequest.of(after["u"], action, doc, context, *after.values(), org, team, doc)
    return not decider.decide(was).allowed and decider.decide(will).allowed


def _user(dice: random.Random, name: str) -> Entity:
    attrs: dict[str, Any] = {
        "level": dice.randint(0, 3), "ok": dice.random() < 0.5, "marks": dice.sample(["a", "b"], dice.randint(0, 2)),
        "home": {"city": "x"},
    }  # fmt: skip
    if dice.random() < 0.5:
        attrs["away"] = dice.random() < 0.5
    if dice.random() < 0.5:
        attrs["boss"] = EntityUid("User", dice.choice("uv"))
    parents = (EntityUid("Team", "t"),) if dice.random() < 0.5 else ()
    return Entity("User", name, attrs, parents, {"x": "1"} if dice.random() < 0.5 else {})


def _folder(path: Path, *texts: str) -> str:
    path.mkdir()
    (path / "a.cedar").write_text("\n".join(f'@id("p{number}") {text}' for number, text in enumerate(texts)))
    (path / "app.cedarschema").write_text(SCHEMA.format(user='@grant("by promote")\n', team=""))
    return str(path)


def test_the_check_refuses_it_whoever_reviewed_it(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", may("read", "principal.ok"))
    bad = _folder(tmp_path / "bad", may("read", "principal.ok"), SELF)
    good = _folder(tmp_path / "good", may("read", "principal.ok"), OTHERS)

    def run(head: str, *options: str) -> Any:
        return CliRunner().invoke(app, ["check", base, head, *options])

    for options in ((), ("--reviewed",)):
        refused = run(bad, *options)
        assert refused.exit_code == 1
        assert "refused  User · promote: whoever is permitted this may write User.ok" in refused.stdout
        assert "then this is allowed, which was denied" in refused.stdout
    assert (run(good).exit_code, run(good, "--reviewed").exit_code) == (3, 0)
    plain = json.loads(run(bad, "--format", "json").stdout)
    assert [item["rule"] for item in plain["refused"]] == ["self-elevation"]
    assert set(plain["refused"][0]["witness"]) == {"permitted", "denied", "allowed"}
    assert json.loads(run(good, "--format", "json").stdout)["refused"] == []
    log = json.loads(run(bad, "--format", "sarif").stdout)["runs"][0]
    assert "policy-self-elevation" in {item["id"] for item in log["tool"]["driver"]["rules"]}
    assert "policy-self-elevation" in {item["ruleId"] for item in log["results"]}
    assert "policy-self-elevation" not in run(good, "--format", "sarif").stdout.split('"results"')[1]
