"""Policy tests of an app: each rule at its bounds, and everything just beyond them denied.

What is expected is worked out here from the rules, not from the policies that they are compiled to: a mistake of the
compiler shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import evolve, field, frozen

from redoubt.authz.access import (
    ANONYMOUS_TYPE,
    APP_TYPE,
    AUTHENTICATED,
    COLLECTION_TYPE,
    PUBLIC,
    ROLE_TYPE,
    USER_TYPE,
    AccessModel,
    Action,
    Allow,
)
from redoubt.authz.rules import rule_id

_HEAD = """\
# Made by redoubt build from spec.yaml: what each rule allows at its bounds, and that nothing beyond them is allowed.
# redoubt policy test policies
"""
_NOBODY = "anonymous"
_HERE, _ELSEWHERE, _STRANGER = "main", "elsewhere", "stranger"


@frozen
class _Circumstances:
    """Who asks about what, and how."""

    role: str
    here: bool = True
    own: bool = True
    state: str | None = None
    risk: int = 0
    step_up: bool = True
    amount: int | None = None
    other_list: str | None = None
    ownerless: bool = False


@frozen
class _File:
    """One test file as it grows: entities by uid, tests by what they ask."""

    given: dict[str, dict[str, Any]] = field(factory=dict)
    tests: dict[str, dict[str, Any]] = field(factory=dict)

    def text(self) -> str:
        lines = [_HEAD + "given:"]
        lines += [f"  - {json.dumps(item, ensure_ascii=False)}" for _, item in sorted(self.given.items())]
        lines.append("tests:")
        lines += [f"  - {json.dumps(item, ensure_ascii=False)}" for item in self.tests.values()]
        return "\n".join(lines) + "\n"


def policy_tests(model: AccessModel) -> dict[str, str]:
    """Return the test files of `model`'s policies by name: one a resource type, as the policies are."""
    files: dict[str, _File] = {}
    for action in model.actions:
        file = files.setdefault(f"{action.resource.lower()}.yaml", _File())
        for role in (*model.roles, AUTHENTICATED, _NOBODY):
            for label, asked, by in _cases(model, action, role):
                _put(file, model, action, asked, label, by)
    return {name: file.text() for name, file in sorted(files.items())}


def _cases(
    model: AccessModel, action: Action, role: str
) -> Iterator[tuple[str, _Circumstances, Allow | None]]:
    """Yield what is asked, how it is called, and the rule that allows it: None where the answer is no."""
    rules = [allow for allow in action.allow if _for_role(allow, role)]
    if not rules:
        best = _best(model, action, role, None)
        for state in _states(model, action) or (None,):
            yield state or "no rule", evolve(best, state=state), None
    for allow in rules:
        base = _best(model, action, role, allow)
        for state in allow.states or (base.state,):
            yield "at its bounds", evolve(base, state=state), allow
        if allow.amount_max is not None:
            yield "amount 0", evolve(base, amount=0), allow
        # Once with all else at the bounds, for this rule; once with all else at its best, for a rule that was widened.
        best = evolve(_best(model, action, role, None), state=base.state)
        for label, beyond in (*_beyond(model, action, allow, base), *_beyond(model, action, allow, best)):
            if not any(_holds(action, other, beyond) for other in rules):
                yield label, beyond, None


def _beyond(
    model: AccessModel, action: Action, allow: Allow, base: _Circumstances
) -> Iterator[tuple[str, _Circumstances]]:
    """Yield circumstances that miss one condition of a rule, by as little as can be."""
    if allow.tenant:
        yield "another tenant's", evolve(base, here=False)
    if allow.owner:
        yield "another's", evolve(base, own=False)
        yield "nobody's", evolve(base, own=False, ownerless=True)
    if allow.risk_max is not None:
        yield "at more risk", evolve(base, risk=allow.risk_max + 1)
    if allow.step_up:
        yield "without a fresh passkey", evolve(base, step_up=False)
    if allow.amount_max is not None:
        yield "a larger amount", evolve(base, amount=allow.amount_max + 1)
        yield "an amount below nothing", evolve(base, amount=-1)
        yield "no amount", evolve(base, amount=None)
    if allow.states:
        for state in _states(model, action):
            if state not in allow.states:
                yield state, evolve(base, state=state)
    if action.scope == "collection":
        for other in sorted(
            {item.resource for item in model.actions if item.scope == "collection"} - {action.resource}
        ):
            yield f"the list of {other}", evolve(base, other_list=other)


