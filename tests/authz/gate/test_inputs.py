"""What policies read on the principal's side, and which way: held against decisions over random stores."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from redoubt.authz.changes import propose
from redoubt.authz.decide import Decider
from redoubt.authz.gate import GatedWrite, declared_grants, demand_grant, problems
from redoubt.authz.gate.inputs import Input, grant_inputs
from redoubt.authz.models import AuthzRequest, Entity, EntityUid
from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.roles import Roles
from redoubt.cli.policy import app
from redoubt.core.base import Core

from ..model import policies, source
from .world import ANN, begin, head

SCHEMA = """
entity Org; entity Team in [Org] { level: Long }; entity Folder;
entity User in [Team] { level: Long, ok: Bool, away?: Bool, marks: Set<String>, boss?: User, home: { city: String } } tags String;
entity Doc in [Folder] { owner: User, need: Long, marks: Set<String> };
action read appliesTo { principal: User, resource: Doc, context: { risk: Long } };
"""
ALL = "(principal, action, resource)"


def read(*texts: str) -> set[tuple[str, str, str, str]]:
    joined = "\n".join(f'@id("p{number}") {text}' for number, text in enumerate(texts))
    found = grant_inputs(parse(PolicySource(SCHEMA, {"a.cedar": joined})))
    return {(item.kind, item.of, item.name, item.polarity) for item in found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"permit {ALL} when {{ principal.ok }};", {("attribute", "User", "ok", "permits")}),
        (f"permit {ALL} unless {{ principal.ok }};", {("attribute", "User", "ok", "forbids")}),
        (f"forbid {ALL} when {{ principal.ok }};", {("attribute", "User", "ok", "forbids")}),
        (f"forbid {ALL} unless {{ !principal.ok }};", {("attribute", "User", "ok", "forbids")}),
        (f"permit {ALL} when {{ principal has away }};", {("attribute", "User", "away", "permits")}),
        (f"permit {ALL} when {{ principal.level > 3 }};", {("attribute", "User", "level", "mixed")}),
        (f"permit {ALL} when {{ resource.need > 3 && context.risk < 5 }};", set()),
        (
            f'permit {ALL} when {{ principal.home.city == "x" }};',
            {("attribute", "User", "home.city", "mixed")},
        ),
        (
            f'permit {ALL} when {{ principal.marks.contains("x") }};',
            {("attribute", "User", "marks", "permits")},
        ),
        (
            f"permit {ALL} when {{ resource.marks.containsAll(principal.marks) }};",
            {("attribute", "User", "marks", "forbids")},
        ),
        (f'permit {ALL} when {{ principal.hasTag("x") }};', {("tag", "User", "x", "permits")}),
        (
            'permit (principal in Org::"x", action, resource);',
            {("edge", "User", "Team", "permits"), ("edge", "Team", "Org", "permits")},
        ),
        (
            'forbid (principal is User in Team::"x", action, resource);',
            {("edge", "User", "Team", "forbids")},
        ),
        ('permit (principal, action, resource in Folder::"x");', set()),
        (
            f"permit {ALL} when {{ resource.owner.level > 3 }};",
            {("attribute", "User", "level", "mixed")},
        ),
        (
            f"permit {ALL} when {{ principal has boss && principal.boss.ok }};",
            {("attribute", "User", "boss", "mixed"), ("attribute", "User", "ok", "permits")},
        ),
        (
            f"permit {ALL} when {{ if principal.ok then principal.level > 1 else false }};",
            {("attribute", "User", "ok", "mixed"), ("attribute", "User", "level", "mixed")},
        ),
    ],
)
def test_what_is_read_and_which_way(text: str, expected: set[Any]) -> None:
    assert read(text) == expected


def test_what_a_permit_and_a_forbid_both_read_is_mixed() -> None:
    found = read(f"permit {ALL} when {{ principal.ok }};", f"forbid {ALL} when {{ principal.ok }};")
    assert found == {("attribute", "User", "ok", "mixed")}


CONDITIONS = [
    "principal.ok",
    "principal.level > 1",
    "principal has away && principal.away",
    'principal.marks.contains("a")',
    "resource.marks.containsAny(principal.marks)",
    "principal.marks.isEmpty()",
    'principal in Org::"o"',
    'principal in Team::"t" && context.risk < 2',
    'principal.hasTag("x") && principal.getTag("x") == "1"',
    'principal.home.city == "a"',
    "resource.owner.ok && !(resource.owner == principal)",
    "if principal.ok then context.risk < 1 else resource.need > 1",
]


def test_no_write_turns_a_decision_but_as_the_inputs_say() -> None:
    dice = random.Random(7)
    turned = 0
    for _ in range(60):
        texts = []
        for number in range(dice.randint(1, 3)):
            left, right = dice.choice(CONDITIONS), dice.choice(CONDITIONS)
            condition = dice.choice([left, f"({left}) || ({right})", f"({left}) && !({right})"])
            clause = dice.choice(["when", "unless"])
            effect = dice.choice(["permit", "permit", "forbid"])
            texts.append(f'@id("p{number}") {effect} {ALL} {clause} {{ {condition} }};')
        found = parse(PolicySource(SCHEMA, {"a.cedar": "\n".join(texts)}))
        says = {(item.kind, item.of, item.name): item for item in grant_inputs(found)}
        decider = Decider(found)
        for _ in range(40):
            before = _store(dice)
            which, after, more = _write(dice, before)
            was, will = (decider.decide(_ask(dice_store)).allowed for dice_store in (before, after))
            if was != will:
                turned += 1
                assert _explains(says.get(which), more, will), (texts, which, more, was, will)
    assert turned > 100


def _explains(said: Input | None, more: bool | None, allows: bool) -> bool:
    if said is None:
        return False
    if said.polarity == "mixed":
        return True
    return more is not None and allows == (more if said.polarity == "permits" else not more)


def _store(dice: random.Random) -> dict[str, Any]:
    return {
        "level": dice.randint(0, 3), "ok": dice.random() < 0.5, "away": dice.choice([None, True, False]),
        "marks": dice.sample(["a", "b"], dice.randint(0, 2)), "city": dice.choice("ab"),
        "tag": dice.choice([None, "1", "2"]), "team": dice.random() < 0.5, "org": dice.random() < 0.5,
        "own": dice.random() < 0.5, "need": dice.randint(0, 3), "docs": dice.sample(["a", "b"], dice.randint(0, 2)),
        "risk": dice.randint(0, 3),
    }  # fmt: skip


def _write(
    dice: random.Random, old: dict[str, Any]
) -> tuple[tuple[str, str, str], dict[str, Any], bool | None]:
    """Change one thing on the principal's side: which input, the new store, and whether it is more, less or other."""
    new = dict(old)
    match dice.choice(["level", "ok", "away", "marks", "city", "tag", "team", "org"]):
        case "level":
            new["level"] = dice.randint(0, 3)
            return ("attribute", "User", "level"), new, None
        case "ok":
            new["ok"] = not old["ok"]
            return ("attribute", "User", "ok"), new, new["ok"]
        case "away":
            new["away"] = dice.choice([None, True, False])
            return ("attribute", "User", "away"), new, _more(old["away"], new["away"])
        case "marks":
            new["marks"] = (
                sorted({*old["marks"], "a"}) if dice.random() < 0.5 else [m for m in old["marks"] if m != "a"]
            )
            return ("attribute", "User", "marks"), new, len(new["marks"]) > len(old["marks"])
        case "city":
            new["city"] = dice.choice("ab")
            return ("attribute", "User", "home.city"), new, None
        case "tag":
            new["tag"] = dice.choice([None, "1", "2"])
            return ("tag", "User", "x"), new, None
        case "team":
            new["team"] = not old["team"]
            return ("edge", "User", "Team"), new, new["team"]
    new["org"] = not old["org"]
    return ("edge", "Team", "Org"), new, new["org"]


