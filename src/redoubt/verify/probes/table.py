"""Access, tried cell by cell and held to what is declared: roles, owners, nobody, states, step-up and risk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from attrs import define, evolve, field, frozen

from ..access import ANY, NOBODY, OTHER, OWN, TENANT, Cell, Declared, Says, Snapshot, Table, beside, observed
from ..browser import Answer
from ..errors import LoginFailed, Unshown
from ..lab import Lab
from ..openapi import Operation, Resource
from ..people import Person, deep
from ..probe import Attack, probe
from ..target import Access, call
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
    """Try every operation as every role, on one's own objects and others', with and without a fresh passkey.

    What was observed is kept for the report whether or not anything is declared; what is declared is held to it.
    """
    sources = declarations(lab)
    people = {role: lab.person(role) for role in lab.world.people.roles()}
    everybody = list(people.values())
    for role in people:
        if lab.world.people.second_account(role):
            try:
                everybody.append(lab.person(role, f"another {role}"))
            except (Unshown, LoginFailed):
                continue
    stock = Stock(lab, Workshop(lab, everybody), everybody)
    if not sources:
        for tried in _cells(lab, stock, people, sources):
            _keep(lab, [tried.cell])
        raise Unshown(
            "who may do what is not declared", add="access: [{as: [admin], do: [GET /admin/users]}, …]"
        )
    with lab.attack(
        "try each operation as each role on own and others' objects", "allowed and refused as the table says"
    ) as attack:
        counts = {Says.ALLOWED: 0, Says.REFUSED: 0}
        for tried in _cells(lab, stock, people, sources):
            cells = beside(tried.cell, sources)
            _keep(lab, cells)
            for cell in cells:
                _judge(attack, cell, tried.answer)
            if tried.cell.observed in counts and tried.cell.role != NOBODY:
                counts[tried.cell.observed] += 1
        words = f"{counts[Says.ALLOWED]} cells allowed, {counts[Says.REFUSED]} refused"
        attack.positive(
            "some were allowed and some refused", counts[Says.ALLOWED] and counts[Says.REFUSED], words
        )
        attack.details.append(words)
    if lab.target.access is not None:
        _risk(lab, lab.target.access, people, stock)


def declarations(lab: Lab) -> list[Declared]:
    """Return what is declared: by the target file, and by the app's own snapshot of decisions."""
    found: list[Declared] = []
    if lab.target.access is not None:
        found.append(Table(lab.target.access))
    if lab.target.decisions and lab.world.repo is not None:
        path = lab.world.repo / lab.target.decisions
        if path.is_file():
            found.append(Snapshot.read(path))
    return found


@frozen
class Tried:
    """One cell, and the answer that filled it; None where nothing could be sent."""

    cell: Cell
    answer: Answer | None


def _cells(lab: Lab, stock: Stock, people: dict[str, Person], sources: list[Declared]) -> Iterator[Tried]:
    """Try every cell that can be tried: removals last, for what is gone can be read by nobody."""
    nobody = lab.anonymous()
    for operation in sorted(lab.api.operations, key=lambda one: one.method == "DELETE"):
        if declared_public(lab, operation) or not (sources or _bounded(lab, operation)):
            continue
        for role, own in product(people, (True, False)):
            if own or operation.path_parameters:
                yield _cell(stock, operation, people[role], own, sources)
        first = next(iter(people.values()))
        thing = stock.get(operation, first, True) or stock.get(operation, first, False)
        if thing is not None or not operation.path_parameters:
            path = operation.at(id=thing.id if thing else "")
            answer = nobody.send(operation.method, path, json=harmless(operation))
            says = observed(answer.status, objects=bool(thing), nobody=True, operation=operation)
            cell = Cell(operation.key, operation.permission, NOBODY, NOBODY, says, answer.status)
            yield Tried(cell, answer)


def _bounded(lab: Lab, operation: Operation) -> bool:
    """Say whether trying an undeclared operation disturbs nothing but objects of the probe's own."""
    return (
        operation.method == "GET"
        or bool(operation.path_parameters)
        or bool(operation.body is not None and lab.api.required(operation.body))
    )


def _cell(stock: Stock, operation: Operation, person: Person, own: bool, sources: list[Declared]) -> Tried:
    """Try one cell."""
    thing = stock.get(operation, person, own) if operation.path_parameters else None
    relation = ANY if not operation.path_parameters else OWN if own else OTHER
    if thing is not None and not own and _apart(person, thing.owner):
        relation = TENANT
    cell = Cell(operation.key, operation.permission, person.role, relation, Says.UNSAID)
    if operation.path_parameters and thing is None:
        return Tried(cell, None)
    if thing is not None and any(one.by_state(cell) for one in sources):
        body = thing.reread().json()
        cell = evolve(cell, state=str(deep(body, "status") or deep(body, "state") or ""))
    answer = person.browser.send(
        operation.method, operation.at(id=thing.id if thing else ""), json=harmless(operation)
    )
    says = observed(answer.status, objects=thing is not None, nobody=False, operation=operation)
    return Tried(evolve(cell, observed=says, status=answer.status), answer)


def _apart(one: Person, other: Person) -> bool:
    """Say whether two people's accounts name different tenants."""
    first, second = (person.account.tenant if person.account else "" for person in (one, other))
    return bool(first and second and first != second)


def _judge(attack: Attack, cell: Cell, answer: Answer | None) -> None:
    """Hold a cell to what is declared of it."""
    if answer is None or cell.observed is Says.UNSAID:
        return
    if cell.declared is Says.STEP_UP:
        asked = cell.observed is Says.REFUSED and (answer.status == 401 or cell.role == NOBODY)
        attack.check(asked, f"{cell.words()} is done without a fresh passkey", answer)
    elif cell.wider:
        attack.broke(f"{cell.words()} is allowed, which the {cell.source} denies", answer)
    elif cell.differs:
        attack.unclear(f"{cell.words()} is refused ({answer.status}), which the {cell.source} allows")


def _keep(lab: Lab, cells: list[Cell]) -> None:
    """Keep cells for the report."""
    lab.world.notes.setdefault("access", []).extend(cells)


def declared_public(lab: Lab, one: Operation) -> bool:
    """Say whether anybody may call an operation: the target file says so, or it is how people and deliveries come in."""
    opens = {
        lab.target.register_.endpoint if lab.target.register_ else "",
        lab.target.login.endpoint if lab.target.login else "",
    }
    hooks = {hook.path for hook in lab.target.webhooks}
    logout = call(lab.target.logout)[1] if lab.target.logout else ""
    return one.open or one.key in lab.target.public or one.path in opens | hooks | {logout}


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
