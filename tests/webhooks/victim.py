"""An app and a worker in one process, made to be killed: `python victim.py DATABASE_URL HOME PORT AHEAD`.

AHEAD is how many seconds the worker's clock is ahead, so that leases of killed predecessors have run out.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
import uvicorn
from attrs import evolve
from starlette.applications import Starlette

from redoubt.core.base import Core
from redoubt.core.clock import SystemClock
from redoubt.core.db import Database
from redoubt.core.ids import SystemIds
from redoubt.core.jobs import Jobs
from redoubt.core.keys import Keyring
from redoubt.core.redact import Redactor
from redoubt.core.secrets import Secret, SecretRef
from redoubt.core.settings import Settings
from redoubt.webhooks import EndpointConfig, Webhooks, routes


class Ahead(SystemClock):
    def __init__(self, seconds: float) -> None:
        self.by = timedelta(seconds=seconds)

    def now(self):
        return super().now() + self.by


def effect(tx, delivery):
    tx.execute(
        sa.text("INSERT INTO effects (delivery, n) VALUES (:d, :n)"),
        {"d": delivery.id, "n": delivery.json()["n"]},
    )
    time.sleep(random.random() * 0.02)  # a wide place to die in


async def main(url: str, home: Path, port: int, ahead: float) -> None:
    keys = Keyring.open(home / "keyring", Secret(b"k" * 32))
    clock = SystemClock()
    core = Core(
        settings=Settings.load(home, {}), db=Database(url), clock=clock, ids=SystemIds(clock), keys=keys,
        redactor=Redactor(keys.mac("redact")),
    )  # fmt: skip
    endpoint = EndpointConfig("partner", "standard", [SecretRef.parse("file:partner.key")], effect)
    hooks = Webhooks(core, [endpoint])
    await hooks.start()
    worker_core = evolve(core, clock=Ahead(ahead))
    jobs = Jobs(worker_core)
    Webhooks(worker_core, [endpoint]).register(jobs)
    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=routes(hooks)), port=port, log_level="error", lifespan="off")
    )
    await asyncio.gather(server.serve(), jobs.run(asyncio.Event(), idle=0.01))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
