"""Each fault planted into the compiled semantics is seen by the comparison with the reference engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from cedarpy import pst

from redoubt.authz.compiled import expressions, extensions, operations, policies
from redoubt.authz.compiled.operations import OPERATIONS
from redoubt.authz.compiled.python import all_of, call, choice, load, negated
from redoubt.authz.compiled.values import CedarError, Ext, Ref

from .generate import Generator
from .test_generated import WORLDS, compare

Patch = pytest.MonkeyPatch
_compile, _part, _under = expressions.compile_conditions, expressions._part, policies._under
_kind_of = policies.CompiledPolicies._kind_of


def _with_conditions(change: Callable[[Callable[..., bool]], Callable[..., bool]]) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(
        policies, "compile_conditions", lambda clauses: change(_compile(clauses))
    )


def _on_error(value: bool) -> Callable[[Callable[..., bool]], Callable[..., bool]]:
    def change(holds: Callable[..., bool]) -> Callable[..., bool]:
        def run(*args: Any) -> bool:
            try:
                return holds(*args)
            except (CedarError, KeyError):
                return value

        return run

    return change


def _operation(name: str, changed: Any) -> Callable[[Patch], None]:
    """Plant a fault into what compiled expressions call."""
    return lambda patch: patch.setitem(OPERATIONS, name, changed)


def _emitted(name: str, change: Callable[..., Any]) -> Callable[[Patch], None]:
    """Plant a fault into how an expression is compiled: `change` gets the draft and what the right way made."""
    right = getattr(expressions, name)

    def wrong(draft: Any, *args: Any) -> Any:
        return change(draft, right(draft, *args))

    return lambda patch: patch.setattr(expressions, name, wrong)


def _operator(table: dict[str, Any], name: str, maker: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setitem(table, name, maker)


def _nothing_for_absent(value: Any, entities: Any) -> Any:
    found = _attributes(value, entities)
    if found is None:
        raise CedarError("absent")
    return found


_attributes, _inside, _integer = operations.attributes, operations.inside, operations.integer


def _only(looked_up: Callable[[Any, Ref], bool]) -> Callable[..., Any]:
    def under(table: Any, ref: Ref, question: Any, *, itself: bool) -> Any:
        kept = {name: item for name, item in table.items() if looked_up(name, ref)}
        return _under(kept, ref, question, itself=itself)

    return under


def _untyped(draft: Any, part: Any, kind: type, use: Callable[[Any], Any]) -> Any:
    return use(part.code)


def _without_groups(self: Any, question: Any, asker: Any, target: Any) -> Any:
    key = (question.action, question.principal.type, question.resource.type)
    if key not in self._kinds:
        self._kinds[key] = _kind_of(self, question)
    return self._kinds[key].policies


def _forgetting(index: int) -> Callable[[Patch], None]:
    """Leave out one of the two tables in which a question's own entities are looked up."""

    def kind_of(self: Any, question: Any) -> Any:
        found = list(_kind_of(self, question))
        found[index] = []
        return policies._Kind(*found)

    return lambda patch: patch.setattr(policies.CompiledPolicies, "_kind_of", kind_of)


def _reading_the_other(draft: Any, node: Any) -> Any:
    swapped = {"asker": "target", "target": "asker"}
    found = _held(draft, node)
    stored = getattr(getattr(found, "value", None), "id", None)
    return expressions.attribute(load(swapped[stored]), "attrs") if stored in swapped else found


_held = expressions._held


