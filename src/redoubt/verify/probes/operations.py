"""Operations: what leaves a trace, what stops at once, and who may start it again."""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..browser import Answer
from ..errors import Unshown
from ..lab import Lab
from ..people import Person
from ..probe import LAST, Attack, probe
from ..target import call
from .deliveries import Sender
from .stores import attack_audit
from .till import Sale, Till
from .trail import Trail


@probe("OPS-1", phase=2)  # alone: whoever else does something leaves the same events
def what_happens_leaves_its_event(lab: Lab) -> None:
    """Log in, be denied, change something and pay; find each in the audit log."""
    with lab.attack(
        "do what must be recorded, then read the log", "something happened and left no event"
    ) as attack:
        person = lab.person(lab.a_role(), "trace")
        trail = Trail(lab)
        attack.positive("the log can be read", True)
        again = lab.login(person)
        closed = [
            one
            for one in lab.api.operations
            if not one.open and one.method == "GET" and not one.path_parameters
        ]
        with lab.quietly():
            again.get("/console")
        for one in closed:
            again.get(one.path)
        with lab.quietly():
            lab.logout(again)
        wanted: dict[str, Any] = {
            "a login": r"login",
            "a decision": r"^authz\.decide|^authoriz|^decision",
            "a logout": r"logout",
        }
        if lab.target.money is not None:
            till = Till(lab)
            till.buy(attack)
            wanted["a payment"] = r"payment"
        found: dict[str, str] = {}

        def all_there() -> bool:
            for entry in trail.since():
                for words, pattern in wanted.items():
                    if re.search(pattern, str(entry.get("action", ""))):
                        found.setdefault(words, str(entry.get("action")))
            return len(found) == len(wanted)

        lab.wait(all_there, 6, 1.0)
        for words in wanted:
            attack.check(words in found, f"{words} left no event")
        attack.details.append("; ".join(f"{words}: {action}" for words, action in found.items()))


@probe("OPS-1", phase=3, beside="traces")
def tampering_with_the_log_is_seen(lab: Lab) -> None:
    """Keep a checkpoint elsewhere; delete, edit, reorder and truncate the store; verify each against it."""
    with lab.attack(
        "delete, edit, reorder and truncate the audit store", "the check against an old checkpoint passes"
    ) as attack:
        key = lab.command("audit_key")
        point = lab.command("audit_checkpoint")
        attack.positive("the log's key can be had", key.returncode == 0, key.stderr[-200:])
        attack.positive("a signed checkpoint can be had", point.returncode == 0, point.stderr[-200:])
        with tempfile.TemporaryDirectory(prefix="redoubt-checkpoint-") as folder:
            kept = Path(folder) / "checkpoint"
            kept.write_text(point.stdout)
            attack_audit(lab, attack, key.stdout.strip(), kept)