def _more(old: bool | None, new: bool | None) -> bool | None:
    order = [None, False, True]
    return order.index(new) > order.index(old)


def _ask(store: dict[str, Any]) -> AuthzRequest:
    attrs = {
        "level": store["level"],
        "ok": store["ok"],
        "marks": store["marks"],
        "home": {"city": store["city"]},
    }
    if store["away"] is not None:
        attrs["away"] = store["away"]
    team, org = EntityUid("Team", "t"), EntityUid("Org", "o")
    user = Entity(
        "User", "u", attrs, (team,) if store["team"] else (), {"x": store["tag"]} if store["tag"] else {}
    )
    other = Entity("User", "v", {"level": 0, "ok": False, "marks": [], "home": {"city": "a"}})
    owner = user.uid if store["own"] else other.uid
    doc = Entity("Doc", "d", {"owner": owner, "need": store["need"], "marks": store["docs"]})
    between = Entity("Team", "t", {"level": 0}, (org,) if store["org"] else ())
    return AuthzRequest.of(user, "read", doc, {"risk": store["risk"]}, other, between, Entity("Org", "o"))


def test_the_apps_own_schema_says_by_what_roles_are_given() -> None:
    by = {(item.input.kind, item.input.of, item.input.name): item.by for item in declared_grants(policies())}
    assert by["edge", "User", "Role"] == ("Enrolment.create", "sign-up")
    assert all(by.values())
    demand_grant(policies(), "edge", "User", "Role", "Enrolment.create")
    with pytest.raises(GatedWrite):
        demand_grant(policies(), "edge", "User", "Role", "Order.create")
    ungranted = _schema('@grant("by Enrolment.create, sign-up")\n', "")
    with pytest.raises(GatedWrite):
        demand_grant(ungranted, "edge", "User", "Role", "Enrolment.create")
    demand_grant(ungranted, "edge", "User", "Nothing", "Enrolment.create")  # no policy reads it


