"""The Decider: hostile values, failing engines and slices deny, and say why."""

from __future__ import annotations

from typing import Any

import cedarpy
import pytest

from redoubt.authz.decide import Decider, DenyAll
from redoubt.authz.errors import CorruptPolicies, PolicyRejected
from redoubt.authz.models import AuthzRequest, Caller, Entity, action_uid, user_uid, values_digest
from redoubt.authz.policyset import PolicySource, from_body, parse, parse_folder
from redoubt.authz.reference import candidates

from .model import SHOP, policies, source

OWNER = Caller(user_id="u1", roles=frozenset({"customer"}))
LOW = {"risk": 0, "step_up": False}


def order(**attrs: Any) -> Entity:
    return Entity("Order", "o1", {"tenant": "main", "owner": user_uid("u1"), "state": "draft", **attrs})


def ask(caller: Caller, action: str, resource: Entity, **context: Any) -> AuthzRequest:
    return AuthzRequest.of(caller.principal(), action, resource, {**LOW, **context})


def test_the_owner_reads_and_a_stranger_does_not() -> None:
    decider = Decider(policies())
    answer = decider.decide(ask(OWNER, "Order.read", order()))
    assert answer.allowed
    assert answer.reasons == ("Order.read:customer+own",)
    assert answer.version == policies().version
    stranger = Caller(user_id="u2", roles=frozenset({"customer"}))
    assert not decider.decide(ask(stranger, "Order.read", order())).allowed
    assert not decider.decide(ask(Caller(), "Order.read", order())).allowed


@pytest.mark.parametrize(
    "attrs",
    [
        {"owner": {"__entity": {"type": "User", "id": "u2"}}},
        {"state": {"__extn": {"fn": "ip", "arg": "1.1.1.1"}}},
        {"owner": "u2"},
        {"owner": None},
        {"state": 1.5},
        {"state": 2**63},
        {"surprise": "x"},
    ],
)
def test_values_that_are_not_what_the_schema_says_deny_everybody(attrs: dict[str, Any]) -> None:
    decider = Decider(policies())
    for user in ("u1", "u2"):
        answer = decider.decide(
            ask(Caller(user_id=user, roles=frozenset({"customer"})), "Order.read", order(**attrs))
        )
        assert not answer.allowed
        assert answer.errors


@pytest.mark.parametrize(
    "context", [{"risk": "0"}, {"step_up": 1}, {"amount": "1"}, {"amount": True}, {"x": 1}]
)
def test_a_context_of_the_wrong_type_denies(context: dict[str, Any]) -> None:
    answer = Decider(policies()).decide(ask(OWNER, "Order.read", order(), **context))
    assert not answer.allowed
    assert answer.errors


def test_an_action_or_type_that_the_schema_does_not_know_denies() -> None:
    decider = Decider(policies())
    assert decider.decide(ask(OWNER, "Order.drop", order())).errors
    assert decider.decide(ask(OWNER, "Order.read", Entity("Nothing", "x", {"tenant": "main"}))).errors


def test_an_engine_that_raises_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    decider = Decider(policies())

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise OSError("engine down")

    monkeypatch.setattr(cedarpy, "is_authorized", broken)
    answer = decider.decide(ask(OWNER, "Order.read", order()))
    assert not answer.allowed
    assert "engine down" in answer.errors[0]


def test_a_policy_that_errs_is_named() -> None:
    extra = (
        '@id("adds") permit (principal, action, resource) when { context.risk + 9223372036854775807 > 0 };'
    )
    base = source()
    decider = Decider(parse(PolicySource(base.schema, {**base.policies, "adds.cedar": extra})))
    answer = decider.decide(ask(OWNER, "Order.read", order(), risk=1))
    assert answer.allowed
    assert any("adds" in error for error in answer.errors)


