"""What a probe is, and the attack that it makes: positive controls first, then the effect that decides."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from redoubt.controls import Check, Evidence, Exchange, Outcome

from .browser import Answer
from .errors import LoginFailed, NoSubject, Unshown
from .masking import Masker

if TYPE_CHECKING:
    from .lab import Lab

READING, NORMAL, DISRUPTIVE, SEARCHING, LAST = range(5)
_MOST_EXCHANGES = 60
_MOST_BEFORE = 24
_COMING_IN = 4
"""How many of somebody's first exchanges are kept: they register, and log in."""


ASIDE = "aside"
"""The group of probes that never touch the running app: they run meanwhile, however much the others disturb it."""


@frozen
class Probe:
    """A named experiment on one control. Later phases disturb the app more, so they run later.

    Probes of one phase and one group (`beside`) may run side by side; those of no group run alone.
    """

    control: str
    name: str
    run: Callable[[Lab], None]
    phase: int
    beside: str = ""
    first: bool = False
    """Whether it begins before the others of its group, because it takes longest."""


_PROBES: list[Probe] = []


def probe(
    control: str, *, phase: int = NORMAL, beside: str | None = None, first: bool = False
) -> Callable[[Callable[[Lab], None]], Callable[[Lab], None]]:
    """Register a function as a probe of `control`.

    What alters more than its own people and things (a restart, a fault, a switch, a secret, a limit) runs beside only
    what does not meet that, and what looks for traces that others leave, too (an alert, an event of the log), alone. That
    is so by default, but for NORMAL probes, which are one group unless they say `beside=""`. What takes longest of a
    group begins `first`, so that the others run meanwhile; that changes no order of what is reported.
    """
    group = ("normal" if phase == NORMAL else "") if beside is None else beside

    def register(run: Callable[[Lab], None]) -> Callable[[Lab], None]:
        _PROBES.append(Probe(control, run.__name__.strip("_").replace("_", " "), run, phase, group, first))
        return run

    return register


def registered() -> list[Probe]:
    """Return every probe of every area, in the order of their modules."""
    from . import probes  # noqa: F401 - importing them registers them

    return list(_PROBES)


@define(eq=False)
class Attack:
    """One attack under way: what was sent so far, which positive controls held, and whether it had its effect."""

    name: str
    oracle: str
    before: list[Exchange] = field(factory=list)
    exchanges: list[Exchange] = field(factory=list)
    positives: list[Check] = field(factory=list)
    outcome: Outcome | None = None
    details: list[str] = field(factory=list)
    tell: Mapping[str, Any] | None = None

    def positive(self, name: str, held: object, detail: str = "") -> None:
        """State a positive control; when it does not hold, the attack shows nothing and ends here."""
        self.positives.append(Check(name, bool(held), detail))
        if not held:
            raise Unshown(f"the positive control failed: {name}{f' ({detail})' if detail else ''}")

    def broke(self, detail: str, answer: Answer | None = None, shows: str = "") -> None:
        """State that the attack had its effect; `answer` and `shows` let a replay look for it."""
        self.outcome = Outcome.BROKE
        self.details.append(detail)
        if answer is not None and self.tell is None:
            at = next(
                (
                    n
                    for n in range(len(self.exchanges) - 1, -1, -1)
                    if self.exchanges[n].status == answer.status
                ),
                -1,
            )
            by = self.exchanges[at].actor if self.exchanges else ""
            self.tell = {"exchange": at, "status": answer.status, "contains": shows, "by": by}

    def check(self, fine: object, detail: str, answer: Answer | None = None, shows: str = "") -> bool:
        """State what must hold; when it does not, the attack had its effect. Returns whether it held."""
        if not fine:
            self.broke(detail, answer, shows)
        return bool(fine)

    def unclear(self, detail: str) -> None:
        """State that a part of the attack could not be judged; the whole is then inconclusive unless it broke."""
        if self.outcome is not Outcome.BROKE:
            self.outcome = Outcome.INCONCLUSIVE
        self.details.append(detail)

    def evidence(self, masker: Masker) -> Evidence:
        """Return what this attack showed, with every secret that is known by now masked."""
        actors = {one.actor for one in self.exchanges}
        before = _led_up(one for one in self.before if one.actor in actors)
        kept = [*before, *self.exchanges]
        tell: Mapping[str, Any] | None = (
            None
            if self.tell is None
            else {**self.tell, "exchange": self.tell["exchange"] % max(1, len(self.exchanges)) + len(before)}
        )
        kept, tell, dropped = _shortened(kept, tell)
        details = list(dict.fromkeys(self.details))
        text = "; ".join(details[:6]) + (f"; and {len(details) - 6} more" if len(details) > 6 else "")
        if dropped:
            text += f"{' ' if text else ''}({dropped} exchanges are left out)"
        outcome = self.outcome or Outcome.HELD
        shown = tuple(masked(one, masker) for one in kept)
        positives = tuple(Check(one.name, one.held, masker.text(one.detail)) for one in self.positives)
        if tell is not None:
            tell = {**tell, "contains": masker.text(str(tell["contains"]))}
        return Evidence(self.name, self.oracle, outcome, masker.text(text), shown, positives, tell)


