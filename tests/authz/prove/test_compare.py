"""What a change of policies grants more, over all stores there can be."""

from __future__ import annotations

import sys

import pytest

from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.prove import can_error, compare
from redoubt.authz.prove.replay import widens

from .docs_app import SCHEMA, TEXT, change, loose, policies, when

ROLE = 'permit (principal in Role::"a", action == Action::"read", resource) when { context.risk < 5 };'
FORBID = "forbid (principal, action, resource) when { context.risk > 3 };"

WIDER = [
    ("context.risk < 5", "context.risk <= 5"),
    (
        "resource.readers.contains(principal)",
        "principal == resource.owner || resource.readers.contains(principal)",
    ),
    ('resource.groups.contains(Group::"x") && principal in Group::"x"', "principal in resource.groups"),
    ('resource.labels.containsAll(["a", "b"])', 'resource.labels.containsAny(["b", "a"])'),
    ("resource.labels.isEmpty()", 'resource.labels == ["a"]'),
    ('principal.org like "eng*"', 'principal.org like "en*"'),
    ('context.ip.isInRange(ip("10.0.0.0/16"))', 'context.ip.isInRange(ip("10.0.0.0/8"))'),
    ("principal.level + 1 > 3", "principal.level > 2"),  # the sum overflows at the top
    ("principal has mfa && principal.mfa", "principal has mfa"),
    ('principal.hasTag("x") && principal.getTag("x") == "y"', 'principal.hasTag("x")'),
    (
        'context.at.offset(duration("1h")) < datetime("2024-01-01")',
        'context.at < datetime("2024-01-01")',
    ),
    (
        'context.amount.lessThan(decimal("1.5"))',
        'context.amount.lessThanOrEqual(decimal("1.5"))',
    ),
    ('principal.org == "\\\\u{41}"', 'principal.org == "A"'),
    ('principal.org == "A"', 'principal.org == "\\\\u{41}"'),
]
NOT_WIDER = [
    ("context.risk < 5", "5 > context.risk", "equal"),
    ("context.risk < 5", "context.risk < 4", "narrower"),
    (
        "principal in resource.groups",
        'resource.groups.contains(Group::"x") && principal in Group::"x"',
        "narrower",
    ),
    (
        'resource.labels.containsAll(["a", "b"])',
        'resource.labels.contains("b") && resource.labels.contains("a")',
        "equal",
    ),
    ('principal in Role::"b"', 'principal in Role::"a" && Role::"a" in Role::"b"', "narrower"),
    ("false", 'Role::"a" in Role::"b" && Role::"b" in Role::"a"', "equal"),  # no store has a cycle
    ("false", "principal.level * 2 > 9223372036854775806", "equal"),  # an overflow is an error, not a wrap
    ("resource.labels == resource.labels", "true", "equal"),
    ('context.ip.isInRange(ip("10.0.0.0/8"))', 'context.ip.isInRange(ip("10.0.0.0/16"))', "narrower"),
]


@pytest.mark.parametrize(("old", "new"), WIDER)
def test_what_is_wider_is_shown_by_a_request_that_the_engine_allows_now_and_denied_before(
    old: str, new: str
) -> None:
    found = change([when(old)], [when(new)])
    assert found.verdict == "wider"
    before, after = policies(when(old)), policies(when(new))
    witnesses = [item.witness for item in found.environments if item.verdict == "wider"]
    assert all(witness is not None and widens(witness, before, after) for witness in witnesses)


@pytest.mark.parametrize(("old", "new", "verdict"), NOT_WIDER)
def test_what_grants_nothing_more_is_proven_to(old: str, new: str, verdict: str) -> None:
    assert change([when(old)], [when(new)]).verdict == verdict


def test_a_dropped_forbid_is_wider_and_an_added_one_narrower() -> None:
    assert change([ROLE, FORBID], [ROLE]).verdict == "wider"
    assert change([ROLE], [ROLE, FORBID]).verdict == "narrower"


def test_an_environment_that_the_edit_does_not_touch_needs_no_solver() -> None:
    found = change([ROLE, FORBID], [ROLE.replace("<", "<="), FORBID])
    touched = change([ROLE], [ROLE.replace("<", "<=")], seconds=0)
    assert [item.verdict for item in found.environments] == [
        "equal",
        "equal",
    ]  # a risk of 5 is forbidden anyway
    assert [item.verdict for item in touched.environments] == ["unknown", "equal"]


