"""The declared access table, tried cell by cell: roles, owners, states, step-up and risk."""

from __future__ import annotations

from itertools import product
from typing import Any

from attrs import define, field

from ..browser import Answer
from ..errors import LoginFailed, Unshown
from ..lab import Lab
from ..openapi import Operation, Resource
from ..people import Person, deep
from ..probe import Attack, probe
from ..target import Access
from ..things import Thing, Workshop


@define
class Stock:
    """Objects for the cells of the table: one a maker that is only looked at, a new one for what moves or removes it."""

    lab: Lab
    shop: Workshop
    people: list[Person]
    _makers: dict[str, list[Person]] = field(factory=dict)
    _kept: dict[tuple[str, str], Thing] = field(factory=dict)

    def kind(self, operation: Operation) -> Resource | None:
        """Return the kind of object that an operation is about."""
        for one in self.lab.api.resources():
            if operation.path == one.item or operation.path.startswith(one.item + "/"):
                return one
        return None

    def get(self, operation: Operation, person: Person, own: bool) -> Thing | None:
        """Return an object of the person's own, or of somebody else's; None when nobody makes such a thing."""
        kind = self.kind(operation)
        if kind is None or kind.create is None:
            return None
        makers = [one for one in self._makers_of(kind) if (one is person) == own]
        makers.sort(key=lambda one: one.role != person.role)
        if not makers:
            return None
        maker = makers[0]
        if operation.method == "DELETE" or operation.path != kind.item:
            return self.shop.make(kind, maker)
        key = (kind.item, maker.name)
        if key not in self._kept and (made := self.shop.make(kind, maker)) is not None:
            self._kept[key] = made
        return self._kept.get(key)

    def _makers_of(self, kind: Resource) -> list[Person]:
        if kind.item not in self._makers:
            found = []
            for person in self.people:
                made = self.shop.make(kind, person)
                if made is not None:
                    found.append(person)
                    self._kept[kind.item, person.name] = made
            self._makers[kind.item] = found
        return self._makers[kind.item]


@probe("AUZ-1")
def decisions_follow_the_table(lab: Lab) -> None:
    """Try every operation as every role, on one's own objects and others', with and without a fresh passkey."""
    table = lab.target.access
    if table is None:
        raise Unshown(
            "who may do what is not declared", add="access: [{as: [admin], do: [GET /admin/users]}, …]"
        )
    people = {role: lab.person(role) for role in lab.world.people.roles()}
    everybody = list(people.values())
    for role in people:
        if lab.world.people.second_account(role):
            try:
                everybody.append(lab.person(role, f"another {role}"))
            except (Unshown, LoginFailed):
                continue
    stock = Stock(lab, Workshop(lab, everybody), everybody)
    with lab.attack(
        "try each operation as each role on own and others' objects", "allowed and refused as the table says"
    ) as attack:
        counts = {True: 0, False: 0}
        deletions_last = sorted(lab.api.operations, key=lambda one: one.method == "DELETE")
        for operation, role, own in product(deletions_last, people, (True, False)):
            if operation.open or operation.key in lab.target.public:
                continue
            if not own and not operation.path_parameters:
                continue
            decided = _cell(attack, table, stock, operation, people[role], own)
            if decided is not None:
                counts[decided] += 1
        words = f"{counts[True]} cells allowed, {counts[False]} refused"
        attack.positive("some were allowed and some refused", counts[True] and counts[False], words)
        attack.details.append(words)
    _risk(lab, table, people, stock)


def _cell(
    attack: Attack, table: list[Access], stock: Stock, operation: Operation, person: Person, own: bool
) -> bool | None:
    """Try one cell; return what the table says of it, None where it could not be tried."""
    thing = stock.get(operation, person, own) if operation.path_parameters else None
    if operation.path_parameters and thing is None:
        return None
    lines = granting(table, person.role, operation)
    fitting = [one for one in lines if _fits(one, own, thing)]
    answer = person.browser.send(
        operation.method, operation.at(id=thing.id if thing else ""), json=harmless(operation)
    )
    verdict = said_yes(answer, operation)
    if verdict is None:
        return None
    whose = "" if thing is None else " on their own" if own else " on another's"
    if not fitting:
        attack.check(not verdict, f"{person.role} may {operation.key}{whose}, which the table denies", answer)
        return False
    if all(one.step_up for one in fitting):
        asked = not verdict and answer.status == 401
        attack.check(asked, f"{person.role} may {operation.key}{whose} without a fresh passkey", answer)
        return False
    if not verdict:
        attack.unclear(
            f"{person.role} is refused {operation.key}{whose} ({answer.status}), which the table allows"
        )
    return True


def granting(table: list[Access], role: str, operation: Operation) -> list[Access]:
    """Return the lines of the table that name an operation for a role, whatever their conditions."""
    names = {operation.key, operation.permission}
    return [one for one in table if role in one.roles and names & set(one.do)]


def _fits(line: Access, own: bool, thing: Thing | None) -> bool:
    if line.own and not own and thing is not None:
        return False
    if line.states and thing is not None:
        body = thing.reread().json()
        state = deep(body, "status") or deep(body, "state")
        return state is None or state in line.states
    return True


def harmless(operation: Operation) -> Any:
    """Return a body that the app refuses as invalid after it has decided: an allowed call changes nothing by it."""
    if operation.method in ("GET", "DELETE"):
        return None
    return {"no_such_member": True}


def said_yes(answer: Answer, operation: Operation) -> bool | None:
    """Say whether the decision was yes; None where the answer does not tell."""
    if answer.status in (401, 403):
        return False
    if answer.status == 404:
        return False if operation.path_parameters else None
    if answer.ok or answer.status in (400, 409, 422):
        return True
    return None


def _risk(lab: Lab, table: list[Access], people: dict[str, Person], stock: Stock) -> None:
    """Ask the app's own decider about risks that one machine cannot bring about by its network."""
    line = next((one for one in table if one.risk_max is not None), None)
    if line is None or line.risk_max is None:
        return
    with lab.attack(
        "do a risk-bounded action at a risk above its bound", "it is allowed above the bound"
    ) as attack:
        role = next(one for one in line.roles if one in people)
        person = people[role]
        operation = next((found for name in line.do if (found := lab.api.find(name)) is not None), None)
        kind = stock.kind(operation) if operation is not None else None
        thing = stock.shop.make(kind, person) if kind is not None else None
        if operation is None or thing is None:
            raise Unshown("no object of the risk-bounded kind could be made")
        home = person.browser.send(operation.method, operation.at(id=thing.id), json=harmless(operation))
        attack.positive("at home it is allowed", said_yes(home, operation), str(home.status))
        given = {
            "action": operation.permission or operation.key,
            "role": role,
            "resource": f"{thing.resource.entity()}:{thing.id}",
            "state": line.states[0] if line.states else "",
        }
        within = lab.command("policy_decide", risk=str(line.risk_max), **given)
        attack.positive("at the bound it is allowed", within.returncode == 0, within.stderr[-200:])
        for risk in (line.risk_max + 1, 100):
            beyond = lab.command("policy_decide", risk=str(risk), **given)
            attack.check(
                beyond.returncode != 0, f"{operation.key} is allowed at risk {risk}, bound {line.risk_max}"
            )