def _led_up(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Return how each actor came in, and the newest of what else went before."""
    given, counts = list(exchanges), Counter[str]()
    kept = set(range(max(0, len(given) - _MOST_BEFORE), len(given)))
    for at, one in enumerate(given):
        counts[one.actor] += 1
        kept |= {at} if counts[one.actor] <= _COMING_IN else set()
    return [given[at] for at in sorted(kept)]


def _shortened(
    exchanges: list[Exchange], tell: Mapping[str, Any] | None
) -> tuple[list[Exchange], Mapping[str, Any] | None, int]:
    """Leave out the middle of a long record, never the exchange that shows the effect nor what leads up to it.

    That is: how its actors came in, what they did just before, and who sent the text that its answer holds.
    """
    if len(exchanges) <= _MOST_EXCHANGES:
        return exchanges, tell, 0
    shows = len(exchanges) - 1 if tell is None else int(tell["exchange"]) % len(exchanges)
    planted = str(tell["contains"]) if tell is not None else ""
    senders = [at for at in range(shows) if planted and planted in exchanges[at].body + exchanges[at].url]
    wanted = [shows, *senders[:2]]
    actors = {exchanges[at].actor for at in wanted} | {str(tell["by"])} if tell is not None else set()
    for actor in sorted(actors):
        wanted += [at for at, one in enumerate(exchanges[:shows]) if one.actor == actor][:_COMING_IN]
    for at in [shows, *senders[:2]]:
        wanted += [n for n in range(at) if exchanges[n].actor == exchanges[at].actor][-3:]
    half = _MOST_EXCHANGES // 2
    wanted += [*range(half), *range(shows, -1, -1)]
    kept = sorted(list(dict.fromkeys(wanted))[:_MOST_EXCHANGES])
    if tell is not None:
        tell = {**tell, "exchange": kept.index(shows)}
    return [exchanges[at] for at in kept], tell, len(exchanges) - len(kept)


class Trial:
    """The attacks of one probe's run; it receives every exchange while an attack is under way."""

    def __init__(self) -> None:
        self.attacks: list[Attack] = []
        self.add = ""
        self._current: Attack | None = None
        self._before: list[Exchange] = []
        self._lock = threading.Lock()

    def record(self, exchange: Exchange) -> None:
        """Keep an exchange with the attack under way."""
        with self._lock:
            kept = self._before if self._current is None else self._current.exchanges
            kept.append(exchange)

    @contextmanager
    def attack(self, name: str, oracle: str) -> Iterator[Attack]:
        """Begin an attack; whatever stops it before it could be judged leaves it inconclusive."""
        current = Attack(name, oracle, before=[*self._before])
        self.attacks.append(current)
        self._current = current
        try:
            yield current
        except Unshown as unshown:
            current.unclear(unshown.reason)
            self.add = self.add or unshown.add
        except LoginFailed as error:
            current.unclear(str(error))
        except NoSubject:
            self.attacks.remove(current)
            raise
        except Exception as error:  # a probe that crashes shows nothing, and says so
            current.unclear(f"the probe stumbled over {type(error).__name__}: {str(error)[:200]}")
        finally:
            self._current = None
            self._before += current.exchanges

    def seen(self) -> list[Exchange]:
        """Return every exchange so far, unmasked: what a probe reads must not depend on what a report hides."""
        with self._lock:
            return [*self._before, *(self._current.exchanges if self._current is not None else ())]

    def evidence(self, masker: Masker) -> list[Evidence]:
        """Return what every attack of this trial showed."""
        return [one.evidence(masker) for one in self.attacks]


def masked(one: Exchange, masker: Masker) -> Exchange:
    """Return an exchange as it may be shown."""
    return Exchange(
        one.actor,
        one.source,
        one.method,
        masker.text(one.url),
        {name: masker.text(text) for name, text in one.headers.items()},
        masker.text(one.body),
        one.status,
        {name: masker.text(text) for name, text in one.answer_headers.items()},
        masker.text(one.answer),
        one.note,
        one.signing,
    )