def _best(model: AccessModel, action: Action, role: str, allow: Allow | None) -> _Circumstances:
    """Return circumstances at a rule's bounds: as much risk, as large an amount and as little else as it allows.

    Without a rule, those in which most is allowed: one's own, no risk, a fresh passkey, no money.
    """
    declared = model.resource(action.resource)
    wanted = (allow.states if allow is not None else ()) or _states(model, action)
    return _Circumstances(
        role,
        own=declared is not None and declared.owner and (allow is None or allow.owner),
        state=wanted[0] if wanted else None,
        risk=allow.risk_max if allow is not None and allow.risk_max is not None else 100 if allow else 0,
        step_up=allow is None or allow.step_up,
        amount=allow.amount_max if allow is not None else 0,
    )


def _states(model: AccessModel, action: Action) -> tuple[str, ...]:
    declared = model.resource(action.resource)
    return declared.states if declared is not None and action.scope == "object" else ()


def _for_role(allow: Allow, role: str) -> bool:
    return allow.role in (role, PUBLIC) or (allow.role == AUTHENTICATED and role != _NOBODY)


def _holds(action: Action, allow: Allow, asked: _Circumstances) -> bool:
    """Say whether a rule allows what is asked: the meaning of `Allow`, condition by condition."""
    return (
        _for_role(allow, asked.role)
        and (asked.here or not allow.tenant)
        and (asked.own or not allow.owner)
        and (allow.risk_max is None or asked.risk <= allow.risk_max)
        and (asked.step_up or not allow.step_up)
        and (allow.amount_max is None or (asked.amount is not None and 0 <= asked.amount <= allow.amount_max))
        and (not allow.states or asked.state in allow.states)
        and not (action.scope == "collection" and asked.other_list is not None)
    )


def _put(
    file: _File, model: AccessModel, action: Action, asked: _Circumstances, label: str, by: Allow | None
) -> None:
    context: dict[str, Any] = {"risk": asked.risk, "step_up": asked.step_up}
    if asked.amount is not None:
        context["amount"] = asked.amount
    when = {
        "principal": _principal(file, asked),
        "action": action.name,
        "resource": _resource(file, model, action, asked),
        "context": context,
    }
    key = json.dumps(when, sort_keys=True)
    if key in file.tests:
        return
    word = "may" if by is not None else "may not"
    test: dict[str, Any] = {"name": f"{asked.role} {word} {action.name}: {label}", "when": when}
    file.tests[key] = test | (
        {"then": "allow", "by": rule_id(action, by)} if by is not None else {"then": "deny"}
    )


def _principal(file: _File, asked: _Circumstances) -> str:
    tenant = _HERE if asked.here else _ELSEWHERE
    name = asked.role if asked.here else f"{asked.role}-{_ELSEWHERE}"
    uid = f"{ANONYMOUS_TYPE if asked.role == _NOBODY else USER_TYPE}::{name}"
    entity: dict[str, Any] = {"uid": uid, "attrs": {"tenant": tenant}}
    if asked.role not in (_NOBODY, AUTHENTICATED):
        entity["parents"] = [f"{ROLE_TYPE}::{asked.role}"]
    file.given[uid] = entity
    return uid


def _resource(file: _File, model: AccessModel, action: Action, asked: _Circumstances) -> str:
    attrs: dict[str, Any] = {"tenant": _HERE}
    declared = model.resource(action.resource)
    if action.scope == "app":
        uid = f"{APP_TYPE}::app"
    elif action.scope == "collection":
        uid = f"{COLLECTION_TYPE}::{asked.other_list or action.resource}"
    else:
        words = ["one"]
        if declared is not None and declared.owner:
            own = asked.own and asked.role != _NOBODY
            owner = (asked.role if asked.here else f"{asked.role}-{_ELSEWHERE}") if own else _STRANGER
            if not asked.ownerless:
                attrs["owner"] = {"__entity": {"type": USER_TYPE, "id": owner}}
            words = ["of", "nobody" if asked.ownerless else owner]
        if asked.state is not None:
            attrs["state"] = asked.state
            words.append(asked.state)
        uid = f"{action.resource}::{'-'.join(words)}"
    file.given[uid] = {"uid": uid, "attrs": attrs}
    return uid