class Load:
    """Calls the app again and again from several threads, and keeps when each answer was a success."""

    def __init__(self, call_once: Any, workers: int = 3) -> None:
        self.served: list[float] = []
        self.refused: list[float] = []
        self._call, self._stop = call_once, threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(workers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                answer: Answer = self._call()
            except Unshown:
                continue
            (self.served if answer.ok else self.refused).append(began)
            time.sleep(0.01)


@probe("OPS-7", phase=LAST)
def a_kill_stops_the_app(lab: Lab) -> None:
    """Kill under load and count what was served after the bound; then try to start again alone."""
    switches = lab.target.switches
    if switches is None:
        raise Unshown("the target names no kill switch", add="switches: {kill: POST /kill, as: operator}")
    operator, person = lab.person(switches.role, "olga"), lab.person(lab.a_role(), "load")
    second = lab.person(switches.role, "otto")  # before the kill: nobody joins a killed app
    till = Till(lab) if lab.target.money is not None else None
    sale = till.order() if till is not None else None
    with lab.attack(
        "read under load while everything is killed", "a request is served after the bound"
    ) as attack:
        ask = _served(lab, person)
        attack.positive("the app serves before", ask().ok)
        _refused_kills(lab, attack, person)
        with Load(ask) as load:
            lab.wait(lambda: len(load.served) > 20, 5)
            attack.positive("the load is served", len(load.served) > 20, str(len(load.served)))
            method, kill = call(switches.kill)
            killed = _switch(lab, operator, method, kill, {"capability": "all", "reason": "rehearsal"})
            bound = time.monotonic() + switches.within
            attack.positive(
                "an operator kills with one call", killed.ok or killed.status == 303, str(killed.status)
            )
            time.sleep(switches.within + 1.2)
        late = [one for one in load.served if one > bound]
        attack.check(
            not late, f"{len(late)} requests were served more than {switches.within} s after the kill"
        )
        attack.positive("requests were refused after the kill", load.refused)
        if till is not None and sale is not None:
            _money_stops(lab, attack, till, sale)
    with lab.attack("start again alone", "the app serves again without a second person") as attack:
        _enable_alone(lab, attack, operator, ask)
        _enable_together(lab, attack, second, ask)


def _served(lab: Lab, person: Person) -> Callable[[], Answer]:
    """Return a request that is served before the kill, and so must not be after it: a list, else a delivery.

    No page: those on which people log in and operators look at a kill stay open. Raises Unshown where there is nothing.
    """
    described = lab.api.operations if lab.world.api is not None else ()
    lists = [one.path for one in described if one.method == "GET" and not one.path_parameters]
    for path in lists:
        if person.browser.get(path).ok:
            return partial(person.browser.get, path)
    for hook in lab.target.webhooks:
        sender = Sender(lab, hook)
        if sender.deliver(lab.canary())[0].ok:
            return lambda: sender.deliver(lab.canary())[0]
    raise Unshown(
        "there is nothing that the app serves before",
        add="webhooks: [{path: /webhooks/x, scheme: github, secret: env:X}]",
    )


def _switch(lab: Lab, operator: Person, method: str, path: str, body: dict[str, str]) -> Answer:
    answer = operator.browser.send(method, path, json=body)
    if answer.status == 401:
        lab.world.people.step_up(operator)
        answer = operator.browser.send(method, path, json=body)
    return answer


def _refused_kills(lab: Lab, attack: Attack, person: Person) -> None:
    """A kill is for those who may: nobody and ordinary people cannot."""
    switches = lab.target.switches
    if switches is None:
        return
    method, path = call(switches.kill)
    body = {"capability": "all", "reason": "mischief"}
    ordinary = [] if person.role == switches.role else [person.browser]
    for browser in (lab.anonymous(), *ordinary):
        answer = browser.send(method, path, json=body)
        attack.check(not answer.ok, f"{browser.actor} may kill", answer)


def _money_stops(lab: Lab, attack: Attack, till: Till, sale: Sale) -> None:
    before = lab.provider("GET", "/calls?operation=checkout.sessions.create").get("count")
    answer = till.start(sale)
    attack.check(not answer.ok, "a payment was begun though everything is killed", answer)
    after = lab.provider("GET", "/calls?operation=checkout.sessions.create").get("count")
    attack.check(after == before, "the provider was called though everything is killed")


def _enable_alone(lab: Lab, attack: Attack, operator: Person, ask: Callable[[], Answer]) -> None:
    switches = lab.target.switches
    if switches is None or switches.enable is None:
        raise Unshown("how a killed app starts again is not said", add="switches: {enable: POST /enable}")
    method, enable = call(switches.enable)
    asked = _switch(lab, operator, method, enable, {"capability": "all", "ticket": "rehearsal over"})
    attack.positive("starting again can be asked for", asked.ok, str(asked.status))
    approval = str(asked.member("approval_id") or "")
    decide(lab, operator, approval)
    time.sleep(switches.within + 0.3)
    attack.check(not ask().ok, "one person alone started the app again")
    lab.world.notes["enable"] = approval


def _enable_together(lab: Lab, attack: Attack, second: Person, ask: Callable[[], Answer]) -> None:
    done = decide(lab, second, str(lab.world.notes.get("enable", "")))
    served = lab.wait(lambda: ask().ok, 5, 0.2)
    attack.positive(
        "with a second person's passkey it serves again", served, "" if done is None else str(done.status)
    )


def decide(lab: Lab, person: Person, approval: str) -> Answer | None:
    """Approve a request with a person's passkey; return the answer, or that of the challenge where there was none."""
    base = f"/console/approvals/{approval}"
    how = lab.target.money.approvals if lab.target.money is not None else None
    options_path = how.options.partition(" ")[2].replace("{id}", approval) if how else f"{base}/options"
    approve_path = how.approve.partition(" ")[2].replace("{id}", approval) if how else f"{base}/approve"
    options = person.browser.post(options_path, json={})
    if person.key is None or not options.ok:
        return options
    return person.browser.post(approve_path, json={"credential": person.key.get(options.json())})
