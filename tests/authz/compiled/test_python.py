"""Compiled functions: what a policy says is data to them, and depth, size and failure change no answer."""

from __future__ import annotations

import ipaddress
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.authz.compiled import CedarError, CompiledPolicies, policies, question_of, store_of
from redoubt.authz.compiled.expressions import PARAMETERS, compile_conditions
from redoubt.authz.compiled.extensions import ip
from redoubt.authz.decide import Decider
from redoubt.authz.errors import PolicyRejected, UnreadablePolicy
from redoubt.authz.models import AuthzRequest, Caller, Entity, user_uid
from redoubt.authz.policyset import tree_of

from .. import model

HOSTILE = [
    "__import__('os')",
    "k0",
    "t0",
    "question",
    "'",
    '"\n',
    "lambda: 0",
    "\u2028",
    "__class__",
    "refuse()",
]
NAMES = st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8"), max_size=12)


def ask(text: str, **context: Any) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
    """Return how the compiled policies and the reference engine decide: allowed, and whether a policy erred."""
    uid = {"type": "User", "id": "u"}
    request = {"principal": uid, "action": {"type": "Action", "id": "a"}, "resource": uid, "context": context}
    engine = cedarpy.PolicySet.from_str(text)
    ours = CompiledPolicies(tree_of(engine)).decide(
        question_of(AuthzRequest.from_values({**request, "entities": []}), store_of([]))
    )
    theirs = cedarpy.is_authorized(request, engine, cedarpy.Entities.from_json_str("[]"))
    return (ours.allowed, bool(ours.errors)), (
        theirs.decision is cedarpy.Decision.Allow,
        bool(theirs.diagnostics.errors),
    )


def quoted(text: str) -> str:
    return "".join(f"\\u{{{ord(char):x}}}" for char in text)


@given(NAMES, NAMES)
def test_names_and_texts_of_policies_are_data(name: str, value: str) -> None:
    text = f'permit (principal, action, resource) when {{ context["{quoted(name)}"] == "{quoted(value)}" }};'
    if name.startswith("__"):  # which data may not have
        return
    ours, theirs = ask(text, **{name: value})
    assert ours == theirs == (True, False)
    assert ask(text, **{name: value + "x"})[0] == (False, False)
    assert ask(text)[0] == (False, True)


def test_a_compiled_function_names_nothing_that_a_policy_says_and_has_no_builtins() -> None:
    text = "".join(
        f'permit (principal == User::"{quoted(word)}", action, resource is Doc) when {{ context["{quoted(word)}"] like'
        f' "{quoted(word)}*" && [context.a, "{quoted(word)}"].contains(principal["{quoted(word)}"]) }};'
        for word in HOSTILE
    )
    tree = tree_of(cedarpy.PolicySet.from_str(text))
    for policy in tree.static_policies.values():
        function: Any = compile_conditions(policy.clauses)
        code = function.__code__
        assert function.__globals__["__builtins__"] == {}
        assert {type(item) for item in code.co_consts} <= {type(None)}
        assert {*code.co_varnames} <= {*PARAMETERS} | {f"t{number}" for number in range(9)}
        known = {"type", "str", "frozenset", "key", "refuse", "contains", "startswith", "attrs"}
        assert {*code.co_names} <= known | {f"k{number}" for number in range(9)}


@pytest.mark.parametrize(
    ("start", "middle", "end"),
    [("!(", "context.b", ")"), ("(if context.b then ", "false", " else false)"),
     ("(context.b && ", "context.b", ")"), ("(context.n || ", "true", ")")],
)  # fmt: skip
def test_the_deepest_policies_that_can_be_read_are_decided(start: str, middle: str, end: str) -> None:
    deepest = 0
    for depth in range(9, 100, 10):
        text = f"permit (principal, action, resource) when {{ {start * depth}{middle}{end * depth} }};"
        try:
            tree_of(cedarpy.PolicySet.from_str(text))
        except (ValueError, UnreadablePolicy):
            break
        deepest = depth
        ours, theirs = ask(text, b=True, n=False)
        assert ours == theirs
    assert deepest >= 29, "the engine's parser takes less than it did"


def test_what_cannot_be_compiled_is_not_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(clauses: Any) -> Any:
        raise RecursionError("too deep")

    monkeypatch.setattr(policies, "compile_conditions", too_deep)
    with pytest.raises(PolicyRejected, match="cannot be compiled"):
        model.policies()


def test_what_cannot_be_compiled_denies_and_is_never_a_policy_that_erred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(clauses: Any) -> Any:
        raise KeyError("a fault of the compiler")

    taken = model.policies()
    monkeypatch.setattr(policies, "compile_conditions", broken)
    decider = Decider(taken)
    order = Entity("Order", "o1", {"tenant": "main", "owner": user_uid("u1"), "state": "draft"})
    caller = Caller(user_id="u1", roles=frozenset({"customer"}))
    answer = decider.decide(
        AuthzRequest.of(caller.principal(), "Order.read", order, {"risk": 0, "step_up": False})
    )
    assert not answer.allowed
    assert "cannot be compiled" in answer.errors[0]


@pytest.mark.parametrize(
    "condition",
    ["[1].contains(context.b == true)", "[context.b == true].contains(1)", "[true].contains(context.b == true)",
     "[context.b].contains(true)", "[[true]].contains([1])", "context.b == 1", "1 == context.b", "true == 1",
     "[1, true].containsAll([true])", "[1].containsAny([context.b])", "{a: true} == {a: 1}"],
)  # fmt: skip
def test_true_is_not_one(condition: str) -> None:
    ours, theirs = ask(f"permit (principal, action, resource) when {{ {condition} }};", b=True)
    assert ours == theirs


OCTETS = st.sampled_from(
    ["0", "1", "9", "10", "127", "255", "256", "01", "001", "", "1e", "٣", " 1", "+1", "0x1", "-1"]
)


@given(st.lists(OCTETS, min_size=3, max_size=5).map(".".join) | st.text("0123456789.:/%ab \n\0", max_size=16))
def test_an_address_is_read_as_the_standard_library_reads_it(text: str) -> None:
    try:
        known: int | None = int(ipaddress.IPv4Address(text))
    except ValueError:
        known = None
    if ":" in text or "/" in text:
        return
    try:
        found: Any = ip(text).value
    except CedarError:
        found = None
    assert found == (None if known is None else (4, known, 32))
    ours, theirs = ask(f'permit (principal, action, resource) when {{ ip("{quoted(text)}").isIpv4() }};')
    assert ours == theirs
