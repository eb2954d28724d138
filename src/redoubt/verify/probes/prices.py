"""Prices: whether one takes effect before anybody was shown what it changes."""

from __future__ import annotations

import re
from functools import partial

from ..errors import Unshown
from ..lab import Lab
from ..openapi import Resource
from ..probe import SEARCHING, probe
from ..samples import sample
from ..things import Workshop
from .till import money_of

_PRICE = re.compile(r"(?i)^(unit_?)?(price|fee|rate|amount)(_minor|_cents)?$")


@probe("OPS-8", phase=SEARCHING)
def a_price_is_shown_before_it_counts(lab: Lab) -> None:
    """Change a price in one call, and read it again."""
    money_of(lab)
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


def _priced(lab: Lab) -> list[tuple[Resource, str]]:
    found = []
    for kind in lab.api.resources():
        if kind.update is None or kind.read is None or kind.create is None:
            continue
        found += [(kind, name) for name in lab.api.properties(kind.update.body) if _PRICE.match(name)]
    return found
