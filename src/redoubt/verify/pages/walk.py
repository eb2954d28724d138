"""A walk through an app's pages: what an identity is offered by links and forms, from the start pages on."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from urllib.parse import urldefrag

from attrs import define, field

from .fill import follows
from .view import Form, View, path_of, pattern
from .visitor import Visitor

MOST_PAGES = 18
_OF_A_PATTERN = 1


@define(eq=False)
class Site:
    """What one identity was offered: paths that pages link to, what forms send to, and what the pages showed."""

    paths: set[str] = field(factory=set)
    actions: set[str] = field(factory=set)
    views: dict[str, View] = field(factory=dict)
    found_on: dict[str, str] = field(factory=dict)

    def again(self) -> Site:
        """Return the same offers for somebody else of the same role, whose own things are still to be seen."""
        return Site({*self.paths}, {*self.actions}, {}, dict(self.found_on))

    def forms(self) -> list[Form]:
        """Return every form of every page, in the order of the walk."""
        return [form for view in self.views.values() for form in view.forms]

    def take(self, view: View) -> None:
        """Count what a page offers as offered."""
        here = path_of(view.url)
        for link in view.links:
            self.paths.add(path_of(link))
            self.found_on.setdefault(path_of(link), here)
        self.actions |= {form.key() for form in view.forms}


def walk(visitor: Visitor, starts: Sequence[str], until: float) -> Site:
    """Follow links from the start pages, at most `MOST_PAGES` and until `until` (monotonic); change nothing."""
    site = Site()
    waiting, patterns = deque(dict.fromkeys(starts)), Counter[str]()
    taken: set[str] = set()
    while waiting:
        if len(site.views) >= MOST_PAGES or time.monotonic() > until:
            break
        path = waiting.popleft()
        if path in taken or patterns[pattern(path)] >= _OF_A_PATTERN:
            continue
        taken.add(path)
        view = visitor.look(path)
        here = path_of(view.url)
        if not 200 <= view.status < 300 or not view.url.startswith(visitor.base_url) or here in site.views:
            continue
        patterns[pattern(here)] += 1
        taken.add(here)
        site.paths.add(here)
        site.views[here] = view
        site.take(view)
        for link in view.links:
            if link.startswith(visitor.base_url + "/") and follows(path_of(link)):
                waiting.append(path_of(urldefrag(link)[0]))
    return site
