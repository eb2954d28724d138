"""One kind of thing under attack through pages: looked at as everybody, acted on by who may, then by who may not."""

from __future__ import annotations

import json
import re

from attrs import define, field

from redoubt.controls import Outcome

from ..lab import Lab
from ..people import deep
from ..probe import Attack
from .declared import granted, operation_behind, reading
from .fill import changed_by, made_of
from .kinds import Kind, Looks, Planted, Way, ids
from .view import View
from .visitor import Visitor, sending_of
from .walk import Site

NOBODY = "nobody"


@define(eq=False)
class Cast:
    """Everybody before a screen, and what the app's pages offer each."""

    lab: Lab
    visitors: list[Visitor] = field(factory=list)
    sites: dict[str, Site] = field(factory=dict)

    def may(self, visitor: Visitor, method: str, url: str, *, alike: bool) -> bool | None:
        """Say what is declared about somebody's acting at an address on what is another's; None for nothing."""
        operation = operation_behind(self.lab.world.api, method, url)
        return granted(self.lab.target, operation, visitor.role, alike=alike)

    def alive(self, visitor: Visitor) -> bool:
        """Say whether somebody is still logged in, asked from their browser."""
        ask = self.lab.target.whoami
        if ask is None:
            return True
        view = visitor.peek(ask.endpoint)
        try:
            found = json.loads(view.text)
        except ValueError:
            return False
        return view.status == 200 and (not ask.member or bool(deep(found, ask.member)))


