"""Retention, and what should have been noticed: declines, replays; watched for in the audit log."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

from ..lab import Lab
from ..probe import SEARCHING, probe
from .abuse import alerts
from .deliveries import Sender, hooks
from .stores import copied, tables_like
from .till import Till
from .trail import Trail, entries

_AUDIT = re.compile(r"(?i)^audit_(entries|events|log)$|^audit$|^events$")


@probe("OPS-2", phase=SEARCHING, beside="traces")
def the_log_is_kept_a_year(lab: Lab) -> None:
    """Set a shorter retention; delete old entries by SQL."""
    with lab.attack("shorten the retention below 365 days", "the setting is taken") as attack:
        attack.positive("the log can be read as it is set", entries(lab))
        done = lab.command("retention_shortened")
        attack.check(done.returncode != 0, "a retention of 100 days was taken")
    with (
        lab.attack("delete entries of the log", "the database obeys") as attack,
        copied(lab, "app") as (store, _),
    ):
        tables = tables_like(store, _AUDIT)
        attack.positive("the entries are found in the store", tables)
        with closing(sqlite3.connect(store)) as db:
            count = db.execute(f'SELECT COUNT(*) FROM "{tables[0]}"').fetchone()[0]  # noqa: S608 - its own name
            attack.positive("there are entries", count)
            for statement in (f'DELETE FROM "{tables[0]}"', f'UPDATE "{tables[0]}" SET rowid = rowid + 1'):  # noqa: S608
                try:
                    obeyed = db.execute(statement).rowcount
                    db.rollback()
                except sqlite3.Error:
                    obeyed = 0
                attack.check(not obeyed, f"{statement.split()[0]} is obeyed")


@probe("OPS-4", phase=SEARCHING)
def many_declines_are_noticed(lab: Lab) -> None:
    """Try card after card as one customer; look for the alert."""
    till = Till(lab)
    with lab.attack("test many cards on one payment", "nobody is told") as attack:
        attack.positive("the audit log can be read", entries(lab))
        trail = Trail(lab)
        sale = till.order()
        attack.positive("a payment can be begun", till.start(sale).ok)
        url = till.page(sale)
        payer = lab.tool("payer")
        for _ in range(15):
            payer.send("POST", url, form={**till.money.page_form, "card_number": "4000 0000 0000 0002"})
        attack.positive("the provider charged none of them", till.charges(sale) == 0)
        attack.check(
            alerts(lab, trail, r"(?i)threat|alert|decline"), "15 declined cards in a row raised no alert"
        )


@probe("OPS-5", phase=SEARCHING)
def a_replay_burst_is_noticed(lab: Lab) -> None:
    """Replay one delivery many times; look for the alert."""
    hook = hooks(lab)[0]
    sender = Sender(lab, hook)
    with lab.attack("replay a delivery fifty times", "nobody is told") as attack:
        attack.positive("the audit log can be read", entries(lab))
        trail = Trail(lab)
        answer, body, headers = sender.deliver(lab.canary())
        attack.positive("the delivery is accepted", answer.ok, str(answer.status))
        for _ in range(50):
            sender.send(body, headers)
        attack.check(
            alerts(lab, trail, r"(?i)threat|alert|spike|replay\.burst"), "50 replays in a row raised no alert"
        )


@probe("VAL-9", phase=SEARCHING)
def secrets_rotate_while_traffic_flows(lab: Lab) -> None:
    """Rotate a webhook's secret while its sender goes on; then end the old one."""
    hook = next((one for one in hooks(lab) if one.effect is not None), hooks(lab)[0])
    name = hook.path.rsplit("/", 1)[-1]
    with lab.attack(
        "rotate a webhook's secret under traffic", "a delivery is refused, or the old secret lives on"
    ) as attack:
        old = Sender(lab, hook)
        attack.positive("a delivery by the old secret is accepted", old.deliver(lab.canary())[0].ok)
        done = lab.command("rotate_webhook", endpoint=name, overlap="1")
        words = done.stdout.split()
        attack.positive("the secret can be rotated", done.returncode == 0 and words, done.stderr[-200:])
        new = Sender(lab, hook)
        new.secret = words[-1]
        lab.world.masker.learn(new.secret, "secret", f"{name} rotated")
        attack.positive("the new secret counts", lab.wait(lambda: new.deliver(lab.canary())[0].ok, 5, 0.2))
        for _ in range(10):
            attack.check(
                old.deliver(lab.canary())[0].ok, "during the overlap a delivery by the old secret was refused"
            )
            attack.check(
                new.deliver(lab.canary())[0].ok, "during the overlap a delivery by the new secret was refused"
            )
        again = lab.command("rotate_webhook", endpoint=name, overlap="0")
        attack.positive("it can be rotated again", again.returncode == 0, again.stderr[-200:])
        newest = Sender(lab, hook)
        newest.secret = again.stdout.split()[-1]
        lab.world.masker.learn(newest.secret, "secret", f"{name} rotated again")
        attack.positive(
            "the newest secret counts", lab.wait(lambda: newest.deliver(lab.canary())[0].ok, 5, 0.2)
        )
        lab.wait(lambda: not old.deliver(lab.canary())[0].ok, 3, 0.3)
        for words_, sender in (("first", old), ("second", new)):
            attack.check(
                not sender.deliver(lab.canary())[0].ok, f"the {words_} secret still counts after its overlap"
            )
        reference = hook.secret.removeprefix("env:")
        lab.world.secrets = {**lab.world.secrets, reference: newest.secret}
