"""Kills: while people register, buy and get refunds, processes die at random moments, and nothing is lost or doubled.

What is counted stands outside the app where it can: the provider's objects, the mail that arrived, what the partner's
receiver kept. The seed is printed; `REDOUBT_SEED` replays its schedule of kills and every choice of the people (the
moments at which the machine does what is its own business are not the same twice).
"""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import define, field

from tests.support.receiver import Receiver, receiver
from tests.support.shop import RunningShop, running
from tests.support.story import PATIENCE, Stopped, Story

pytestmark = pytest.mark.xdist_group("acceptance")

VICTIMS = ("app", "worker", "charge", "provider", "mailbox")
_SETTLED_WITHIN = 180.0
_KILLED_AT_START = 0.15
_UNLIMITED = ("http-address", "auth-host", "auth-network", "auth-device", "auth-failures-host")


@define(eq=False)
class Killer:
    """Sends SIGKILL to the app's processes, `each` times to every one, each on its own, with pauses from the seed."""

    shop: RunningShop
    seed: str
    each: int
    pause: tuple[float, float]
    killed: Counter[str] = field(factory=Counter)

    def run(self, give_up: Callable[[], bool]) -> None:
        """Kill until every process had its turns."""
        with ThreadPoolExecutor(len(VICTIMS)) as hands:
            for _ in hands.map(lambda name: self._turns(name, give_up), VICTIMS):
                pass

    def _turns(self, name: str, give_up: Callable[[], bool]) -> None:
        """Kill one process again and again; it is mostly waited for until it is up, and killed as it starts now and then."""
        chance = random.Random(f"{self.seed}:kills:{name}")
        last = 0
        for _ in range(self.each):
            time.sleep(chance.uniform(*self.pause))
            early = chance.random() < _KILLED_AT_START
            until = time.monotonic() + _SETTLED_WITHIN
            while (pid := self._alive(name)) in (0, last) or not (early or _up(pid)):
                if give_up():
                    return
                assert time.monotonic() < until, f"{name} is not there to be killed"
                time.sleep(0.05)
            os.kill(pid, signal.SIGKILL)
            last = pid
            self.killed[name] += 1

    def _alive(self, name: str) -> int:
        pid = int(self.shop.ready["processes"][name])
        return pid if self.shop.process.pid in _ancestors(pid) else 0


