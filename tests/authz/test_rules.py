"""Access rules become policies that say exactly what the rules say, whatever the text in them."""

from __future__ import annotations

import itertools
import json

import cedarpy
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from redoubt.authz.decide import Decider
from redoubt.authz.errors import AccessModelError
from redoubt.authz.models import AuthzRequest, Caller, Entity, app_entity, user_uid
from redoubt.authz.rules import AccessModel, Action, Allow, ResourceType, compile_policies, compile_schema
from redoubt.authz.snapshot import decision_table, render
from redoubt.authz.text import quote, uid

from .model import SHOP, WIDER, policies, source

hostile = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=("Cs",)), st.sampled_from('"\\\n\r\t\0*{}()&|;/\u202e\u2066')
    ),
    max_size=12,
)


@given(hostile)
def test_a_quoted_string_reads_back_as_itself_and_nothing_more(value: str) -> None:
    text = f"permit (principal == {uid('User', value)}, action, resource) when {{ context.x == {quote(value)} }};"
    est = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    assert list(est) == ["policy0"]
    assert est["policy0"]["principal"]["entity"]["id"] == value
    assert est["policy0"]["conditions"][0]["body"]["=="]["right"] == {"Value": value}


@given(hostile)
def test_what_a_reviewer_could_not_see_is_escaped(value: str) -> None:
    assert quote(value).isprintable()


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(AccessModelError):
        quote("\ud800")


ROLES = ("a", 'b"; forbid(principal,action,resource); //')
STATES = ("draft", 'pa"id\\')
allows = st.builds(
    Allow,
    role=st.sampled_from((*ROLES, "authenticated", "public")),
    owner=st.booleans(),
    tenant=st.booleans(),
    risk_max=st.none() | st.integers(0, 100),
    step_up=st.booleans(),
    amount_max=st.none() | st.integers(0, 1000),
    states=st.lists(st.sampled_from(STATES), unique=True, max_size=2).map(tuple),
).filter(lambda allow: not (allow.role == "public" and (allow.owner or allow.step_up)))


def allowed(allow: Allow, caller: Caller, resource: Entity, context: dict[str, object]) -> bool:
    """The rules read once more, by other code than the compiler's."""
    if allow.role == "authenticated" and caller.user_id is None:
        return False
    if allow.role not in ("authenticated", "public") and allow.role not in caller.roles:
        return False
    checks = [
        not allow.tenant or resource.attrs["tenant"] == caller.tenant,
        not allow.owner or resource.attrs.get("owner") == user_uid(str(caller.user_id)),
        allow.risk_max is None or context["risk"] <= allow.risk_max,  # type: ignore[operator]
        not allow.step_up or context["step_up"],
        allow.amount_max is None or ("amount" in context and 0 <= context["amount"] <= allow.amount_max),  # type: ignore[operator]
        not allow.states or resource.attrs["state"] in allow.states,
    ]
    return all(checks)


@settings(
    max_examples=60, deadline=None, phases=(Phase.explicit, Phase.generate)
)  # shrinking takes minutes here
@given(st.lists(allows, max_size=4), st.data())
def test_compiled_policies_decide_as_the_rules_say(rules: list[Allow], data: st.DataObject) -> None:
    model = AccessModel(
        ROLES,
        (ResourceType("Thing", owner=True, states=STATES),),
        (Action('Thing."do', "Thing", allow=dict.fromkeys(_normal(rule) for rule in rules)),),
    )
    decider = Decider(policies(model))
    bounds = [rule.risk_max for rule in rules if rule.risk_max is not None]
    limits = [rule.amount_max for rule in rules if rule.amount_max is not None]
    for _ in range(12):
        caller = Caller(
            user_id=data.draw(st.sampled_from((None, "u", "v"))),
            tenant=data.draw(st.sampled_from(("main", "t"))),
            roles=data.draw(st.frozensets(st.sampled_from(ROLES))),
        )
        if caller.anonymous:
            caller = Caller(tenant=caller.tenant)
        attrs = {
            "tenant": data.draw(st.sampled_from(("main", "t"))),
            "state": data.draw(st.sampled_from(STATES)),
        }
        if data.draw(st.booleans()):
            attrs["owner"] = user_uid(data.draw(st.sampled_from(("u", "v", "anonymous"))))
        resource = Entity("Thing", "one", attrs)
        near = [value for bound in bounds for value in (bound, bound + 1)]
        context = {
            "risk": data.draw(st.sampled_from([0, 100, *near])),
            "step_up": data.draw(st.booleans()),
        }
        amount = data.draw(
            st.sampled_from([None, -1, 0, *(value for limit in limits for value in (limit, limit + 1))])
        )
        if amount is not None:
            context["amount"] = amount
        answer = decider.decide(AuthzRequest.of(caller.principal(), 'Thing."do', resource, context))
        assert answer.errors == ()
        assert answer.allowed == any(allowed(rule, caller, resource, context) for rule in rules)