def test_out_of_time_and_a_missing_solver_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = change([ROLE], [ROLE.replace("5", "4")], seconds=0)
    assert (found.verdict, found.widens) == ("unknown", True)
    for name in [name for name in sys.modules if name.startswith("redoubt.authz.prove.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "z3", None)
    found = change([ROLE], [ROLE])
    assert (found.verdict, found.widens) == ("unknown", True)


def test_a_disagreement_of_the_solvers_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redoubt.authz.prove.solve._second", lambda text, milliseconds: "sat")
    assert change([ROLE], [ROLE.replace("5", "4")]).verdict == "unknown"


def test_a_policy_that_may_overflow_can_err_and_one_that_checks_cannot() -> None:
    forbids = loose(
        "forbid (principal, action, resource) when { principal.level + 1 > 3 };",
        "forbid (principal, action, resource) when { principal has mfa && !principal.mfa };",
        "forbid (principal, action, resource) when { principal.level < 9 && principal.level > 0 && principal.level + 1 > 3 };",
    )
    found = [can_error(forbids, SCHEMA, f"p{number}", budget_seconds=10) for number in range(3)]
    assert found == [True, False, False]


def test_a_witness_holds_nothing_that_it_can_miss() -> None:
    found = change([ROLE], [ROLE.replace("<", "<=")])
    (witness,) = [item.witness for item in found.environments if item.witness is not None]
    assert witness.context["risk"] == 5
    user = next(item for item in witness.entities if item.uid == witness.principal)
    assert [parent.id for parent in user.parents] == ["a"]
    assert "mfa" not in user.attrs
    assert "manager" not in user.attrs


def test_without_the_rules_of_ancestors_the_proof_about_cycles_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    cycle = 'Role::"a" in Role::"b" && Role::"b" in Role::"a"'
    monkeypatch.setattr("redoubt.authz.prove.world.World._order", lambda self: [])
    assert (
        change([when("false")], [when(cycle)]).verdict == "unknown"
    )  # the engine refuses the solver's store


def test_a_policy_about_a_group_of_actions_counts_where_a_witness_is_replayed_on_the_older_set() -> None:
    """The engine knows an action's groups by the schema alone: without them an allow of the older set looked like a deny."""
    text = TEXT.replace("action read, write appliesTo", "action any; action read, write in [any] appliesTo")
    by_group, loose_one = (
        '@id("g") permit (principal in Role::"a", action in [Action::"any"], resource);',
        '@id("n") permit (principal in Role::"a", action == Action::"read", resource);',
    )
    forbid = '@id("f") forbid (principal, action in [Action::"any"], resource) when { context.risk > 3 };'

    def judged(old: str, new: str) -> str:
        sets = [parse(PolicySource(text, {"p.cedar": one})) for one in (old, new)]
        return compare(*sets, budget_seconds=30).verdict

    assert judged(by_group, by_group + loose_one) == "equal"
    assert judged(by_group + loose_one, by_group) == "equal"
    assert judged(by_group + forbid, by_group) == "wider"


def test_the_schema_is_read_from_the_sets_themselves() -> None:
    old, new = policies(ROLE), policies(ROLE.replace("<", "<="))
    assert (
        compare(old, new, budget_seconds=30).environments
        == change([ROLE], [ROLE.replace("<", "<=")]).environments
    )


def test_an_older_permit_that_reaches_a_new_action_is_wider_and_a_permit_of_its_own_is_new() -> None:
    later = TEXT + "action share appliesTo { principal: User, resource: Doc, context: {} };"
    anything, own = (
        "permit (principal, action, resource);",
        'permit (principal, action == Action::"share", resource);',
    )
    before = policies(ROLE)
    found = compare(
        before, parse(PolicySource(later, {"p.cedar": f'@id("p0") {ROLE} @id("n") {own}'})), budget_seconds=30
    )
    assert found.verdict == "new"
    found = compare(
        policies(anything),
        parse(PolicySource(later, {"p.cedar": f'@id("p0") {anything}'})),
        budget_seconds=30,
    )
    (share,) = [item for item in found.environments if item.environment.action.id == "share"]
    assert (found.verdict, share.verdict) == ("wider", "wider")
    assert share.witness is not None
