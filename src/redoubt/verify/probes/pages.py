"""Pages: what an identity reaches in a real browser, asked for and sent again by others; judged by planted canaries.

Each identity has a browser profile of its own. As whoever is offered it, the probe walks the pages, makes things with
canaries through their forms, and learns which forms and buttons change something. As everybody else (another owner, a
lesser role, nobody) it then opens the same addresses and sends the same forms, with their own session and token: an
attack succeeds when the canary shows, or when the owner's own page has changed. What the target file grants, and what
the app's own pages offer somebody, is no attack.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import httpx

from ..chromium import INSTALL, chromium
from ..errors import LoginFailed, NoSubject, Unshown
from ..lab import Lab
from ..pages.attack import NOBODY, Cast, KindAttack
from ..pages.kinds import Kind, kinds_of
from ..pages.relay import Relay
from ..pages.visitor import visiting
from ..pages.walk import walk
from ..people import Person
from ..probe import DISRUPTIVE, probe
from ..transport import is_loopback

MOST_KINDS = 6
MOST_SECONDS = 240.0


@probe("VAL-5", first=True)
def escalation_through_the_pages(lab: Lab) -> None:
    """Drive the app's pages as one identity, then ask for and send the same as the others."""
    drive_pages(lab)


@probe("AUZ-1", phase=DISRUPTIVE)
def pages_keep_what_is_theirs(lab: Lab) -> None:
    """Drive the app's pages; two controls share what one run showed."""
    try:
        drive_pages(lab)
    except Unshown as unshown:  # the table is judged through the API; what was not driven is VAL-5's to say
        raise NoSubject(unshown.reason) from None


def drive_pages(lab: Lab) -> None:
    """Drive the pages once a run; whoever comes second takes what was shown then.

    Raises NoSubject for an app without pages, Unshown where there is nothing to drive them with.
    """
    lock = lab.world.notes.setdefault("pages lock", threading.Lock())
    with lock:
        known = lab.world.notes.get("pages")
        if known is None:
            try:
                _drive(lab)
            except (Unshown, NoSubject) as reason:
                known = reason
            lab.world.notes["pages"] = known or list(lab.trial.attacks)
        if isinstance(known, list):
            lab.trial.attacks += known
        elif known is not None:
            raise known


def _drive(lab: Lab) -> None:
    if not has_pages(lab):
        raise NoSubject("the app has no pages")
    path = lab.world.chromium
    if path is None:
        raise Unshown(
            "the pages were not driven in a browser: there is no Chromium here, or it was not to be used; "
            "what is said holds for the API alone",
            add=INSTALL,
        )
    with ExitStack() as stack:
        started = stack.enter_context(chromium(path))
        relay = stack.enter_context(Relay(lab.world.base_url))
        trusted = is_loopback(httpx.URL(lab.world.base_url).host)
        seats = [(person.browser, person.role) for person in _people(lab)]
        cast = Cast(lab)
        for browser, role in (*seats, (lab.browser(NOBODY), "")):
            way = visiting(started, relay, browser, role, trusted=trusted)
            cast.visitors.append(stack.enter_context(way))
        _run(cast)


def has_pages(lab: Lab) -> bool:
    """Say whether any start page is HTML."""
    browser = lab.browser("looking for pages")
    for page in starts(lab):
        answer = browser.get(page, headers={"Accept": "text/html"}, allow_429=True)
        if "text/html" in answer.headers.get("content-type", "") or answer.status in (302, 303, 307):
            return True
    return False


def starts(lab: Lab) -> list[str]:
    """Return the pages that a walk begins at."""
    return list(dict.fromkeys(("/", *lab.target.pages)))


def _people(lab: Lab) -> list[Person]:
    """Return one person of each role, and a second of the role of whoever joins by themselves."""
    first = lab.a_role()
    found = [lab.person(first, "alice at a screen")]
    if lab.world.people.second_account(first):
        found.append(lab.person(first, "bob at a screen"))
    for role in lab.world.people.roles():
        if role != first:
            try:
                found.append(lab.person(role, f"{role} at a screen"))
            except (Unshown, LoginFailed):
                continue
    return found


def _attack(cast: Cast, kind: Kind) -> bool:
    """Attack what is made by one form; False when nothing could be made by it."""
    first = kind.plant()
    second = (kind.another() or kind.plant()) if first is not None else None
    if first is None or second is None:
        return False
    with cast.lab.attack(
        f"drive the pages of another's {kind.name} in a browser",
        "the canary shows to who must not see it, or the owner's own page changes",
    ) as attack:
        KindAttack(cast, attack, kind, first, second).run()
    return True


def _run(cast: Cast) -> None:
    """Walk as everybody, then attack kind by kind; what could not be made is tried once more, when the others are."""
    lab, until = cast.lab, time.monotonic() + MOST_SECONDS
    known: set[str] = set()
    kinds: list[Kind] = []
    for visitor in cast.visitors:
        alike = next((one for one in cast.visitors if one.role == visitor.role), visitor)
        if alike is not visitor:
            visitor.open("/")
            cast.sites[visitor.name] = cast.sites[alike.name].again()
            continue
        site = cast.sites[visitor.name] = walk(visitor, starts(lab), until)
        if visitor.role:
            kinds += kinds_of(visitor, site, known, lab.canary)
    left = kinds[:MOST_KINDS]
    for _ in (1, 2):
        left = [kind for kind in left if time.monotonic() > until or not _attack(cast, kind)]
    if not lab.trial.attacks:
        raise Unshown(
            "nothing could be made through the pages, so nothing of anybody's was attacked there",
            add="pages: [/page/where/people/begin]",
        )
    if left := [*left, *kinds[MOST_KINDS:]]:
        names = ", ".join(kind.name for kind in left)
        lab.trial.attacks[-1].details.append(
            f"not attacked, for want of time or because none could be made: {names}"
        )
