"""Validation: cookies, escalation, retries and failures on any target."""

from __future__ import annotations

import re

from ..browser import Answer
from ..errors import Unshown
from ..lab import Lab
from ..openapi import Operation
from ..probe import Attack, probe
from ..things import Workshop
from .escalation import cast_of_two, cross_owner, function_level
from .identity import read_cookies
from .table import declared_public
from .webhooks import replay_deliveries

_TRACE = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+|\bat [\w.$]+\([\w.]+:\d+\)|sqlalchemy\.exc|sqlite3\.\w*Error"
    r"|psycopg|\bSELECT\b.+\bFROM\b|/site-packages/|Werkzeug Debugger|starlette\.middleware|goroutine \d+|\.py\", line"
)


@probe("VAL-3")
def cookie_flags(lab: Lab) -> None:
    """Read every Set-Cookie."""
    read_cookies(lab)


@probe("VAL-5")
def escalation_through_the_api(lab: Lab) -> None:
    """Reach others' objects, and what a role must not do."""
    alice, bob = cast_of_two(lab)
    cross_owner(lab, alice, bob)
    function_level(lab)


@probe("VAL-8")
def replayed_deliveries(lab: Lab) -> None:
    """Send a delivery again."""
    replay_deliveries(lab)


@probe("VAL-10")
def failures_say_no_and_nothing_else(lab: Lab) -> None:
    """Fail in every way, and read what the app says about it."""
    operations = [one for one in lab.api.operations if not one.path.startswith("/webhooks")]
    person = lab.person(lab.a_role(), "fay")
    nobody = lab.anonymous()
    closed = [one for one in operations if not declared_public(lab, one)]
    with lab.attack(
        "call what needs a login without one", "401 or 403, or a page's way to the login"
    ) as attack:
        attack.positive("the app has operations that need a login", closed)
        for one in closed:
            answer = nobody.send(one.method, _fill(one), json={} if one.body is not None else None)
            _no_trace(attack, answer, one.key)
            if answer.ok:
                attack.broke(f"{one.key} answers {answer.status} to nobody", answer)
            elif answer.status not in (401, 403):
                attack.broke(f"{one.key} answers nobody with {answer.status}, not 401", answer)
    with lab.attack(
        "send bodies, ids and types that nobody expects", "no 5xx, no stack trace, no engine's words"
    ) as attack:
        for one in operations:
            for body in _odd_bodies(one):
                answer = person.browser.send(
                    one.method, _fill(one), content=body, headers={"Content-Type": "application/json"}
                )
                _no_trace(attack, answer, one.key)
            for odd in ("%00", "'%20OR%201=1--", "..%2f..%2fetc", "9" * 40, "%F0%9F%92%A9"):
                if one.path_parameters:
                    answer = person.browser.send(
                        one.method, _fill(one, odd), json={} if one.body is not None else None
                    )
                    _no_trace(attack, answer, f"{one.key} with an odd id")
        for path in (
            "/nowhere-" + lab.canary(),
            "/api/nowhere",
            "/%00",
            "/.git/HEAD",
            "/.env",
            "/debug",
            "/actuator/env",
        ):
            answer = person.browser.get(path)
            _no_trace(attack, answer, path)
            attack.check(
                not answer.ok or "text/html" in answer.headers.get("content-type", ""),
                f"{path} answers {answer.status}",
                answer,
            )
    with lab.attack("tell existing from missing accounts and objects", "both get the same answer") as attack:
        _oracles(lab, attack)


def _oracles(lab: Lab, attack: Attack) -> None:
    alice, bob = cast_of_two(lab)
    shop = Workshop(lab, [alice, bob])
    compared = 0
    for resource in lab.api.resources():
        if resource.read is None or (thing := shop.make(resource, alice)) is None:
            continue
        if not thing.reread().ok or bob.browser.get(thing.path).ok:
            continue
        missing = thing.path.replace(thing.id, _like(thing.id))
        theirs, nothing = bob.browser.get(thing.path), bob.browser.get(missing)
        compared += 1
        same = theirs.status == nothing.status
        attack.check(
            same, f"{resource.item} tells others' ({theirs.status}) from missing ({nothing.status})", theirs
        )
    if magic := lab.target.links:
        known, unknown = lab.anonymous(), lab.anonymous()
        first = known.post(magic.ask, json={"email": alice.email})
        second = unknown.post(magic.ask, json={"email": f"{lab.canary()}@people.example"})
        compared += 1
        attack.check(
            (first.status, first.body) == (second.status, second.body),
            "asking for a link tells whether an account exists", first,
        )  # fmt: skip
    if compared == 0:
        raise Unshown(
            "there was nothing of one's own to compare with what is missing",
            add="register: {endpoint: /register}",
        )


def _like(identity: str) -> str:
    """Return an id of the same form that is nobody's."""
    if identity.isdigit():
        return str(int(identity) + 987_654)
    last = "0" if identity[-1] != "0" else "1"
    return identity[:-4] + "dead" if re.fullmatch(r"[0-9a-f-]{36}", identity) else identity[:-1] + last


def _fill(one: Operation, value: str = "") -> str:
    given = value or "00000000-0000-7000-8000-000000000000"
    for parameter in one.parameters:
        if (
            parameter.get("in") == "path"
            and parameter.get("schema", {}).get("type") == "integer"
            and not value
        ):
            given = "987654"
    return one.at(id=given)


def _odd_bodies(one: Operation) -> list[bytes]:
    if one.body is None:
        return []
    names = list(one.body.get("properties", {})) if isinstance(one.body, dict) else []
    wrong = "{" + ",".join(f'"{name}":{{"$gt":""}}' for name in names) + "}"
    return [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 2000,
        wrong.encode(),
        b'{"a":' + b"9" * 400 + b"}",
    ]


def _no_trace(attack: Attack, answer: Answer, what: str) -> None:
    if found := _TRACE.search(answer.text):
        attack.broke(f"{what} answers with {found[0][:60]!r}", answer, found[0][:60])
    elif answer.status >= 500 and answer.status not in (501, 503):
        attack.broke(f"{what} answers {answer.status}", answer)
