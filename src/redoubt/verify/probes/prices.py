"""Prices: whether one counts before anybody was shown what it changes, and whether exactly that is shown.

Where the target says how prices are proposed, verify places orders of its own, and holds the dry run that an approver
reads against them. Elsewhere it changes what is called a price in one call, and reads it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from attrs import define, field

from ..browser import Answer
from ..errors import Unshown
from ..lab import Lab
from ..openapi import Resource
from ..people import Person, deep
from ..probe import SEARCHING, Attack, probe
from ..samples import sample
from ..target import Money, Prices, call
from ..things import Thing, Workshop
from .operations import decide
from .till import money_of

_PRICE = re.compile(r"(?i)^(unit_?)?(price|fee|rate|amount)(_minor|_cents)?$")
_DEARER, _CHEAPER = 111, 97
"""How much a price is moved up and down: two numbers, so that a dry run cannot mix up which change it shows."""


@probe("OPS-8", phase=SEARCHING)
def a_price_is_shown_before_it_counts(lab: Lab) -> None:
    """Change a price, read what its approver is shown, and see who can make it count."""
    money = money_of(lab)
    if lab.target.prices is None:
        _changed_in_one_call(lab)
        return
    scene = _scene(lab, lab.target.prices, money)
    with lab.attack(
        "change a price in one call", "it counts before a second person saw what it changes"
    ) as attack:
        _asked(scene, attack)
    with lab.attack(
        "propose a price over orders that are known, and read what the approver sees",
        "not exactly those are shown",
    ) as attack:
        _rehearsed(scene, attack)
    with lab.attack("make a proposed price count as one person", "somebody pays it") as attack:
        _alone(scene, attack)


@define(eq=False)
class _Scene:
    """Who asks and who decides, what is priced, and the orders that were placed, with how much of it is in each."""

    lab: Lab
    how: Prices
    money: Money
    author: Person
    second: Person
    buyers: list[Person]
    priced: Thing
    other: Thing
    orders: Resource
    shop: Workshop
    placed: dict[str, tuple[Thing, int]] = field(factory=dict)
    wanted: int = 0
    approval: str = ""
    rival: str = ""

    def price(self) -> int:
        """Return the price that the app shows."""
        found = deep(self.priced.reread().json(), self.how.field)
        return found if isinstance(found, int) else -1

    def ask(self, price: int) -> Answer:
        """Ask for another price, as who may change it."""
        update = self.priced.resource.update
        body: dict[str, Any] = {self.how.field: price}
        if self.how.reason is not None:
            body[self.how.reason] = f"verify {self.lab.canary()}"
        return self.author.browser.send(update.method if update else "PATCH", self.priced.path, json=body)

    def order(self, buyer: Person, wanted: Mapping[str, int]) -> Thing:
        """Order so many of each thing; raises Unshown where the app does not take it."""
        create = self.orders.create
        if create is None:
            raise Unshown(f"{self.orders.name} cannot be made")
        canary = self.lab.canary()
        body = sample(self.lab.api, create.body, canary, partial(self._refer, buyer))
        name, key, amount = _lines(self.lab, self.orders, self.how.resource)
        body[name] = [{key: item, amount: number} for item, number in wanted.items()]
        answer = buyer.browser.post(create.path, json=body)
        found = answer.json() if isinstance(answer.json(), dict) else {}
        if not answer.ok or "id" not in found:
            raise Unshown(f"{buyer.role} could not order what is priced ({answer.status})")
        return Thing(self.orders, str(found["id"]), buyer, canary, found)

    def total(self, thing: Thing) -> int:
        """Return what an order comes to, as its buyer reads it now."""
        found = deep(thing.reread().json(), self.money.amount)
        return found if isinstance(found, int) else -1

    def _refer(self, buyer: Person, entity: str) -> str | None:
        return self.priced.id if entity == self.how.resource else self.shop.refer(entity, buyer)


def _scene(lab: Lab, how: Prices, money: Money) -> _Scene:
    author, second = lab.person(how.role, "author"), lab.person(how.second, "second")
    role = money.by or lab.a_role()
    buyers = [lab.person(role, "alice"), lab.person(role, "bob")]
    shop = Workshop(lab, [author])
    kind, orders = shop.resource(how.resource), shop.resource(money.resource)
    priced = shop.make(kind, author) if kind is not None else None
    other = shop.make(kind, author) if kind is not None else None
    if kind is None or orders is None or priced is None or other is None:
        raise Unshown(f"a {author.role} could not make a {how.resource}")
    for thing in (priced, other):  # what is made is often not for sale yet
        for move in kind.moves[:1]:
            author.browser.post(move.at(id=thing.id), json={})
    return _Scene(lab, how, money, author, second, buyers, priced, other, orders, shop)


def _asked(scene: _Scene, attack: Attack) -> None:
    alice, bob = scene.buyers
    item, other = scene.priced.id, scene.other.id
    for buyer, wanted in (
        (alice, {item: 3}),
        (bob, {other: 2}),
        (bob, {item: 1, other: 4}),
        (alice, {item: 2}),
    ):
        thing = scene.order(buyer, wanted)
        scene.placed[thing.id] = (thing, wanted.get(item, 0))
    old = scene.price()
    attack.positive("the price can be read", old > 0, str(old))
    attack.positive(
        "it is what is charged",
        all(scene.total(thing) >= number * old for thing, number in scene.placed.values()),
    )
    scene.wanted = old + _DEARER
    answer = scene.ask(scene.wanted)
    scene.approval = str(deep(answer.json(), scene.how.approval_id) or "")
    scene.rival = str(deep(scene.ask(old - _CHEAPER).json(), scene.how.approval_id) or "")
    now = scene.price()
    attack.check(
        now == old,
        f"{scene.how.field} went from {old} to {now} at once: nobody saw what that changes",
        answer,
    )
    paid = scene.total(scene.order(alice, {item: 1}))
    attack.check(paid == old, f"who orders pays {paid} at once, not {old}")
    if attack.outcome is None:
        attack.positive("somebody is asked", scene.approval and scene.rival, str(answer.status))


def _rehearsed(scene: _Scene, attack: Attack) -> None:
    how = scene.how
    attack.positive("somebody is asked", scene.approval)
    for approval, moved in ((scene.approval, _DEARER), (scene.rival, -_CHEAPER)):
        answer = scene.second.browser.get(re.sub(r"\{[^}]+\}", approval, call(how.shown)[1]))
        attack.positive("the approver sees the request", answer.ok, str(answer.status))
        dry = deep(answer.json(), how.rehearsal)
        if not attack.check(isinstance(dry, dict), "the approver is shown no dry run", answer):
            return
        told = {
            str(one.get("order")): (one.get("now"), one.get("proposed")) for one in dry.get("changes", ())
        }
        known = {
            order: (total, total + number * moved)
            for order, (thing, number) in scene.placed.items()
            if number and (total := scene.total(thing))
        }
        for order in known.keys() - told.keys():
            attack.check(False, f"order {order} would come to another total, and is not shown", answer)
        for order in told.keys() - known.keys():
            attack.check(False, f"order {order} is shown to differ, and would not", answer)
        for order in known.keys() & told.keys():
            attack.check(
                told[order] == known[order],
                f"order {order} is shown as {told[order]}, and would go from {known[order][0]} to {known[order][1]}",
                answer,
            )
        same = {order for order, (_, number) in scene.placed.items() if not number}
        attack.check(
            same <= {str(one) for one in dry.get("unchanged", ())},
            "what stays the same is not shown so",
            answer,
        )
        attack.check(
            deep(dry, "sum.difference") == sum(after - before for before, after in known.values()),
            f"the sum is shown as {deep(dry, 'sum.difference')}",
            answer,
        )


def _alone(scene: _Scene, attack: Attack) -> None:
    """Try with one person, and with a stranger; then see that with two it counts, once, and nothing that stands moves."""
    attack.positive("somebody is asked", scene.approval and scene.rival)
    alice, old = scene.buyers[0], scene.price()
    stood = {order: scene.total(thing) for order, (thing, _) in scene.placed.items()}
    for person in (scene.author, alice):
        answer = decide(scene.lab, person, scene.approval)
        attack.check(answer is None or not answer.ok, f"{person.role} alone approved it", answer)
    attack.check(scene.price() == old, f"the price is {scene.price()} though nobody else approved it")
    if attack.outcome is not None:
        return
    done = decide(scene.lab, scene.second, scene.approval)
    attack.positive("a second person approves", done is not None and done.ok, str(done and done.status))
    attack.positive("and then it counts", scene.price() == scene.wanted, str(scene.price()))
    paid = scene.total(scene.order(alice, {scene.priced.id: 1}))
    attack.positive("who orders pays it", paid == scene.wanted, str(paid))
    again = decide(scene.lab, scene.second, scene.approval)
    attack.check(again is None or not again.ok, "one approval is taken twice", again)
    late = decide(scene.lab, scene.second, scene.rival)
    attack.check(
        late is None or not late.ok, "a change is approved that was rehearsed over a price of before", late
    )
    attack.check(scene.price() == scene.wanted, f"the price is {scene.price()} by a change of before")
    for order, total in stood.items():
        now = scene.total(scene.placed[order][0])
        attack.check(now == total, f"an order that stood went from {total} to {now}")


def _lines(lab: Lab, orders: Resource, entity: str) -> tuple[str, str, str]:
    """Return how an order names its lines, and in a line what is ordered and how many; raises Unshown."""
    schema = orders.create.body if orders.create is not None else None
    for name, one in lab.api.properties(schema).items():
        line = lab.api.properties(one.get("items", {}))
        key = next((key for key, part in line.items() if part.get("x-entity") == entity), None)
        number = next((key for key, part in line.items() if part.get("type") == "integer"), None)
        if key is not None and number is not None:
            return name, key, number
    raise Unshown(f"the description does not say how a {orders.name} names a {entity}")


def _changed_in_one_call(lab: Lab) -> None:
    priced = _priced(lab)
    if not priced:
        raise Unshown("the description names no price that a call changes")
    shop = Workshop(lab, [lab.person(lab.a_role(), "reader")])
    tried = 0
    with lab.attack(
        "change a price in one call", "it counts before a second person saw what it changes"
    ) as attack:
        for kind, name in priced:
            thing = shop.anybody_makes(kind)
            if thing is None or kind.update is None:
                continue
            tried += 1
            old = thing.reread().member(name)
            attack.positive("the price can be read", isinstance(old, int), str(old))
            whole = sample(lab.api, kind.update.body, lab.canary(), partial(shop.refer, person=thing.owner))
            rest = {key: one for key, one in whole.items() if key != name}
            other = thing.owner.browser.send(kind.update.method, thing.path, json=rest)
            attack.positive("what is no price can be changed in one call", other.ok, str(other.status))
            answer = thing.owner.browser.send(
                kind.update.method, thing.path, json={**rest, name: int(old) + 111}
            )
            now = thing.reread().member(name)
            attack.check(
                now == old,
                f"{kind.update.key} changed {name} from {old} to {now} at once: nobody saw what that changes",
                answer,
            )
        attack.positive("there was a price to change", tried)
        if attack.outcome is None:
            attack.unclear("what an approver is shown of a price is not known")
            lab.trial.add = (
                "prices: {resource: Product, as: operator, second: finance, shown: GET /approvals/{id}}"
            )


def _priced(lab: Lab) -> list[tuple[Resource, str]]:
    found = []
    for kind in lab.api.resources():
        if kind.update is None or kind.read is None or kind.create is None:
            continue
        found += [(kind, name) for name in lab.api.properties(kind.update.body) if _PRICE.match(name)]
    return found
