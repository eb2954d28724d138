"""Each fault planted into the compiled semantics is seen by the comparison with the reference engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from redoubt.authz.compiled import expressions, extensions, policies
from redoubt.authz.compiled.values import CedarError, Ext, Ref

from .generate import Generator
from .test_generated import WORLDS, compare

_holds, _under, _inside, _integer, _attributes = (
    policies._Policy.holds,
    policies._under,
    expressions.inside,
    expressions.integer,
    expressions._attributes,
)


def _errors_hold(self: Any, question: Any) -> bool:
    try:
        return _holds(self, question)
    except CedarError:
        return True


def _errors_are_silent(self: Any, question: Any) -> bool:
    try:
        return _holds(self, question)
    except CedarError:
        return False


def _nothing_for_absent(value: Any, question: Any) -> Any:
    found = _attributes(value, question)
    if found is None:
        raise CedarError("absent")
    return found


def _only(looked_up: Callable[[Any, Ref], bool]) -> Callable[..., Any]:
    def under(table: Any, ref: Ref, question: Any) -> Any:
        return _under({name: item for name, item in table.items() if looked_up(name, ref)}, ref, question)

    return under


def _kinds(question: Any, *, with_groups: bool) -> Any:
    groups = [
        node.ancestors if with_groups and (node := question.entities.get(ref)) is not None else None
        for ref in (question.action, question.principal, question.resource)
    ]
    return (question.action, question.principal.type, question.resource.type, *groups)


def _kept_by(key: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def candidates(self: Any, question: Any) -> Any:
        if key(question) not in self._kept:
            self._kept[key(question)] = tuple(self._found(question))
        return self._kept[key(question)]

    return candidates


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "an error satisfies its policy": lambda patch: patch.setattr(policies._Policy, "holds", _errors_hold),
    "an error is not reported": lambda patch: patch.setattr(policies._Policy, "holds", _errors_are_silent),
    "forbids are ignored": lambda patch: patch.setattr(
        policies._Policy, "holds", lambda self, question: not self.forbids and _holds(self, question)
    ),
    "conditions are ignored": lambda patch: patch.setattr(
        policies._Policy, "holds", lambda self, question: all(test(question) for test in self.tests)
    ),
    "the rest of a scope is ignored": lambda patch: patch.setattr(
        policies, "_same", lambda variable, named: lambda question: True
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
    "a kind's policies are kept for those whom a scope names": lambda patch: patch.setattr(
        policies.CompiledPolicies,
        "_candidates",
        _kept_by(lambda question: _kinds(question, with_groups=True)),
    ),
    "what is kept forgets the groups": lambda patch: patch.setattr(
        policies.CompiledPolicies,
        "_candidates",
        _kept_by(lambda question: _kinds(question, with_groups=False)),
    ),
    "overflow is unchecked": lambda patch: patch.setattr(expressions, "long", lambda value: value),
    "a Bool is a Long": lambda patch: patch.setattr(
        expressions, "integer", lambda value: int(value) if isinstance(value, bool) else _integer(value)
    ),
    "anything is a Bool": lambda patch: patch.setattr(expressions, "boolean", bool),
    "in is not reflexive": lambda patch: patch.setattr(
        expressions, "inside", lambda ref, target, entities: ref != target and _inside(ref, target, entities)
    ),
    "an absent entity errs on has": lambda patch: patch.setattr(
        expressions, "_attributes", _nothing_for_absent
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


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    seen: Counter[str] = Counter()
    assert any(compare(Generator(seed).world(), seen) for seed in range(WORLDS * 4))
