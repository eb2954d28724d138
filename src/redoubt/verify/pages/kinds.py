"""Kinds of things that people make through pages: planted with a canary, found again, and acted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from attrs import define, evolve, field, frozen

from .fill import acceptable, changed_by, follows, made_of
from .view import Form, View, identity_of, path_of, pattern
from .visitor import Sending, Visitor, sending_of
from .walk import Site

MOST_SUBPAGES = 2


@frozen
class Planted:
    """One thing: its canary, the page that shows it alone (empty where only a list does), the list, and its id in that."""

    canary: str
    page: str
    listing: str
    row: str = ""

    @property
    def place(self) -> str:
        """Where it is read again."""
        return self.page or self.listing


@define(eq=False)
class Kind:
    """What one form makes, and who owns it."""

    name: str
    owner: Visitor
    form: Form
    listing: str
    site: Site
    canary: Callable[[], str]
    sending: Sending | None = None
    planted: str = ""
    """What making the first one sent, and the canary in it."""

    def plant(self) -> Planted | None:
        """Make one through the form, as people do it, as the owner; None when that fails."""
        for attempt in (0, 1):
            form = self._same(self.owner.open(path_of(self.form.page)))
            if form is None:
                return None
            canary = self.canary()
            view, sending = self.owner.press(form, made_of(form, canary, attempt))
            if (found := self._found(self.owner, view, canary)) is not None:
                self.sending, self.planted = sending, canary
                return found
        return None

    def another(self, by: Visitor | None = None) -> Planted | None:
        """Make one more by sending the same again, with another canary, as the owner or as somebody else."""
        visitor = by or self.owner
        if self.sending is None:
            return None
        canary = self.canary()
        view = visitor.forge(self.sending.about(self.planted, canary))
        return self._found(visitor, view, canary)

    def _same(self, view: View) -> Form | None:
        return next((one for one in view.forms if one.key() == self.form.key()), None)

    def _found(self, visitor: Visitor, view: View, canary: str) -> Planted | None:
        here = path_of(view.url)
        new_place = here not in self.site.paths and here != path_of(self.form.action)
        if 200 <= view.status < 300 and canary in view.text and new_place:
            return Planted(canary, here, self.listing)
        view = visitor.open(self.listing)
        if not view.ok or canary not in view.text:
            return None
        here = path_of(view.url)
        links, forms = visitor.near(canary)
        own = [path_of(one) for one in links if one.startswith(visitor.base_url + "/")]
        new = [one for one in own if one not in self.site.paths and one != here and follows(one)]
        row = next((_row(form) for form in view.forms if not form.click and form.index in forms), "")
        return Planted(canary, min(new, key=len, default=""), here, row)


def _row(form: Form) -> str:
    """Return the id that a form of a list's row carries: hidden beside its token, else in its address."""
    hidden = [one.value for one in form.fields if one.kind == "hidden" and not one.token and one.value]
    parts = zip(form.path.split("/"), pattern(form.action).split("/"), strict=True)
    return next(iter(hidden), next((part for part, shape in parts if shape == "{id}"), ""))


def kinds_of(visitor: Visitor, site: Site, known: set[str], canary: Callable[[], str]) -> Iterator[Kind]:
    """Yield a kind for each form that makes something, of those that are not known yet."""
    for form in site.forms():
        if not form.creates or form.click or form.key() in known or not acceptable(form, visitor.base_url):
            continue
        known.add(form.key())
        page = path_of(form.page)
        words = [one for one in form.path.split("/") if one and one not in ("new", "create", "add")]
        listing = page if not page.endswith(("/new", "/create", "/add")) else site.found_on.get(page, page)
        yield Kind(words[-1] if words else "page", visitor, form, listing, site, canary)


@define(eq=False)
class Way:
    """One way to act on a thing: a form or a button, who is offered it, and what using it sends."""

    key: str
    page: str
    form: Form
    offered: list[Visitor]
    sending: Sending | None = None
    effect: bool = False
    canary: str = ""

    @property
    def order(self) -> int:
        """Changes first, removals last."""
        gone = any(word in self.key.lower() for word in ("delete", "remove", "destroy"))
        return 2 if gone else 0 if changed_by(self.form, "x" * 20) else 1

    def about(self, canary: str) -> Sending:
        """Return what sends it about the victim, with a canary of the sender's own in it."""
        if self.sending is not None and (self.form.click or self.sending.script):
            return self.sending.about(self.canary, canary)
        return sending_of(self.form, changed_by(self.form, canary))

    def move(self, old: str, new: str) -> None:
        """Turn to another victim, whose id is `new`."""
        if not old:
            return
        self.page = self.page.replace(old, new)
        self.sending = self.sending.about(old, new) if self.sending is not None else None
        fields = tuple(evolve(one, value=one.value.replace(old, new)) for one in self.form.fields)
        self.form = evolve(self.form, action=self.form.action.replace(old, new), fields=fields)


@define(eq=False)
class Looks:
    """What everybody saw of one thing's pages, and how they may act on it there."""

    thing: Planted
    identity: str
    views: dict[tuple[str, str], View] = field(factory=dict)
    ways: dict[str, Way] = field(factory=dict)

    def look(self, visitor: Visitor, pages: list[str]) -> None:
        """Open pages as one identity, and those that the thing's own page leads to; note what they may press there."""
        waiting, opened = [*pages], 0
        while waiting and opened <= len(pages) + MOST_SUBPAGES:
            path = waiting.pop(0)
            if (visitor.name, path) in self.views:
                continue
            opened += 1
            view = visitor.look(path)
            self.views[visitor.name, path] = view
            if not view.ok or view.raw:
                continue
            for form in view.forms:
                if _about(form, self.identity, path, self.thing) and acceptable(form, visitor.base_url):
                    key = form.key(self.identity)
                    self.ways.setdefault(key, Way(key, path, form, [])).offered.append(visitor)
            own = [path_of(one) for one in view.links if one.startswith(visitor.base_url + "/")]
            if self.identity and path == self.thing.page:
                waiting += [one for one in own if self.identity in one and one != path and follows(one)]

    def of(self, visitor: Visitor) -> dict[str, View]:
        """Return what one identity saw, by path."""
        return {path: view for (name, path), view in self.views.items() if name == visitor.name}


def _about(form: Form, identity: str, path: str, thing: Planted) -> bool:
    """Say whether a form is about one thing: its id stands in it, or it sends to the thing's own page."""
    if form.click:
        return path == thing.page
    if not identity:
        return False
    hidden = [one.value for one in form.fields if one.kind == "hidden"]
    return identity in urlsplit(form.action).path + urlsplit(form.action).query or identity in hidden


def ids(first: Planted, second: Planted) -> tuple[str, str]:
    """Return the ids of two things of one kind, by how their pages' addresses differ."""
    if first.page and second.page:
        return identity_of(first.page, second.page)
    return first.row, second.row
