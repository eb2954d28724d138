"""Killed at any moment, the process loses nothing that it acknowledged and does nothing twice."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import sqlalchemy as sa

from redoubt.webhooks import store

from .conftest import WHSEC, count, file_ref, payload, standard

KILLS = int(os.environ.get("REDOUBT_KILLS", "3"))
EACH = 12  # deliveries a life


class Victim:
    """Lives of one process; each sees leases of the one before as run out."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home, self.lives = url, home, 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> None:
        self.lives += 1
        command = [
            sys.executable,
            "-m",
            "tests.webhooks.victim",
            self.url,
            str(self.home),
            str(self.port),
            str(120 * self.lives),
        ]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        for _ in range(600):
            assert self.process.poll() is None, "the process ended by itself"
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the process does not listen")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def test_sigkill_at_random_moments_loses_and_doubles_nothing(core, effects, database_url, tmp_path):
    random.seed(7)
    file_ref(core, "partner.key", WHSEC)
    victim = Victim(database_url, tmp_path / "home")
    acknowledged: set[int] = set()

    def post(client: httpx.Client, n: int) -> None:
        body = payload(n)
        response = client.post(
            "/webhooks/partner", content=body, headers=standard(body, datetime.now(UTC), f"msg_{n}")
        )
        assert response.status_code == 200, response.status_code
        acknowledged.add(n)

    wanted = range(KILLS * EACH)
    try:
        for life in range(KILLS):
            victim.start()
            with httpx.Client(base_url=f"http://127.0.0.1:{victim.port}", timeout=5) as client:
                end = time.monotonic() + random.random() * 0.25
                batch = iter(range(life * EACH, (life + 1) * EACH))
                while time.monotonic() < end and (n := next(batch, None)) is not None:
                    post(client, n)
                if random.random() < 0.5:
                    time.sleep(random.random() * 0.1)
            victim.kill()
            stored = core.db.read_sync(
                lambda tx: tx.execute(sa.select(store.inbox.c.identity)).scalars().all()
            )
            assert {f"msg_{n}" for n in acknowledged} <= set(stored)
        victim.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{victim.port}", timeout=5) as client:
            for n in wanted:  # the sender repeats everything, what was acknowledged too
                post(client, n)
        for _ in range(400):
            if len(effects()) >= len(wanted):
                break
            time.sleep(0.05)
        time.sleep(0.2)  # for a second effect to show itself
    finally:
        victim.kill()
    assert effects() == list(wanted)
    assert count(core, "webhook_inbox") == count(core, "webhook_dedupe") == len(wanted)
    states = core.db.read_sync(
        lambda tx: tx.execute(sa.select(store.inbox.c.state).distinct()).scalars().all()
    )
    assert states == ["done"]
