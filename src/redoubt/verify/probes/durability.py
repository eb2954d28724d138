"""Webhooks across crashes: processes are killed with SIGKILL while deliveries arrive, and effects are counted."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from contextlib import closing, suppress
from functools import partial

from attrs import define

from ..browser import Answer
from ..errors import Unshown
from ..lab import Lab
from ..probe import Attack, probe
from ..replica import second_replica
from ..target import Webhook
from .deliveries import Effects, Sender, hooks
from .stores import copied, tables_like

BACK_SECONDS = 90.0
"""How long a killed process may take to come back; on a crowded machine that is long, and it shows nothing."""

_KILLS = 3
_BETWEEN = 10
"""Deliveries before each kill of the worker: more than it does in the time until then."""


@define(eq=False)
class _Sent:
    """A delivery that was taken before the restarts."""

    hook: Webhook
    sender: Sender
    effects: Effects
    canary: str
    answer: Answer
    body: bytes
    headers: dict[str, str]

    def again(self, lab: Lab) -> Answer | None:
        """Send it once more, as soon as the app answers."""
        found: Answer | None = lab.wait(
            partial(_answered, self.sender, self.body, self.headers), BACK_SECONDS, 0.1
        )
        return found


def duplicates_across_restarts(lab: Lab) -> None:
    """Send duplicates after each process was killed; two controls share what one round of restarts showed."""
    known = lab.world.notes.get("restarts")
    if isinstance(known, list):
        lab.trial.attacks += known
        return
    found = hooks(lab)
    with lab.attack(
        "send duplicates after each process was killed", "one is taken as new, or its effect happens twice"
    ) as attack:
        sent = [_delivered(lab, attack, hook) for hook in found]
        for name in ("worker", "app"):
            if name == "app" or _runs(lab, name):
                restart(lab, name)
                for one in sent:
                    _taken_again(lab, attack, one, name)
        time.sleep(1.5)  # what may still come
        for one in sent:
            if one.effects.seen:
                count = one.effects.count(one.canary)
                attack.check(count == 1, f"{one.hook.path}: after restarts the effect happened {count} times")
    lab.world.notes["restarts"] = list(lab.trial.attacks)


def _delivered(lab: Lab, attack: Attack, hook: Webhook) -> _Sent:
    sender, effects, canary = Sender(lab, hook), Effects(lab, hook), lab.canary()
    answer, body, headers = sender.deliver(canary)
    attack.positive(f"a delivery to {hook.path} is accepted", answer.ok, str(answer.status))
    if effects.seen:
        attack.positive("and has its effect", effects.happened(canary))
    return _Sent(hook, sender, effects, canary, answer, body, headers)


def _taken_again(lab: Lab, attack: Attack, one: _Sent, name: str) -> None:
    again = one.again(lab)
    attack.positive(f"the app is back after {name} died", again)
    if again is not None and (one.hook.dedupe_days is not None or not one.effects.seen):
        attack.check(
            not again.ok or again.text != one.answer.text,
            f"{one.hook.path}: a duplicate is taken as new after {name} died",
            again,
        )


def _runs(lab: Lab, name: str) -> bool:
    try:
        return lab.process(name) > 0
    except Unshown:
        return False


@probe("WHK-3", phase=2)
def replay_after_restart(lab: Lab) -> None:
    """Replay a delivery to another replica, and to processes that were killed and started again."""
    with suppress(Unshown):
        second_replica(lab)  # it comes up meanwhile
    duplicates_across_restarts(lab)
    with lab.attack(
        "replay deliveries to another replica", "one is taken as new, or its effect happens twice"
    ) as attack:
        replica = second_replica(lab)
        replica.await_up(lab)
        for hook in hooks(lab):
            one = _delivered(lab, attack, hook)
            fresh, there = lab.canary(), replica.same(lab, one.sender.browser)
            first = one.sender.through(there).deliver(fresh)[0]
            attack.positive("the other replica takes what is new", first.ok, str(first.status))
            for _ in range(3):
                again = one.sender.through(there).send(one.body, one.headers)
                if one.hook.dedupe_days is not None or not one.effects.seen:
                    same = again.ok and again.text == one.answer.text
                    attack.check(not same, f"{hook.path}: the other replica takes a duplicate as new", again)
            if one.effects.seen:
                attack.positive("and what is new has its effect", one.effects.happened(fresh))
                count = one.effects.settled(one.canary)
                attack.check(count == 1, f"{hook.path}: at two replicas the effect happened {count} times")


def _answered(sender: Sender, body: bytes, headers: dict[str, str]) -> Answer | None:
    try:
        answer = sender.send(body, headers)
    except Unshown:
        return None
    return None if answer.status in (502, 503) else answer


def restart(lab: Lab, name: str) -> None:
    """Kill one of the app's processes with SIGKILL and wait until its supervisor has started it again."""
    before = lab.process(name)
    os.kill(before, signal.SIGKILL)
    if not lab.wait(lambda: _other(lab, name, before), BACK_SECONDS, 0.1):
        raise Unshown(f"{name} was not started again")
    if name == "app" and not lab.wait(partial(_serves, lab), BACK_SECONDS, 0.1):
        raise Unshown("the app does not serve again")