def _schema(old: str, new: str) -> Any:
    before = source()
    assert old in before.schema
    return parse(PolicySource(before.schema.replace(old, new), before.policies))


def test_a_grant_that_names_no_action_is_wrong() -> None:
    assert problems(policies()) == []
    assert "no action" in problems(_schema("by Enrolment.create, sign-up", "by Enrolment.make"))[0]
    assert "form" in problems(_schema("by Enrolment.create, sign-up", "whoever asks"))[0]


def test_who_may_write_grant_inputs_is_changed_by_two(core: Core) -> None:
    approvals = begin(core)
    open_wide = _schema(
        "by Enrolment.create, sign-up", "by Enrolment.create, sign-up, Order.create (approved)"
    )
    proposed = propose(core, approvals, open_wide, author=ANN, ticket="T")
    assert proposed.verdict.verdict == "equal"
    assert proposed.verdict.evidence["regranted"] == ["User"]
    assert proposed.approval is not None
    assert head(core) == policies().version


def test_the_command_lists_inputs_and_says_what_is_gated(tmp_path: Path) -> None:
    def run(*options: str) -> Any:
        return CliRunner().invoke(app, ["inputs", str(tmp_path), "--policies", str(tmp_path), *options])

    before = source()
    for name, text in before.policies.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "app.cedarschema").write_text(before.schema)
    fine = run()
    assert fine.exit_code == 0
    assert (
        "User in Role                   more of it allows more     written by Enrolment.create, sign-up"
        in fine.stdout
    )
    (tmp_path / "app.cedarschema").write_text(before.schema.replace('@grant("by request")\n', ""))
    gated = run()
    assert gated.exit_code == 3
    assert "GATED" in gated.stdout
    (tmp_path / "app.cedarschema").write_text(before.schema.replace("by request", "by nobody"))
    assert run("--json").exit_code == 1


def test_a_role_that_was_written_past_the_app_gives_nothing(core: Core) -> None:
    roles = Roles(core)
    row = {"tenant": "main", "user_id": "eve", "role": "operator", "granted_by": "eve", "at": 1}
    plain = sa.text(
        "INSERT INTO role_members (tenant, user_id, role, granted_by, at, seal)"
        " VALUES (:tenant, :user_id, :role, :granted_by, :at, :seal)"
    )
    for seal in (None, ""):
        with pytest.raises(DBAPIError):
            core.db.write_sync(lambda tx, seal=seal: tx.execute(plain, {**row, "seal": seal}))
    core.db.write_sync(lambda tx: roles.assign(tx, "main", "cora", "customer", "self-sign-up"))
    for change in ("role = 'operator'", "user_id = 'eve'", "seal = NULL"):
        with pytest.raises(DBAPIError):
            core.db.write_sync(lambda tx, text=change: tx.execute(sa.text(f"UPDATE role_members SET {text}")))
    stolen = core.db.read_sync(lambda tx: tx.execute(sa.text("SELECT * FROM role_members")).mappings().one())
    for forged in ({**row, "seal": "00" * 32}, {**row, "seal": "x"}, {**stolen, "role": "operator"}):
        with core.db.write_engine.begin() as conn:
            conn.execute(plain, dict(forged))
            conn.execute(sa.text("SELECT 1"))
        user = str(forged["user_id"])
        assert "operator" not in core.db.read_sync(lambda tx, who=user: roles.roles(tx, "main", who))
        core.db.write_sync(lambda tx: tx.execute(sa.text("DELETE FROM role_members WHERE role = 'operator'")))
    with core.db.write_engine.begin() as conn:
        conn.execute(plain, {**row, "seal": "00"})
    core.db.write_sync(
        lambda tx: roles.assign(tx, "main", "eve", "operator", ANN)
    )  # a true grant replaces it
    assert core.db.read_sync(lambda tx: roles.roles(tx, "main", "eve")) == {"operator"}