def _normal(rule: Allow) -> Allow:
    from attrs import evolve

    return evolve(rule, states=tuple(sorted(set(rule.states))))


def test_each_policy_carries_an_id_that_says_what_it_allows() -> None:
    found = set(policies().texts)
    assert "Payment.refund:finance+step-up+amount<=10000" in found
    assert "Order.read:customer+own" in found


def test_the_same_model_compiles_to_the_same_text() -> None:
    assert source() == source()
    assert policies().version == policies().version != policies(WIDER).version


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (AccessModel(("a", "a"), (), ()), "declared twice"),
        (AccessModel(("public",), (), ()), "reserved"),
        (AccessModel((), (ResourceType("User"),), ()), "leaves free"),
        (AccessModel((), (ResourceType("Or der"),), ()), "leaves free"),
        (AccessModel((), (ResourceType("if"),), ()), "leaves free"),
        (AccessModel((), (ResourceType("A"), ResourceType("a")), ()), "declared twice"),
        (AccessModel((), (ResourceType("A", attributes={"owner": "String"}),), ()), "not a free name"),
        (AccessModel((), (), (Action("X.read", "X"),)), "unknown resource type"),
        (
            AccessModel((), (ResourceType("A"),), (Action("A.read", "A", allow=(Allow("x"),)),)),
            "not declared",
        ),
        (
            AccessModel(
                (),
                (ResourceType("A"),),
                (Action("A.read", "A", allow=(Allow("authenticated", owner=True),)),),
            ),
            "no owner",
        ),
        (
            AccessModel(
                (),
                (ResourceType("A", owner=True),),
                (Action("A.read", "A", allow=(Allow("public", owner=True),)),),
            ),
            "session",
        ),
        (
            AccessModel(
                (),
                (ResourceType("A"),),
                (Action("A.read", "A", allow=(Allow("authenticated", states=("x",)),)),),
            ),
            "no state",
        ),
        (
            AccessModel(
                (),
                (ResourceType("A"),),
                (Action("A.read", "A", allow=(Allow("authenticated", risk_max=-1),)),),
            ),
            "whole number",
        ),
    ],
)
def test_a_contradiction_is_refused_by_name(model: AccessModel, says: str) -> None:
    with pytest.raises(AccessModelError, match=says):
        compile_schema(model)


def test_the_same_rule_twice_is_refused() -> None:
    rules = (Allow("authenticated"), Allow("authenticated"))
    model = AccessModel((), (ResourceType("A"),), (Action("A.read", "A", allow=rules),))
    with pytest.raises(AccessModelError, match="twice"):
        compile_policies(model)


def test_the_table_has_every_cell_and_its_denies() -> None:
    rows = decision_table(SHOP)
    cells = {(r.action, r.role, r.relation, r.risk, r.step_up, r.state, r.amount) for r in rows}
    assert len(cells) == len(rows)
    for action, role in itertools.product(SHOP.actions, (*SHOP.roles, "authenticated")):
        for relation in ("owner", "other", "other-tenant"):
            assert any((r.action, r.role, r.relation) == (action.name, role, relation) for r in rows)
    allowed_rows = [row for row in rows if row.allowed]
    assert not [row for row in allowed_rows if row.relation == "other-tenant"]
    assert {row.action for row in allowed_rows if row.relation == "anonymous"} == {"Product.read"}
    assert {row.action for row in allowed_rows if row.role == "authenticated"} == {"Product.read"}
    refunds = {(r.role, r.step_up, r.amount) for r in allowed_rows if r.action == "Payment.refund"}
    assert refunds == {("finance", True, 10_000)}
    assert {r.risk for r in allowed_rows if r.action == "Order.read" and r.role == "support"} == {"low"}


def test_a_wider_rule_shows_in_the_rendered_table() -> None:
    before, after = render(decision_table(SHOP)), render(decision_table(SHOP, policies(WIDER)))
    assert before == render(decision_table(SHOP))
    changed = set(after.splitlines()) - set(before.splitlines())
    assert changed
    assert all('"Order.update"' in line and '"support"' in line for line in changed)


def test_no_role_reaches_the_app_of_another_tenant() -> None:
    decider = Decider(policies())
    operator = Caller(user_id="o", roles=frozenset(SHOP.roles), step_up=True)
    for action in (a.name for a in SHOP.actions if a.scope == "app"):
        context = {"risk": 0, "step_up": True}
        own = AuthzRequest.of(operator.principal(), action, app_entity("main"), context)
        other = AuthzRequest.of(operator.principal(), action, app_entity("elsewhere"), context)
        assert decider.decide(own).allowed
        assert not decider.decide(other).allowed