def _up(pid: int) -> bool:
    """Say whether a process listens or, as the worker, has a database open: before that it is still starting."""
    open_files = []
    with suppress(FileNotFoundError, PermissionError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                open_files.append(str(entry.readlink()))
    listening = {
        f"socket:[{row.split()[9]}]"
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if row.split()[3] == "0A"
    }
    return any(name in listening or name.endswith(".db") for name in open_files)


def _ancestors(pid: int) -> list[int]:
    """Return whom a process descends from, so that a number which was given to a stranger since is left alone."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        while pid > 1:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            found.append(pid)
    return found


@define(eq=False)
class Crowd:
    """Threads that play the story until they are told to stop; what surprised one of them is kept."""

    story: Story
    customers: int
    least: int
    done: int = 0
    releases: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)
    _begun: int = 0
    _enough: threading.Event = field(factory=threading.Event)
    _threads: list[threading.Thread] = field(factory=list)

    def start(self) -> None:
        for _ in range(self.customers):
            self._spawn(self._customers)
        self._spawn(self._github)

    def finish(self) -> None:
        """Let everybody finish what they began, and nobody begin more once there were enough."""
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def call_off(self) -> None:
        self.story.clock.stop.set()
        self.finish()

    @property
    def in_trouble(self) -> bool:
        return bool(self.story.facts.problems)

    def _spawn(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(target,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except Stopped:
            return
        except BaseException as error:
            self.story.facts.problems.append(f"{type(error).__name__}: {error}")

    def _customers(self) -> None:
        while not self._enough.is_set() or self._begun < self.least:
            with self._lock:
                self._begun += 1
                number = self._begun
            self.story.customer(f"c{number}-{self.story.seed}", thorough=number <= 2)
            with self._lock:
                self.done += 1

    def _github(self) -> None:
        while not self._enough.is_set():
            self.releases += 1
            self.story.github(self.releases)
            self._enough.wait(0.4)


@define(eq=False)
class Scene:
    """A running shop with its partner, and everybody in it."""

    shop: RunningShop
    directory: Path
    folder: Path
    partner: Receiver
    story: Story
    environment: dict[str, str]

    # -- what is looked at from outside --------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        return self.folder / "var"

    def rows(self, database: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(
            sqlite3.connect(f"file:{self.shop.state / database}?mode=ro", uri=True, timeout=10)
        ) as conn:
            return conn.execute(sql, values).fetchall()

    def provider(self, path: str) -> Any:
        url = self.shop.ready["provider_url"].replace("stripe.localhost", "127.0.0.1")
        return httpx.get(f"{url}{path}", timeout=30).json()

    def mails(self, address: str) -> list[str]:
        url = self.shop.ready["mailbox_url"].replace("mail.localhost", "127.0.0.1")
        return [
            one["text"] for one in httpx.get(f"{url}/messages", params={"to": address}, timeout=30).json()
        ]

    def redoubt(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "redoubt.cli", *arguments],
            env={**os.environ, **self.environment, "REDOUBT_APP__STATE_DIR": str(self.shop.state)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    # -- coming to rest ------------------------------------------------------------------------------------------

    def unsettled(self) -> dict[str, Any]:
        """Return what is still under way: empty once everything that was taken has come to its end."""
        waiting = {
            "jobs": self.rows(
                "app.db",
                "SELECT kind, state, attempts, last_error FROM jobs WHERE state IN ('ready', 'running')"
                " AND kind <> 'webhooks.prune'",
            ),
            "commands": self.rows("app.db", "SELECT id FROM payment_commands WHERE state = 'pending'"),
            "inbox": self.rows("app.db", "SELECT id FROM webhook_inbox WHERE state = 'accepted'"),
            "intents": self.rows("charge.db", "SELECT id, kind, state, calls FROM charge_intents WHERE next_at IS NOT NULL"),
            "feed": self.rows("charge.db", "SELECT max(seq) FROM charge_feed") != self.rows("app.db", "SELECT max(after) FROM payment_feed"),
            "audit": self.rows("app.db", "SELECT id FROM audit_entries WHERE leaf_index IS NULL"),
            "charge audit": self.rows("charge.db", "SELECT id FROM audit_entries WHERE leaf_index IS NULL"),
            "deliveries": self.provider("/_sandbox/deliveries")["waiting"],
        }  # fmt: skip
        return {name: found for name, found in waiting.items() if found}

    def settle(self) -> None:
        deadline = time.monotonic() + _SETTLED_WITHIN
        left: dict[str, Any] = {"nothing": "was looked at"}
        while time.monotonic() < deadline:
            try:
                left = self.unsettled()
            except (httpx.HTTPError, sqlite3.OperationalError, ValueError) as error:
                left = {"not reached": repr(error)}
            if not left:
                return
            time.sleep(0.3)
        raise AssertionError(f"this never came to its end: {left}")

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self) -> dict[str, int]:
        """Count everything; return how much there was of it."""
        facts = self.story.facts
        assert facts.problems == []
        orders = self._check_orders()
        intents = self._check_payments(orders)
        refunds = self._check_refunds(intents)
        self._check_books(intents, refunds)
        self._check_releases()
        self._check_mail()
        self._check_partner(orders)
        self._check_audit(orders)
        assert self.rows("app.db", "SELECT kind, last_error FROM jobs WHERE state = 'dead'") == []
        return {
            "people": len(facts.people),
            "orders": len(orders),
            "paid": len(intents),
            "refunds": len(refunds),
            "releases": len(facts.releases),
            "deliveries": len(self.partner.deliveries()),
        }

    def _check_orders(self) -> dict[str, dict[str, Any]]:
        """Every acknowledged order is there once, as its buyer meant it; there is no other."""
        known = self.story.facts.orders
        rows = self.story.support.pages("/api/orders")
        assert Counter(row["note"] for row in rows) == Counter(one.note for one in known.values())
        found = {row["id"]: row for row in rows}
        for one in known.values():
            assert (found[one.id]["status"], found[one.id]["total"]) == (one.end, one.total), one
        return found

    def _check_payments(self, orders: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The provider charged each paid order exactly once, its exact amount, and nothing else."""
        found = self.provider("/_sandbox/objects?type=payment_intent")["objects"]
        taken = [one for one in found if one["status"] == "succeeded"]
        owner = dict(self.rows("app.db", "SELECT id, order_id FROM payments"))
        charged = Counter(owner.get(one["metadata"]["redoubt_op"]) for one in taken)
        paid = {key: row for key, row in orders.items() if row["status"] == "paid"}
        assert charged == Counter(paid.keys())
        for one in taken:
            assert one["amount_received"] == paid[owner[one["metadata"]["redoubt_op"]]]["total"]
        states = Counter(state for (state,) in self.rows("app.db", "SELECT state FROM payments"))
        assert states == Counter({"succeeded": len(taken)})
        return {one["id"]: one for one in taken}

    def _check_refunds(self, intents: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """The provider has exactly the approved refunds: each once, of its amount, on its order's payment."""
        found = self.provider("/_sandbox/objects?type=refund")["objects"]
        owner = dict(self.rows("app.db", "SELECT id, order_id FROM payments"))
        made = Counter(
            (owner[intents[one["payment_intent"]]["metadata"]["redoubt_op"]], one["amount"], one["status"])
            for one in found
        )
        asked = self.story.facts.refunds.values()
        assert made == Counter(
            (one.order, one.amount, "succeeded") for one in asked if one.decision == "approved"
        )
        kept = self.rows("app.db", "SELECT approval_id, amount, state FROM payment_refunds")
        assert len(kept) == len(asked)
        ends = {"approved": "succeeded", "rejected": "requested", "pending": "requested"}
        for approval, amount, state in kept:
            one = self.story.facts.refunds[approval]
            assert (amount, state) == (one.amount, ends[one.decision]), one
        return list(found)

    def _check_books(self, intents: dict[str, dict[str, Any]], refunds: list[dict[str, Any]]) -> None:
        """The ledger verifies, sums to nothing, and holds what the provider took and gave back."""
        code, said = self.redoubt("payments", "ledger", "verify", str(self.directory), "--json")
        assert code == 0, said
        assert json.loads(said)["sound"]
        assert self.rows("charge.db", "SELECT coalesce(sum(amount), 0) FROM ledger_postings") == [(0,)]
        ((captured, returned),) = self.rows(
            "charge.db",
            "SELECT coalesce(sum(captured), 0), coalesce(sum(refunded), 0) FROM charge_intents WHERE kind = 'payment'",
        )
        assert captured == sum(one["amount_received"] for one in intents.values())
        assert returned == sum(one["amount"] for one in refunds)
        kinds = Counter(kind for (kind,) in self.rows("charge.db", "SELECT kind FROM ledger_entries"))
        given_back = dict.fromkeys(("reserved", "refunded"), len(refunds)) if refunds else {}
        assert dict(kinds) == {"captured": len(intents), **given_back}

    def _check_releases(self) -> None:
        """Each delivery that got a 2xx left exactly one row, and no other row is there."""
        rows = Counter(row["tag"] for row in self.story.support.pages("/api/release_notes"))
        assert rows == Counter(self.story.facts.releases.keys())
        runs = self.rows("app.db", "SELECT state, runs FROM webhook_inbox WHERE endpoint = 'github'")
        assert set(runs) <= {("done", 1)}

    def _check_mail(self) -> None:
        """Each customer is one account and got the mail, the same link however often it came."""
        accounts = Counter(email for (email,) in self.rows("app.db", "SELECT email FROM identity_users"))
        assert set(accounts.values()) == {1}, [email for email, count in accounts.items() if count != 1]
        for address in self.story.facts.people:
            assert accounts[address] == 1
            texts = self.mails(address)
            assert texts, f"{address} got no mail"
            assert len(set(texts)) == 1, f"{address} got different links"

    def _check_partner(self, orders: dict[str, dict[str, Any]]) -> None:
        """Every paid and cancelled order was told under one id, signed, its bytes the same each time."""
        came = self.partner.deliveries()
        assert all(one["signed"] for one in came)
        assert len({(one["id"], one["digest"]) for one in came}) == len({one["id"] for one in came})
        told = {one["id"]: (one["body"]["type"], one["body"]["data"]["id"]) for one in came}
        expected = Counter(
            (f"order.{row['status']}", key)
            for key, row in orders.items()
            if row["status"] in ("paid", "cancelled")
        )
        assert Counter(told.values()) == expected

    def _check_audit(self, orders: dict[str, dict[str, Any]]) -> None:
        """Both logs verify against what was signed, all entries covered; each effect has its one entry."""
        self.settle()  # the orders were listed for this count, and that is an entry too
        for more in ((), ("--charge",)):
            code, said = self.redoubt("audit", "verify", "--dir", str(self.directory), *more, "--json")
            assert code == 0, said
            assert json.loads(said)["pending"] == 0
        created = self.rows(
            "app.db",
            "SELECT target_id FROM audit_entries WHERE action = 'order.create' AND outcome = 'success'",
        )
        assert Counter(key for (key,) in created) == Counter(orders.keys())
        paid = self.rows(
            "app.db",
            "SELECT target_id FROM audit_entries WHERE action = 'order.pay' AND actor_kind = 'service'",
        )
        assert Counter(key for (key,) in paid) == Counter(
            k for k, row in orders.items() if row["status"] == "paid"
        )


@contextmanager
def scene(built_shop: Path, folder: Path, seed: str) -> Iterator[Scene]:
    """Run the shop with a partner that receives, and open it."""
    partner_secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    github_secret = secrets.token_urlsafe(24)
    with receiver(partner_secret, folder / "partner.jsonl") as partner:
        environment = {
            "GITHUB_WEBHOOK_SECRET": github_secret,
            "PARTNER_SIGNING_SECRET": partner_secret,
            "REDOUBT_WEBHOOKS__PARTNER__URL": partner.url,
            "REDOUBT_EGRESS__PRIVATE": f"127.0.0.1:{partner.port}",
            "REDOUBT_CHARGE__REFUNDS_PER_DAY": "1000000000",
        }
        for rule in _UNLIMITED:  # everybody comes from one address here
            environment[f"REDOUBT_LIMITS__RULES__{rule.upper()}__AMOUNT"] = "1000000"
            environment[f"REDOUBT_LIMITS__RULES__{rule.upper()}__PER_SECONDS"] = "60"
        with running(built_shop, folder / "var", environment=environment) as shop:
            story = Story(lambda: shop.ready, seed, github_secret)
            try:
                story.open_shop()
                yield Scene(shop, built_shop, folder, partner, story, environment)
            finally:
                story.close()


def campaign(
    built_shop: Path,
    folder: Path,
    *,
    each: int,
    customers: int,
    least: int,
    pause: tuple[float, float],
    patience: float = PATIENCE,
) -> None:
    """Play the story under kills, let it come to rest, and count."""
    seed = os.environ.get("REDOUBT_SEED") or secrets.token_hex(4)
    print(f"\nREDOUBT_SEED={seed}")
    with scene(built_shop, folder, seed) as here:
        here.story.clock.patience = patience
        crowd = Crowd(here.story, customers, least)
        killer = Killer(here.shop, seed, each, pause)
        began = time.monotonic()
        crowd.start()
        try:
            killer.run(lambda: crowd.in_trouble)
            killed = time.monotonic()
            crowd.finish()
        except BaseException:
            crowd.call_off()
            raise
        facts = here.story.facts
        assert facts.problems == []
        assert dict(killer.killed) == dict.fromkeys(VICTIMS, each)
        rested = time.monotonic()
        here.settle()
        counted = here.check()
        print(
            f"{sum(killer.killed.values())} kills in {killed - began:.0f} s, everybody done {rested - killed:.0f} s after, "
            f"at rest and counted {time.monotonic() - rested:.0f} s after that; "
            f"{facts.answers} answers, {facts.lost} lost; {counted}"
        )
        assert counted["people"] >= least
        assert counted["refunds"]
        assert counted["releases"]
        assert facts.lost, "no request met a kill: the campaign showed nothing"


@pytest.mark.timeout(900)  # on a busy machine each restart takes its time; what must hold does not change
def test_kills_during_the_story_lose_nothing_and_double_nothing(built_shop: Path, tmp_path: Path) -> None:
    campaign(built_shop, tmp_path, each=2, customers=2, least=4, pause=(0.3, 3.0))


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("part", range(4))
def test_two_hundred_kills_of_each_process_lose_nothing_and_double_nothing(
    built_shop: Path, tmp_path: Path, part: int
) -> None:
    """Fifty of each at a time, counted after each fifty: what one part showed stands whatever becomes of the next."""
    campaign(built_shop, tmp_path, each=50, customers=4, least=12, pause=(0.2, 5.0), patience=900.0)
