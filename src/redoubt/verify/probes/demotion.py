"""Stale authority: what a session may still do after its person has lost the role that let it."""

from __future__ import annotations

import re

from ..errors import Unshown
from ..lab import Lab
from ..people import Person
from ..probe import Attack, probe
from ..target import Demotion, call


@probe("AUZ-2")
def a_live_session_loses_what_was_taken(lab: Lab) -> None:
    """Take a person's role while their session goes on, and let it ask again."""
    how = lab.target.demotion
    if how is None or (how.take is None and "demote" not in lab.target.commands):
        raise Unshown(
            "how somebody loses a role is not said",
            add="demotion: {of: admin, read: GET /admin, take: 'PUT /users/{id}', taken: {role: user}, as: admin}",
        )
    with lab.attack(
        "go on with a session after its role was taken", f"it still reads after {how.within:.0f} s"
    ) as attack:
        path = call(how.read)[1]
        ordinary = lab.anonymous() if how.of == lab.a_role() else lab.person(lab.a_role(), "nora").browser
        denied = ordinary.get(path)
        attack.positive("who never had the role is refused", not denied.ok, str(denied.status))
        chief = lab.person(how.role, "chief") if how.role else None
        stays, goes = (_with_role(lab, attack, how, chief, name) for name in ("stella", "gordon"))
        attack.positive("with the role it is read", goes.browser.get(path).ok and stays.browser.get(path).ok)
        _taken(lab, attack, how, chief, goes)
        lab.wait(lambda: not goes.browser.get(path).ok, how.within, 0.1)
        late = goes.browser.get(path)
        attack.check(
            not late.ok, f"{how.read} is still answered {how.within:.0f} s later ({late.status})", late
        )
        attack.positive("who kept the role still reads", stays.browser.get(path).ok)


def _with_role(lab: Lab, attack: Attack, how: Demotion, chief: Person | None, name: str) -> Person:
    if how.give is None:
        return lab.person(how.of, name)
    person = lab.person(lab.a_role(), name)
    if chief is None:
        raise Unshown("who gives the role is not said", add="demotion: {as: admin}")
    answer = _sent(chief, how.give, how.given, person)
    attack.positive(f"{name} is given the role", answer)
    lab.world.people.login(person, person.browser)  # a role may count from the next login on
    return person


def _taken(lab: Lab, attack: Attack, how: Demotion, chief: Person | None, person: Person) -> None:
    if how.take is not None and chief is not None:
        attack.positive("the role is taken", _sent(chief, how.take, how.taken, person))
        return
    done = lab.command("demote", user=person.id, role=how.of)
    attack.positive("the role is taken", done.returncode == 0, (done.stdout + done.stderr).strip()[-200:])


def _sent(by: Person, what: str, body: dict[str, object], person: Person) -> bool:
    method, path = call(what)
    path = path.replace("{id}", person.id).replace("{name}", person.name)
    return by.browser.send(method, re.sub(r"\{[^}]+\}", person.id, path), json=body).ok