def test_slices_hold_what_may_apply_and_nothing_else() -> None:
    found = dict(candidates(policies(), action_uid("Order.read"), "Order"))
    assert set(found) == {"Order.read:customer+own", "Order.read:support+risk<=50"}
    forbid = '@id("stop") forbid (principal, action in Action::"all", resource);'
    grouped = (
        'entity A; action "all"; action "x" in [Action::"all"] appliesTo { principal: [A], resource: [A] };'
    )
    both = parse(PolicySource(grouped, {"a": forbid, "b": '@id("go") permit (principal, action, resource);'}))
    question = AuthzRequest.of(Entity("A", "1"), "x", Entity("A", "2"), {})
    answer = Decider(both).decide(question)
    assert not answer.allowed
    assert answer.reasons == ("stop",)


def test_deny_all_denies_with_its_reason() -> None:
    answer = DenyAll("broken", "v").decide(ask(OWNER, "Order.read", order()))
    assert (answer.allowed, answer.errors, answer.version) == (False, ("broken",), "v")


def test_a_request_reads_back_from_its_recorded_values() -> None:
    request = ask(OWNER, "Order.read", order())
    answer = Decider(policies()).decide(request)
    again = AuthzRequest.from_values(answer.values)
    assert again.values() == request.values()
    assert Decider(policies()).decide(again).digest == answer.digest


def test_every_problem_is_named_with_file_and_id() -> None:
    files = {
        "a.cedar": "permit (principal",
        "b.cedar": '@id("typo") permit (principal, action, resource) when { principal.colour };',
        "c.cedar": "permit (principal, action, resource);",
        "d.cedar": '@id("twin") permit (principal, action, resource);',
        "e.cedar": '@id("twin") forbid (principal, action, resource);',
        "g.cedar": '@id("gone") permit (principal, action == Action::"Order.drop", resource);',
    }
    links = '[{"template_id": "none", "link_id": "slot", "args": {}}]'
    with pytest.raises(PolicyRejected) as caught:
        parse(PolicySource(source().schema, files, links=links))
    found = [(problem.file, problem.policy_id) for problem in caught.value.problems]
    assert set(found) >= {
        ("a.cedar", None), ("b.cedar", "typo"), ("c.cedar", None), ("e.cedar", "twin"), ("links.json", "slot"),
        ("g.cedar", "gone"),
    }  # fmt: skip
    assert "colour" in str(caught.value)


def test_a_broken_schema_is_refused() -> None:
    with pytest.raises(PolicyRejected, match="schema"):
        parse(PolicySource("entity ;", {}))


def test_layout_comments_and_files_make_no_new_version() -> None:
    base = source()
    text = "\n".join(f"// {name}\n{body}" for name, body in reversed(base.policies.items()))
    assert parse(PolicySource(base.schema + "\n// end", {"all.cedar": text})).version == policies().version


def test_a_stored_body_must_have_its_hash() -> None:
    good = policies()
    assert from_body(good.body, good.version).version == good.version
    body = good.body
    body["policies"][0]["text"] = body["policies"][0]["text"].replace("permit", "forbid")
    with pytest.raises(CorruptPolicies):
        from_body(body, good.version)
    with pytest.raises(CorruptPolicies):
        from_body({"schema": good.schema_text}, good.version)


def test_a_folder_needs_one_schema(tmp_path: Any) -> None:
    with pytest.raises(PolicyRejected, match="cedarschema"):
        parse_folder(tmp_path)
    (tmp_path / "app.cedarschema").write_text(source().schema)
    for name, text in source().policies.items():
        (tmp_path / name).write_text(text)
    assert parse_folder(tmp_path).version == policies().version
    assert len(SHOP.actions) == len({action.name for action in SHOP.actions})


def test_the_digest_of_a_decision_is_that_of_the_values_that_it_records() -> None:
    for text in ('"\\', "ä\u2028\x00", "🦀", "</script>"):
        question = ask(
            Caller(user_id=text, roles=frozenset({"customer"})), "Order.read", order(state=text), n=-1
        )
        decision = Decider(policies(), check_request=False).decide(question)
        assert decision.digest == values_digest(decision.values) == values_digest(question.values())


def test_text_that_has_no_utf8_form_denies() -> None:
    decision = Decider(policies()).decide(ask(OWNER, "Order.read", order(state="\ud800")))
    assert not decision.allowed
    assert "no Cedar form" in decision.errors[0]