MUTANTS: dict[str, Callable[[Patch], None]] = {
    "an error satisfies its policy": _with_conditions(_on_error(True)),
    "an error is not reported": _with_conditions(_on_error(False)),
    "forbids are ignored": lambda patch: patch.setattr(
        policies._Policy, "__init__", _never_forbidding(policies._Policy.__init__)
    ),
    "conditions are ignored": _with_conditions(lambda holds: lambda *args: True),
    "a missing attribute is no error": lambda patch: patch.setattr(
        policies, "compile_conditions", lambda clauses: _defaulting(_compile(clauses))
    ),
    "the rest of a scope is ignored": lambda patch: patch.setattr(
        policies, "_same", lambda variable, named: lambda question: True
    ),
    "the type of a scope is ignored": lambda patch: patch.setattr(
        policies, "_of_type", lambda variable, name: lambda question: True
    ),
    "ancestors are not looked up": lambda patch: patch.setattr(
        policies, "_under", _only(lambda name, ref: name is None or name in (ref, ref.type))
    ),
    "types are not looked up": lambda patch: patch.setattr(
        policies, "_under", _only(lambda name, ref: not isinstance(name, str) or isinstance(name, Ref))
    ),
    "open scopes are not looked up": lambda patch: patch.setattr(
        policies, "_under", _only(lambda name, ref: name is not None)
    ),
    "who asks is not looked up": _forgetting(1),
    "what is asked about is not looked up": _forgetting(2),
    "what is kept forgets the groups": lambda patch: patch.setattr(
        policies.CompiledPolicies, "_candidates", _without_groups
    ),
    "an answer of one permit forgets the errors": lambda patch: patch.setattr(
        policies, "_ids", lambda found: () if len(found) == 1 else tuple(sorted({one.id for one in found}))
    ),
    "overflow is unchecked": _operation("long", lambda value: value),
    "a Bool is a Long": _operation(
        "integer", lambda value: int(value) if isinstance(value, bool) else _integer(value)
    ),
    "anything is a Bool": lambda patch: patch.setattr(
        expressions, "_boolean", lambda draft, part: call("bool", part.code)
    ),
    "types are not checked": lambda patch: patch.setattr(expressions, "_typed", _untyped),
    "whatever is not of its type is passed over": _operation("refuse", lambda: False),
    "an extension's type is not checked": lambda patch: patch.setattr(
        expressions, "_extension", lambda draft, part, kind: part.code
    ),
    "what may be anything is taken for a Bool": lambda patch: patch.setattr(
        expressions, "_get", lambda draft, node: _get(draft, node)._replace(kind=bool)
    ),
    "what may be anything is taken for a String": lambda patch: patch.setattr(
        expressions, "_get", lambda draft, node: _get(draft, node)._replace(kind=str)
    ),
    "a choice is of the type of its first half": lambda patch: patch.setattr(
        expressions, "_part", _of_the_first
    ),
    "both sides of && are asked": _operator(
        expressions._BINARY, "and", lambda draft, op, left, right: _both(draft, left, right, all_of)
    ),
    "|| is &&": _operator(
        expressions._BINARY, "or", lambda draft, op, left, right: expressions._and(draft, "and", left, right)
    ),
    "unless is when": _emitted(
        "_clause", lambda draft, code: code.operand if type(code) is type(negated(code)) else code
    ),
    "< is <=": _operation("less", operations.less_eq),
    "> is <": _operator(
        expressions._BINARY,
        "greater",
        lambda draft, op, left, right: expressions._less(draft, "less", left, right),
    ),
    "in is not reflexive": _operation(
        "inside", lambda ref, target, entities: ref != target and _inside(ref, target, entities)
    ),
    "in is only reflexive": _operator(
        expressions._BINARY, "in", lambda draft, op, left, right: expressions._equal(draft, "eq", left, right)
    ),
    "principal and resource are mixed up": lambda patch: patch.setattr(
        expressions, "_held", _reading_the_other
    ),
    "an absent entity errs on has": lambda patch: patch.setattr(
        operations, "attributes", _nothing_for_absent
    ),
    "every pattern matches": lambda patch: patch.setattr(
        expressions, "matcher", lambda pattern: lambda text: True
    ),
    "every range holds": lambda patch: patch.setitem(
        extensions.METHODS_OF_TWO, "is_in_range", ("ipaddr", "ipaddr", lambda a, b: True)
    ),
    "every time is midnight": lambda patch: patch.setitem(
        extensions.METHODS, "to_time", ("datetime", lambda value: Ext("duration", 0))
    ),
    "a day starts at noon": lambda patch: patch.setitem(
        extensions.METHODS, "to_date", ("datetime", lambda value: Ext("datetime", value.value + 1))
    ),
}
_get = expressions._get


def _never_forbidding(init: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: Any, identity: str, forbids: bool, tests: Any, conditions: Any) -> None:
        init(
            self,
            identity,
            False,
            tests,
            policies.Later(lambda: lambda *args: False) if forbids else conditions,
        )

    return wrong


def _defaulting(holds: Callable[..., bool]) -> Callable[..., bool]:
    def run(*args: Any) -> bool:
        try:
            return holds(*args)
        except KeyError:
            return False

    return run


def _of_the_first(draft: Any, node: Any) -> Any:
    found = _part(draft, node)
    if isinstance(node, pst.IfThenElse):
        return found._replace(kind=expressions._part(draft, node.then_expr).kind)
    return found


def _both(draft: Any, left: Any, right: Any, join: Callable[..., Any]) -> Any:
    name = draft.local()
    right_first = expressions.let(name, expressions._boolean(draft, right))
    after = choice(load(name), load(name), load(name))
    left_too = expressions._boolean(draft, left)
    return expressions.Part(
        join(choice(right_first, left_too, choice(left_too, load(name), load(name))), after), bool
    )


RARE = {"a choice is of the type of its first half": 400, "anything is a Bool": 340}
"""Where the search for a fault begins that few worlds show."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    assert any(_differs(seed) for seed in range(RARE.get(name, 0), WORLDS * 4))


def _differs(seed: int) -> bool:
    try:
        return bool(compare(Generator(seed).world(), Counter()))
    except (TypeError, AttributeError):  # no answer at all
        return True
