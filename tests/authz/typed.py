"""Random policies that fit a schema, over the rows of `filter.world`: what the prover's verdicts are held to.

Stores keep the prover's assumptions: they conform, and every entity that is read is there. A condition guards each read of
what may be absent; some leave the guard out, so that a policy errs on some rows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import cedarpy
from attrs import evolve, frozen

from redoubt.authz.filter import Known
from redoubt.authz.models import Entity, EntityUid
from redoubt.authz.policyset import PolicySet, unchecked

from .filter import world

TEXT = """
entity Role, Team;
entity Folder in [Folder] { owner?: User, level?: Long };
entity User in [Role] { level?: Long, name?: String, staff?: Bool, friends?: Set<User>, home?: Folder };
entity Doc in [Folder, Team] {
    title?: String, size?: Long, score: Long, open?: Bool, owner?: User, folder?: Folder,
    readers: Set<User>, words: Set<String>, place: { city?: String }
} tags String;
action any;
action read, share in [any] appliesTo {
    principal: User, resource: Doc, context: { risk?: Long, fresh?: Bool, word?: String }
};
"""
UNGUARDED = 0.1
GONE = "gone"

_Read = tuple[str, tuple[str, ...]]
"""An expression, and what must be there for it."""


@frozen
class Policy:
    """A policy in parts, so that it can be edited."""

    effect: str
    scope: tuple[str, str, str]
    clauses: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """Return it in Cedar."""
        return f"{self.effect} ({', '.join(self.scope)})" + "".join(
            f" {kind} {{ {condition} }}" for kind, condition in self.clauses
        ) + ";"  # fmt: skip


def policy_set(policies: Sequence[Policy], schema: Any) -> PolicySet:
    """Return a set under the schema, whose handle is given: reading it is dear."""
    est = json.loads(cedarpy.policies_to_json_str("\n".join(item.text for item in policies)))[
        "staticPolicies"
    ]
    found = unchecked({f"p{number}": est[f"policy{number}"] for number in range(len(policies))}, None)
    return evolve(found, schema_text=TEXT, schema=schema)


def store(rng: random.Random, count: int) -> tuple[dict[Any, list[dict[str, Any]]], list[Entity]]:
    """Return rows and the same as entities; no document lies in a folder that is not there."""
    made = world.rows(rng, count)
    for row in made[world.docs]:
        row["folder"] = None if row["folder"] == GONE else row["folder"]
    return made, world.entities(made)


def question(rng: random.Random) -> Known:
    """Return a question about all documents, by somebody whose home is there."""
    found = world.known(rng)
    user, *others = found.entities
    if user.attrs.get("home") == EntityUid("Folder", GONE):
        user = evolve(user, attrs={**user.attrs, "home": EntityUid("Folder", "f4")})
    return evolve(found, entities=(user, *others))


def drawn(rng: random.Random) -> list[Policy]:
    """Return two to four policies, a permit first."""
    return [_policy(rng, "permit"), *(_policy(rng) for _ in range(rng.choice((1, 1, 2, 3))))]


def edited(rng: random.Random, base: Sequence[Policy]) -> list[Policy]:
    """Return the policies after one edit: of an order, of a condition, of a scope, or one that came, went or was replaced."""
    found = list(base)
    at = rng.randrange(len(found))
    one = found[at]
    match rng.randrange(9):
        case 0:
            found[at] = _policy(rng)
        case 1:
            found.append(_policy(rng))
        case 2:
            del found[at]
        case 3:
            found[at] = evolve(one, clauses=(*one.clauses, (rng.choice(("when", "unless")), boolean(rng, 1))))
        case 4:
            found[at] = evolve(one, clauses=one.clauses[1:])
        case 5:
            found[at] = evolve(one, scope=_scope(rng))
        case 6:
            found[at] = _turned(
                one, (" < ", " <= "), (" > ", " >= "), ('"a*"', '"*"'), ("All", "Any"), ("&&", "||")
            )
        case 7:
            found[at] = evolve(one, clauses=tuple((kind, f"!(!({text}))") for kind, text in one.clauses))
        case _:
            plain = tuple((kind, f"if {text} then true else false") for kind, text in reversed(one.clauses))
            found = [*found[:at], *found[at + 1 :], evolve(one, clauses=plain)]
    return found


def _turned(one: Policy, *pairs: tuple[str, str]) -> Policy:
    """Return a policy with the first of some pairs that occurs turned round: the one for the other, once."""
    for kind, text in one.clauses:
        for left, right in pairs:
            if left in text:
                new = text.replace(left, right, 1)
                return evolve(
                    one, clauses=tuple((kind_, new if old is text else old) for kind_, old in one.clauses)
                )
        return evolve(one, clauses=((("unless" if kind == "when" else "when"), text), *one.clauses[1:]))
    return evolve(one, effect="permit" if one.effect == "forbid" else "forbid")


def _scope(rng: random.Random) -> tuple[str, str, str]:
    return (
        rng.choice(("principal", "principal", "principal is User", 'principal in Role::"r1"', 'principal == User::"u1"')),
        rng.choice(("action", "action", 'action == Action::"read"', 'action in [Action::"any"]')),
        rng.choice(("resource", "resource", "resource is Doc", 'resource in Folder::"f1"', 'resource in Team::"t1"',
                    'resource == Doc::"d1"', 'resource is Doc in Folder::"f2"')),
    )  # fmt: skip


def _policy(rng: random.Random, effect: str | None = None) -> Policy:
    clauses = tuple(
        (rng.choice(("when", "when", "unless")), boolean(rng, 2)) for _ in range(rng.choice((0, 1, 1, 2)))
    )
    return Policy(effect or ("permit" if rng.random() < 0.6 else "forbid"), _scope(rng), clauses)


def boolean(rng: random.Random, depth: int) -> str:
    """Return a boolean expression."""
    if depth > 0 and rng.random() < 0.55:
        a, b, c = (boolean(rng, depth - 1) for _ in range(3))
        return rng.choice(
            (f"({a} && {b})", f"({a} || {b})", f"!({a})", f"(if {a} then {b} else {c})", f"({a} == {b})")
        )
    text, needs = _atom(rng)
    if rng.random() < UNGUARDED:
        needs = ()
    return f"({' && '.join((*dict.fromkeys(needs), text))})"


def _joined(form: str, *parts: _Read) -> _Read:
    """Return an expression of others, put where `{}` stands; it needs what they need."""
    return form.format(*(text for text, _ in parts)), tuple(need for _, needs in parts for need in needs)


def _atom(rng: random.Random) -> _Read:
    order = rng.choice(("<", "<=", ">", ">=", "==", "!="))
    same = rng.choice(("==", "!="))
    both = rng.choice(("containsAll", "containsAny"))
    choices = (
        lambda: _joined(f"{{}} {order} {{}}", _long(rng, 1), _long(rng, 1)),
        lambda: _joined(f"{{}} {order} {{}}", _long(rng, 2), _long(rng, 0)),
        lambda: _joined(f"{{}} {same} {{}}", _text(rng), _text(rng)),
        lambda: _joined(f"{{}} {same} {{}}", _user(rng), _user(rng)),
        lambda: _joined("{} in {}", _entity(rng), _entity(rng)),
        lambda: _joined("{} in [{}, {}]", _entity(rng), _user(rng), _user(rng)),
        lambda: _joined("{} in {}", _user(rng), _users(rng)),
        lambda: (f"resource has {rng.choice(('title', 'size', 'owner', 'open', 'place.city', 'folder.level'))}", ()),
        lambda: (f"principal has {rng.choice(('level', 'home', 'staff', 'home.level'))}", ()),
        lambda: _joined(f"{{}} like {rng.choice(world.PATTERNS)}", _text(rng)),
        lambda: _joined("{}.contains({})", _users(rng), _user(rng)),
        lambda: _joined(f"{{}}.{both}({{}})", _users(rng), _users(rng)),
        lambda: _joined(f"{{}} {same} {{}}", _users(rng), _users(rng)),
        lambda: _joined("{}.isEmpty()", _users(rng)),
        lambda: _joined("resource.words.contains({})", _text(rng)),
        lambda: _joined(f"resource.words.{both}([{{}}, {{}}])", _text(rng), _text(rng)),
        lambda: _joined("resource.words == [{}, {}]", _text(rng), _text(rng)),
        lambda: _joined("[1, {}].contains({})", _long(rng, 1), _long(rng, 1)),
        lambda: (rng.choice(('resource.hasTag("k")', 'resource.hasTag("l")')), ()),
        lambda: rng.choice((
            ("resource.open", ("resource has open",)), ("principal.staff", ("principal has staff",)),
            ("context.fresh", ("context has fresh",)), ("true", ()), ("false", ()),
        )),
        lambda: (rng.choice(('ip("10.0.0.1").isInRange(ip("10.0.0.0/8"))', 'decimal("1.0") == decimal("1.01")')), ()),
    )  # fmt: skip
    return rng.choice(choices)()


def _long(rng: random.Random, depth: int) -> _Read:
    if depth > 0 and rng.random() < 0.4:
        a, b = _long(rng, depth - 1), _long(rng, depth - 1)
        if rng.random() < 0.15:
            return _joined(f"(if {boolean(rng, 0)} then {{}} else {{}})", a, b)
        return _joined(rng.choice(("({} + {})", "({} - {})", "({} * 2)", "(-({}))")), a, b)
    return rng.choice((
        ("resource.size", ("resource has size",)), ("resource.score", ()), ("context.risk", ("context has risk",)),
        ("resource.folder.level", ("resource has folder.level",)), ("principal.level", ("principal has level",)),
        ("principal.home.level", ("principal has home.level",)), (str(rng.choice(world.LONGS)), ()), ("2", ()),
    ))  # fmt: skip


def _text(rng: random.Random) -> _Read:
    literal = json.dumps(rng.choice(world.TEXTS), ensure_ascii=False)
    return rng.choice((
        ("resource.title", ("resource has title",)), ("resource.place.city", ("resource.place has city",)),
        ("principal.name", ("principal has name",)), ("context.word", ("context has word",)),
        ('resource.getTag("k")', ('resource.hasTag("k")',)), (literal, ()),
    ))  # fmt: skip


def _user(rng: random.Random) -> _Read:
    return rng.choice((
        ("principal", ()), ("resource.owner", ("resource has owner",)), ('User::"u1"', ()), ('User::"u2"', ()),
        ("resource.folder.owner", ("resource has folder.owner",)),
        ("principal.home.owner", ("principal has home.owner",)),
    ))  # fmt: skip


def _entity(rng: random.Random) -> _Read:
    if rng.random() < 0.3:
        return _user(rng)
    return rng.choice((
        ("resource", ()), ('Folder::"f1"', ()), ('Folder::"f3"', ()), ('Role::"r1"', ()), ('Team::"t1"', ()),
        ('Doc::"d2"', ()), ("principal.home", ("principal has home",)), ("resource.folder", ("resource has folder",)),
    ))  # fmt: skip


def _users(rng: random.Random) -> _Read:
    return rng.choice((
        ("resource.readers", ()), ("principal.friends", ("principal has friends",)), ('[User::"u1"]', ()),
        ("[principal, resource.owner]", ("resource has owner",)),
    ))  # fmt: skip
