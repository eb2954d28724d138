"""Escalation: reaching what belongs to others or to other roles, judged by effects on planted canaries."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

from ..authenticator import b64url
from ..browser import Answer
from ..errors import Unshown
from ..lab import Lab
from ..openapi import Operation, Resource
from ..people import Person
from ..probe import Attack
from ..samples import sample
from ..things import Thing, Workshop


def cast_of_two(lab: Lab) -> tuple[Person, Person]:
    """Return two people of the same role, who own different things."""
    role = lab.a_role()
    if not lab.world.people.second_account(role):
        raise Unshown(f"two people with the role {role} are needed", add="register: {endpoint: /register}")
    return lab.person(role, "alice"), lab.person(role, "bob")


def shares(lab: Lab, operation: Operation | None) -> bool:
    """Say whether the target file calls an operation public, or declares that its role may do it to anybody's."""
    if operation is None:
        return False
    if operation.open or operation.key in lab.target.public:
        return True
    for line in lab.target.access or ():
        named = operation.key in line.do or (operation.permission and operation.permission in line.do)
        if named and not line.own and lab.a_role() in line.roles:
            return True
    return False


def cross_owner(lab: Lab, alice: Person, bob: Person) -> None:
    """As bob, read, list, change and delete what alice owns; the canary and her own re-read decide."""
    shop = Workshop(lab, [alice, bob])
    kinds = [one for one in lab.api.resources() if one.create is not None]
    if not kinds:
        raise Unshown("the description names no objects that people make")
    tried = 0
    for kind in kinds:
        if shares(lab, kind.read):
            continue
        first = shop.make(kind, alice)
        if first is None:
            continue
        if not first.reread().ok and kind.read is not None:
            continue
        tried += 1
        with lab.attack(
            f"reach another's {kind.name}", "her canary in his answer, or her own re-read changed"
        ) as attack:
            _one_kind(lab, attack, shop, kind, first, bob)
    if tried == 0:
        raise Unshown(f"{alice.role} makes nothing of their own")


def _one_kind(lab: Lab, attack: Attack, shop: Workshop, kind: Resource, first: Thing, bob: Person) -> None:
    attack.positive("the owner reads her own", kind.read is None or first.reread().ok)
    twin = shop.make(kind, bob)
    attack.positive("a stranger's own works", twin is not None and (kind.read is None or twin.reread().ok))
    if kind.read is not None:
        seen = bob.browser.get(first.path)
        attack.check(not _leaks(seen, first), f"{kind.read.key} shows another's object", seen, first.canary)
        missing = bob.browser.get(
            first.path.replace(first.id, "0" * 8 if not first.id.isdigit() else "99999999")
        )
        attack.positive("a missing id is not found", not missing.ok)
    if kind.listing is not None and not _lists_all(lab, kind):
        listed = bob.browser.get(kind.listing.path)
        attack.check(
            not _leaks(listed, first), f"{kind.listing.key} lists another's object", listed, first.canary
        )
    if kind.update is not None and not shares(lab, kind.update):
        planted = lab.canary()
        body = sample(lab.api, kind.update.body, planted, lambda entity: shop.refer(entity, bob))
        changed = bob.browser.send(kind.update.method, first.path, json=body)
        after = first.reread()
        attack.check(
            planted not in after.text, f"{kind.update.key} changed another's object", changed, planted
        )
    for move in kind.moves:
        if shares(lab, move):
            continue
        before = _state(first.reread())
        moved = bob.browser.post(move.at(id=first.id), json={})
        attack.check(_state(first.reread()) == before, f"{move.key} moved another's object", moved)
    if kind.delete is not None and not shares(lab, kind.delete):
        gone = bob.browser.send("DELETE", first.path)
        attack.check(
            first.reread().ok or kind.read is None, f"{kind.delete.key} deleted another's object", gone
        )
    attack.positive("his session is still alive", twin is None or kind.read is None or twin.reread().ok)


def _lists_all(lab: Lab, kind: Resource) -> bool:
    """Say whether a list may show everybody's: that one may list does not say that one may read all that there is."""
    listing = kind.listing
    if listing is None or listing.open or listing.key in lab.target.public:
        return True
    return kind.read is None and shares(lab, listing)


def _leaks(answer: Answer, thing: Thing) -> bool:
    return thing.canary in answer.text and answer.status != 404


def _state(answer: Answer) -> Any:
    body = answer.json()
    return {key: body.get(key) for key in ("status", "state", "version")} if isinstance(body, dict) else None


def secrets_of_others(lab: Lab, alice: Person, bob: Person) -> None:
    """As bob and as every other role, read all that can be read, and look for what alice logs in with."""
    with lab.attack(
        "look for another's password, session or token in all that is answered", "it stands in an answer"
    ) as attack:
        known = {"password": alice.password} if len(alice.password) >= 8 else {}
        known |= {
            f"cookie {name}": value for name, value in alice.browser.cookies.items() if len(value) >= 12
        }
        known |= {
            f"header {name}": value for name, value in alice.browser.headers.items() if len(value) >= 12
        }
        if alice.key is not None:
            known["passkey"] = b64url(alice.key.credential_id)
        attack.positive("there are secrets of hers to look for", known)
        roles = [role for role in lab.world.people.roles() if role != bob.role]
        readers, read = [bob, *(lab.person(role, f"reading {role}") for role in roles)], 0
        for reader, one in product(readers, lab.api.operations):
            if one.method != "GET":
                continue
            answer = reader.browser.get(one.at(id=alice.id or "1"))
            read += answer.ok
            for what, value in known.items():
                attack.check(
                    value not in answer.text, f"{one.key} shows a {reader.role} another's {what}", answer
                )
        attack.positive("something was read", read)


def function_level(lab: Lab) -> None:
    """As a role that may not, do what only others may; the access table says who, else the word admin in a path."""
    access = lab.target.access
    roles = lab.world.people.roles()
    if access is not None:
        return
    suspects = [
        one for one in lab.api.operations if re.search(r"(?i)/(admin|internal|manage|staff)\b", one.path)
    ]
    if not suspects:
        return
    person = lab.person(lab.a_role(), "mallory")
    with lab.attack(
        "do as an ordinary person what an administrator does", "an answer with content, or an effect"
    ) as attack:
        attack.positive("the person is logged in", lab.alive(person.browser) if lab.target.whoami else True)
        for one in suspects:
            path = one.at(id="1")
            body = sample(lab.api, one.body, lab.canary(), lambda _: None) if one.body is not None else None
            answer = person.browser.send(one.method, path, json=body)
            attack.check(
                not answer.ok, f"{one.key} answers {answer.status} to the role {person.role}", answer
            )
        if "admin" in roles:
            admin = lab.person("admin", "root")
            worked = any(admin.browser.get(one.at(id="1")).ok for one in suspects if one.method == "GET")
            attack.positive("an administrator can", worked or all(one.method != "GET" for one in suspects))