def _serves(lab: Lab) -> bool:
    """Say whether the app answers anything at all, so that no later probe meets a closed door."""
    try:
        return lab.tool("visitor").get("/").status not in (502, 503)
    except Unshown:
        return False


def _other(lab: Lab, name: str, before: int) -> bool:
    try:
        return lab.process(name) != before
    except Unshown:
        return False


@probe("WHK-4", phase=2, beside="kills", first=True)
def killed_between_acceptance_and_effect(lab: Lab) -> None:
    """Kill the worker again and again while deliveries arrive; count every effect."""
    watched = [hook for hook in hooks(lab) if hook.effect is not None]
    if not watched:
        raise Unshown(
            "what a delivery does cannot be seen",
            add="webhooks: [{effect: {read: GET /api/things, as: user}}]",
        )
    hook = watched[0]
    sender, effects = Sender(lab, hook), Effects(lab, hook)
    with lab.attack(
        "kill the worker while deliveries arrive", "an accepted delivery's effect is missing or doubled"
    ) as attack:
        first = lab.canary()
        attack.positive("a delivery is accepted", sender.deliver(first)[0].ok)
        attack.positive("and has its effect", effects.happened(first))
        lab.process("worker")
        sent: list[str] = []
        for part in range(_KILLS):
            for _ in range(_BETWEEN):
                canary = lab.canary()
                answer, body, headers = sender.deliver(canary)
                if answer.ok:
                    sent.append(canary)
                    if lab.random.random() < 0.5:
                        sender.send(body, headers)
            time.sleep((part + lab.random.random()) / _KILLS * 0.12)  # early in its work, midway, late
            restart(lab, "worker")
            alive = lab.canary()
            sender.deliver(alive)
            # The next kill must meet a worker at work, not one that is only starting.
            attack.positive("the worker works again", effects.happened(alive, BACK_SECONDS))
        whole = _KILLS * _BETWEEN
        attack.positive(
            "deliveries were accepted while it died", 2 * len(sent) > whole, f"{len(sent)} of {whole}"
        )
        lab.wait(lambda: all(effects.counts(sent).values()), 50, 0.3)
        for count in effects.counts(sent).values():
            attack.check(count == 1, f"an accepted delivery had its effect {count} times")


@probe("WHK-5", phase=2)
def dedupe_windows_outlive_restarts(lab: Lab) -> None:
    """Send duplicates inside the window, across restarts of every process that knows them."""
    watched = [hook for hook in hooks(lab) if hook.dedupe_days is not None]
    if not watched:
        raise Unshown("no dedupe window is declared", add="webhooks: [{dedupe_days: 14}]")
    duplicates_across_restarts(lab)
    with lab.attack("read how long messages are remembered", "not as long as was declared") as attack:
        for hook in watched:
            days = stored_window(lab, hook.path.rsplit("/", 1)[-1])
            attack.positive(f"the stored window of {hook.path} can be read", days)
            attack.check(
                days == hook.dedupe_days, f"the stored window is {days} days, not {hook.dedupe_days}"
            )
            attack.details.append(f"a window of {days} days is stored; no clock was moved beyond it")


def stored_window(lab: Lab, endpoint: str) -> int:
    """Return for how many days the store remembers the newest message of an endpoint, read from a copy."""
    with copied(lab, "inbox") as (store, _):
        tables = tables_like(store, re.compile(r"(?i)dedupe|nonce|seen|idempoten"))
        with closing(sqlite3.connect(store)) as db:
            for table in tables:
                columns = [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]
                first = next(
                    (one for one in columns if re.match(r"(?i)first|created|received|seen_at", one)), ""
                )
                end = next((one for one in columns if re.match(r"(?i)expires|until", one)), "")
                if not first or not end or "endpoint" not in columns:
                    continue
                row = db.execute(
                    f'SELECT "{end}" - "{first}" FROM "{table}" WHERE endpoint = ? ORDER BY "{first}" DESC',  # noqa: S608
                    (endpoint,),
                ).fetchone()
                if row is not None and row[0]:
                    seconds = float(row[0]) / (1_000_000 if row[0] > 10**9 else 1)
                    return round(seconds / 86_400)
    raise Unshown("the store's memory of messages cannot be read", add="stores: {inbox: path/to.db}")
