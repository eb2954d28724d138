"""The first policies of a store lie inside the standing invariants, or are refused with a request that shows where not."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest

from redoubt.authz import store, versions
from redoubt.authz.errors import PolicyRejected
from redoubt.authz.gate import PoliciesRefused, standing
from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.prove.invariants import held
from redoubt.authz.prove.verdicts import EnvironmentVerdict
from redoubt.authz.rules import compile_policies, compile_schema
from redoubt.authz.schema import read_schema
from redoubt.build.access import access_model
from redoubt.build.spec import load_spec
from redoubt.core.base import Core
from tests.console.world import access

EXAMPLES = Path(__file__).parents[3] / "examples"
SCHEMA = """
entity Role;
entity Team;
entity User in [Role] { tenant: String };
entity Anonymous { tenant: String };
entity Doc in [Team] { tenant: String, shared: Bool };
entity Leaf { shared: Bool };
action "Doc.read", "Doc.write" appliesTo { principal: [User, Anonymous], resource: [Doc], context: { risk: Long } };
action "Leaf.read" appliesTo { principal: [User], resource: [Leaf] };
"""
TENANT = "principal.tenant == resource.tenant"
READ = 'action == Action::"Doc.read"'
MINE = f'@id("mine") permit (principal is User, {READ}, resource) when {{ {TENANT} }};'


def policies(*texts: str, schema: str = SCHEMA) -> PolicySet:
    return parse(PolicySource(schema, {"all.cedar": "\n".join(texts)}))


def begin(core: Core, first: PolicySet) -> None:
    core.db.write_sync(lambda tx: versions.genesis(tx, core, first))


INSIDE = {
    "same tenant": [MINE],
    "same tenant, said the other way round and among others": [
        f'@id("a") permit (principal in Role::"r", {READ}, resource) when {{ context.risk < 5 && resource.tenant == principal.tenant && resource.shared }};'
    ],
    "same tenant by a roundabout way, which the solvers see": [
        f'@id("a") permit (principal is User, {READ}, resource) when {{ if resource.shared then {TENANT} else false }};'
    ],
    "a forbid does it": [
        f'@id("a") permit (principal is User, {READ}, resource);',
        f'@id("b") forbid (principal, action, resource is Doc) unless {{ {TENANT} }};',
    ],
    "nothing": [],
    "an invariant that no permit needs": [
        MINE,
        '@id("i") @invariant("tenants") forbid (principal, action, resource is Doc) unless { principal.tenant == resource.tenant };',
    ],
}
OUTSIDE = {
    "another tenant": ([f'@id("a") permit (principal is User, {READ}, resource);'], "the invariant tenant"),
    "another tenant beside one's own": (
        [MINE, f'@id("a") permit (principal is User, {READ}, resource) when {{ resource.shared }};'],
        "the invariant tenant",
    ),
    "a resource without a tenant": (
        ['@id("a") permit (principal, action == Action::"Leaf.read", resource);'],
        "the invariant tenant",
    ),
    "nobody": ([f'@id("a") permit (principal, {READ}, resource) when {{ {TENANT} }};'], "the invariant nobody"),
    "a declared one": (
        [
            MINE,
            '@id("i") @invariant("never shared") forbid (principal, action, resource is Doc) when { resource.shared };',
        ],
        "the invariant i (never shared)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
def test_a_set_that_lies_inside_begins(core: Core, name: str) -> None:
    begin(core, policies(*INSIDE[name]))


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_set_that_goes_beyond_is_refused_with_what_shows_it(core: Core, name: str) -> None:
    texts, says = OUTSIDE[name]
    with pytest.raises(PoliciesRefused) as refused:
        begin(core, policies(*texts))
    assert core.db.read_sync(lambda tx: store.head(tx, "main")) is None
    assert says in str(refused.value)
    assert all(item.witness for item in refused.value.refusals)
    assert "for example " in str(refused.value)


def test_an_action_that_is_meant_to_go_beyond_says_so(core: Core) -> None:
    texts = [f'@id("a") permit (principal, {READ}, resource);']
    open_to_all = SCHEMA.replace('action "Doc.read"', '@outside("nobody, tenant")\naction "Doc.read"')
    begin(core, policies(*texts, schema=open_to_all))


@pytest.mark.parametrize("name", ["shop", "relay"])
def test_what_a_spec_compiles_to_needs_no_solver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = access_model(load_spec(EXAMPLES / name / "spec.yaml"))
    for one in (model, access()):
        built = parse(PolicySource(compile_schema(one), compile_policies(one)))
        monkeypatch.setitem(sys.modules, "redoubt.authz.prove.invariants", None)
        monkeypatch.setattr(standing, "_proven", type(standing._proven)())
        assert standing.standing_refusals(built) == []


def test_what_is_not_proven_is_refused(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    roundabout = policies(*INSIDE["a forbid does it"])
    monkeypatch.setattr(standing, "_proven", type(standing._proven)())
    (late,) = standing.standing_refusals(roundabout, budget_seconds=-1)[:1]
    assert "not proven" in late.message
    monkeypatch.setitem(sys.modules, "redoubt.authz.prove.invariants", None)
    with pytest.raises(PoliciesRefused, match="without the extra 'prove'"):
        begin(core, roundabout)
    assert core.db.read_sync(lambda tx: store.head(tx, "main")) is None


def test_a_proof_is_kept_by_the_sets_content_address(monkeypatch: pytest.MonkeyPatch) -> None:
    roundabout = policies(*INSIDE["a forbid does it"])
    assert standing.standing_refusals(roundabout) == []
    monkeypatch.setitem(sys.modules, "redoubt.authz.prove.invariants", None)
    assert standing.standing_refusals(policies(*INSIDE["a forbid does it"])) == []


def some_policies(rng: random.Random) -> PolicySet:
    """Return a few policies, of which the look must judge some by itself."""
    texts = []
    for number in range(rng.choice((1, 2, 3))):
        effect = "permit" if rng.random() < 0.8 else "forbid"
        principal = rng.choice(
            ("principal", "principal is User", "principal is Anonymous", 'principal in Role::"r"', 'principal == User::"u"')
        )  # fmt: skip
        action = rng.choice(
            (READ, "action", 'action in [Action::"Doc.write", Action::"Doc.read"]', 'action == Action::"Leaf.read"')
        )  # fmt: skip
        resource = rng.choice(
            ("resource", "resource is Doc", 'resource in Team::"t"', 'resource is Doc in Team::"t"')
        )
        kept = (
            TENANT,
            "resource.tenant == principal.tenant",
            f"{TENANT} && resource.shared",
            f"{TENANT} || resource.shared",
            f"!({TENANT})",
            f"{TENANT} == true",
            "principal.tenant == principal.tenant",
            "resource.shared",
        )
        kind = rng.choice(("when", "when", "when", "unless"))
        clause = f" {kind} {{ {rng.choice(kept)} }}" if rng.random() < 0.8 else ""
        note = '@invariant("x") ' if effect == "forbid" and rng.random() < 0.5 else ""
        texts.append(f'@id("p{number}") {note}{effect} ({principal}, {action}, {resource}){clause};')
    return policies(*texts)


def looked_at(seeds: range) -> tuple[list[str], int]:
    """Return where the look passes what the solvers do not, and how often it passed anything that permits."""
    wrong, passed = [], 0
    for seed in seeds:
        try:
            found = some_policies(random.Random(seed))
        except PolicyRejected:
            continue
        schema = read_schema(SCHEMA)
        places = [one for one in schema.environments() if standing._plainly_inside(found, schema, one)]
        fresh = tuple(EnvironmentVerdict(place, "new", fresh=True) for place in places)
        verdicts, breaches = held(fresh, found, schema, time.monotonic() + 60)
        passed += bool(places)
        if breaches or any(item.verdict == "unknown" for item in verdicts):
            wrong.append(f"case {seed}: {found.texts}")
    return wrong, passed


def test_the_look_passes_only_what_the_solvers_prove() -> None:
    wrong, passed = looked_at(range(150))
    assert not wrong, wrong[0]
    assert passed > 20


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("_holds_tenant", lambda policy: True),
        ("_can_apply", lambda policy, schema, place: False),
        ("_fits", lambda scope, kind, schema: scope["op"] == "All"),
        ("invariant_ids", lambda found: frozenset()),
        ("ANONYMOUS_TYPE", "Nobody"),
        ("_conjuncts", lambda body: iter(next(iter(body.values()), {}).values())),
    ],
)
def test_each_fault_of_the_look_shows(name: str, fault: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, name, fault)
    for start in range(0, 300, 50):
        if looked_at(range(start, start + 50))[0]:
            return
    pytest.fail(f"nothing showed that {name} is wrong")
