"""Webhooks across crashes: processes are killed with SIGKILL while deliveries arrive, and effects are counted."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from contextlib import closing
from functools import partial

from ..browser import Answer
from ..errors import Unshown
from ..lab import Lab
from ..probe import probe
from .deliveries import Effects, Sender, hooks
from .stores import copied, tables_like

BACK_SECONDS = 90.0
"""How long a killed process may take to come back; on a crowded machine that is long, and it shows nothing."""


@probe("WHK-3", phase=2)
def replay_after_restart(lab: Lab) -> None:
    """Replay a delivery to a process that was killed and started again."""
    hook = (
        hooks(lab)[0]
        if len(hooks(lab)) == 1
        else next((one for one in hooks(lab) if one.effect), hooks(lab)[0])
    )
    sender, effects = Sender(lab, hook), Effects(lab, hook)
    with lab.attack("replay a delivery after a restart", "its effect happens twice") as attack:
        canary = lab.canary()
        answer, body, headers = sender.deliver(canary)
        attack.positive("the delivery is accepted", answer.ok, str(answer.status))
        if effects.seen:
            attack.positive("and has its effect", effects.happened(canary))
        restart(lab, "app")
        again = lab.wait(partial(_answered, sender, body, headers), BACK_SECONDS, 0.1)
        attack.positive("the app is back", again)
        if effects.seen:
            attack.check(effects.settled(canary) == 1, "after a restart the effect happened again")
        else:
            attack.check(
                again.text != answer.text or not again.ok, "after a restart a replay is taken as new", again
            )


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


@probe("WHK-4", phase=2)
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
        for round_ in range(6):
            for _ in range(5):
                canary = lab.canary()
                answer, body, headers = sender.deliver(canary)
                if answer.ok:
                    sent.append(canary)
                    if lab.random.random() < 0.5:
                        sender.send(body, headers)
            time.sleep(lab.random.random() * 0.06 * (round_ % 4))
            restart(lab, "worker")
        attack.positive("deliveries were accepted while it died", len(sent) >= 16, f"{len(sent)} of 30")
        lab.wait(lambda: all(effects.count(one) for one in sent[-4:]) and effects.count(sent[0]), 30, 0.3)
        lab.wait(lambda: all(effects.count(one) for one in sent), 20, 0.5)
        for one in sent:
            count = effects.count(one)
            attack.check(count == 1, f"an accepted delivery had its effect {count} times")


@probe("WHK-5", phase=2)
def dedupe_windows_outlive_restarts(lab: Lab) -> None:
    """Send duplicates inside the window, across restarts of every process that knows them."""
    watched = [hook for hook in hooks(lab) if hook.dedupe_days is not None]
    if not watched:
        raise Unshown("no dedupe window is declared", add="webhooks: [{dedupe_days: 14}]")
    for hook in watched:
        sender, effects = Sender(lab, hook), Effects(lab, hook)
        with lab.attack(
            f"send a duplicate to {hook.path} across restarts", "it is taken as new, or works twice"
        ) as attack:
            canary = lab.canary()
            answer, body, headers = sender.deliver(canary)
            attack.positive("the delivery is accepted", answer.ok, str(answer.status))
            if effects.seen:
                attack.positive("and has its effect", effects.happened(canary))
            for name in ("worker", "app"):
                restart(lab, name)
                again = lab.wait(partial(_answered, sender, body, headers), BACK_SECONDS, 0.1)
                attack.positive(f"the app is back after {name} died", again)
                attack.check(
                    not again.ok or again.text != answer.text,
                    f"a duplicate is taken as new after {name} died",
                    again,
                )
            if effects.seen:
                attack.check(effects.settled(canary) == 1, "the effect happened again after a restart")
            days = stored_window(lab, hook.path.rsplit("/", 1)[-1])
            attack.positive("the stored window can be read", days)
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