@define(eq=False)
class KindAttack:
    """The attack on one kind: `first` serves whoever may act, `second` is the victim."""

    cast: Cast
    attack: Attack
    kind: Kind
    first: Planted
    second: Planted
    plain: bool = False
    """Whether the app sends the victim's page as it is shown: then asking for it tells what opening it would."""
    found: dict[str, list[str]] = field(factory=dict)
    """Each effect that should not have been, with the roles that had it."""

    def run(self) -> None:
        """Attack, and name each effect once, with all who had it."""
        try:
            self._run()
        finally:
            self.attack.details[:0] = [
                effect.replace("{who}", ", ".join(dict.fromkeys(roles)))
                for effect, roles in self.found.items()
            ]

    def _run(self) -> None:
        """Look as everybody, act as who may, send the same as who may not, and look at the owner's page each time."""
        owner, attack = self.kind.owner, self.attack
        seen = owner.peek(self.second.place)
        self.plain = self.second.canary in seen.text and seen.state() == owner.peek(self.second.place).state()
        seen = self._reread(self.second)
        attack.positive(
            "the owner sees her own", seen.ok and seen.holds(self.second.canary), f"{seen.status}"
        )
        looks = Looks(self.second, ids(self.first, self.second)[1])
        pages = [one for one in dict.fromkeys((self.second.page, self.second.listing)) if one]
        looks.look(owner, pages)
        theirs = [path for path, view in looks.of(owner).items() if view.ok]
        for visitor in self._others():
            looks.look(visitor, list(dict.fromkeys((*pages, *theirs))))
            self._leaks(looks, visitor)
        self._twin()
        self._missing(looks.identity)
        effective = self._effects(looks)
        for way in effective:
            for visitor in self.cast.visitors:
                if not self._may(visitor, way, looks):
                    self._send(way, visitor, effective)
        self._make_as_others()
        for visitor in self.cast.visitors:
            if visitor.role:
                attack.positive(f"the session of {visitor.name} is still alive", self.cast.alive(visitor))
        told = ", ".join(way.key for way in effective) or "no form that changes one"
        attack.details.append(
            f"{len(looks.views)} looks by {len(self.cast.visitors)} identities; sent by who may not: {told}"
        )

    def _others(self) -> list[Visitor]:
        return [one for one in self.cast.visitors if one is not self.kind.owner]

    def _alike(self, visitor: Visitor) -> bool:
        return visitor.role == self.kind.owner.role

    def _reread(self, thing: Planted) -> View:
        """Look at a thing as its owner."""
        owner = self.kind.owner
        return owner.peek(thing.place) if self.plain else owner.open(thing.place)

    def _leaks(self, looks: Looks, visitor: Visitor) -> None:
        """Judge what somebody saw of the victim: the canary, where neither the declaration nor a page led them."""
        for path, view in looks.of(visitor).items():
            if (
                not view.ok
                or not view.holds(self.second.canary)
                or f"GET {path}" in self.cast.lab.target.public
            ):
                continue
            operation = reading(self.cast.lab.world.api, path)
            said = granted(self.cast.lab.target, operation, visitor.role, alike=self._alike(visitor))
            if self._led(visitor, path, looks) if said is None else said:
                continue
            where = shape(path, looks.identity)
            effect = f"GET {where} shows another's {self.kind.name} to {{who}}"
            self._broke(effect, visitor, view, self.second.canary)

    def _broke(
        self, effect: str, visitor: Visitor, view: View, shows: str = "", by: Visitor | None = None
    ) -> None:
        """Count an effect as somebody's (`by`, where another sees it); the first one's exchange is what a replay looks for."""
        attack = self.attack
        self.found.setdefault(effect, []).append((by or visitor).role or NOBODY)
        attack.outcome = Outcome.BROKE
        if attack.tell is None:
            sent = [
                at
                for at, one in enumerate(attack.exchanges)
                if one.actor == visitor.name
                and one.url in (view.asked, view.url)
                and one.status == view.status
            ]
            attack.tell = {
                "exchange": sent[-1] if sent else -1,
                "status": view.status,
                "contains": shows,
                "by": (by or visitor).name,
            }

    def _led(self, visitor: Visitor, path: str, looks: Looks) -> bool:
        """Say whether the app's own pages lead somebody to an address, by the walk or by the list they now see."""
        if path in self.cast.sites[visitor.name].paths:
            return True
        listed = looks.of(visitor).get(self.second.listing)
        led = self.second.listing in self.cast.sites[visitor.name].paths
        if listed is None or not led or not listed.ok:
            return False
        page = looks.of(visitor).get(self.second.page)
        onward = page is not None and listed.leads_to(self.second.page) and page.leads_to(path)
        return listed.leads_to(path) or onward

    def _may(self, visitor: Visitor, way: Way, looks: Looks) -> bool:
        """Say whether somebody may act on the victim that way: declared, else offered where a page led them."""
        if visitor is self.kind.owner:
            return visitor in way.offered
        said = self.cast.may(visitor, way.form.method.upper(), way.form.action, alike=self._alike(visitor))
        if said is not None:
            return said
        return visitor in way.offered and self._led(visitor, way.page, looks)

    def _twin(self) -> None:
        """Hold that a stranger of the same role makes and sees one of their own, by the same sending as the attacks."""
        stranger = next((one for one in self._others() if self._alike(one)), None)
        if stranger is None:
            return
        own = self.kind.another(stranger)
        seen = stranger.peek(own.place) if own is not None else None
        held = own is not None and seen is not None and seen.ok and own.canary in (seen.text or "")
        if own is not None and not held:  # what scripts build is seen on the page only
            held = stranger.open(own.place).holds(own.canary)
        self.attack.positive("a stranger's own works", held)

    def _missing(self, identity: str) -> None:
        """Hold that an address of nothing shows nothing, even to whom everything of the kind belongs."""
        if self.second.page and identity:
            view = self.kind.owner.peek(self.second.page.replace(identity, like(identity)))
            gone = not view.ok or not self.plain
            self.attack.positive("a missing one is not found", gone, f"{view.status}")

    def _effects(self, looks: Looks) -> list[Way]:
        """Use each way as somebody who is offered it, on one that serves for that; return those that changed it."""
        owner, serving = self.kind.owner, self.first
        for way in sorted(looks.ways.values(), key=lambda one: one.order):
            actor = owner if owner in way.offered else way.offered[0]
            if way.order and (fresh := self.kind.another() or self.kind.plant()) is not None:
                serving = fresh
            old, new = ids(serving, self.second)
            before = self._reread(serving).state()
            shown = actor.open(way.page.replace(new, old) if new else way.page)
            form = next((one for one in shown.forms if one.key(old) == way.key), None)
            if form is None:
                continue
            way.canary = self.cast.lab.canary()
            _, sending = actor.press(form, changed_by(form, way.canary))
            way.sending = sending.about(old, new) if sending is not None else None
            way.effect = sending is not None and self._reread(serving).state() != before
        tried = [way for way in looks.ways.values() if way.sending is not None]
        found = [way for way in tried if way.effect]
        if tried:
            names = ", ".join(way.key for way in found)
            self.attack.positive("who is offered a form changes something by it", found, names)
        return sorted(found, key=lambda one: one.order)

    def _send(self, way: Way, visitor: Visitor, ways: list[Way]) -> None:
        """Send what a page sends as somebody who may not, and look at the owner's page."""
        before = self._reread(self.second).state()
        canary = self.cast.lab.canary()
        view = visitor.forge(way.about(canary))
        after = self._reread(self.second)
        if after.state() == before:
            return
        effect = f"{way.key} by {{who}} changed another's {self.kind.name}"
        if after.ok and after.holds(canary):
            self._broke(effect, self.kind.owner, after, canary, by=visitor)
        else:
            self._broke(effect, visitor, view)
        fresh = self.kind.another() or self.kind.plant()
        if fresh is not None:  # whoever comes next is judged by an untouched one
            old, new = ids(self.second, fresh)
            for one in ways:
                one.move(old, new)
            self.second = fresh

    def _make_as_others(self) -> None:
        """Send the form that makes one as who is neither granted nor offered it; it must show nowhere."""
        form = self.kind.form
        for visitor in self._others():
            said = self.cast.may(visitor, form.method.upper(), form.action, alike=False)
            if form.key() in self.cast.sites[visitor.name].actions if said is None else said:
                continue
            canary = self.cast.lab.canary()
            view = visitor.forge(sending_of(form, made_of(form, canary)))
            shown = view.status // 100 == 2 and canary in view.text
            listed = self.kind.owner.peek(self.kind.listing)
            if not shown and canary in listed.text:
                effect = f"{form.key()} by {{who}} makes what only others are offered to make"
                self._broke(effect, self.kind.owner, listed, canary, by=visitor)
            elif shown:
                self._broke(
                    f"{form.key()} by {{who}} makes what only others are offered to make",
                    visitor,
                    view,
                    canary,
                )


def shape(path: str, identity: str) -> str:
    """Return a path with the object's id as a placeholder."""
    return path.replace(identity, "{id}") if identity else path


def like(identity: str) -> str:
    """Return an id of the same form that is nobody's."""
    if identity.isdigit():
        return str(int(identity) + 987_654)
    last = "0" if identity[-1] != "0" else "1"
    return identity[:-4] + "dead" if re.fullmatch(r"[0-9a-f-]{36}", identity) else identity[:-1] + last
