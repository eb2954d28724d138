"""How long a role that was taken is still allowed somewhere: four worker processes over one database.

Somebody asks all four processes for their own order, over and over. Another process takes the role that allows it and
notes when that has committed. What counts is the last allow that arrives after that moment, at any of the four. The peer
is the same question with the consistency token of the change, asked of each process as soon as it is known; the limit is
a plain SELECT in another process, until it no longer sees the row. Target: 99 of 100 within 250 ms.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _request_load import Target, running
from _request_world import ADDRESS, AGENT, HOST, PATH, guard_of, make_orders, prepare
from _support import parse, postgres, result

WORKERS, ROLE = 4, "customer"
QUIET = 0.35
"""Seconds without an allow after which none comes any more."""


class Asker:
    """One connection to one worker that asks as fast as it is answered."""

    def __init__(self, port: int, order: str, cookie: str) -> None:
        self.port, self.order, self.cookie = port, order, cookie
        self.last_allow = 0.0
        self.answers = 0

    async def connect(self) -> None:
        """Open the connection."""
        self._reader, self._writer = await asyncio.open_connection(ADDRESS, self.port)

    async def ask(self, token: str = "") -> bool:
        """Ask once and say whether it was allowed; raises for any other answer than yes or no."""
        more = f"Redoubt-Consistency: {token}\r\n" if token else ""
        head = f"GET {PATH}{self.order} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {AGENT}\r\nAccept: application/json\r\n"
        self._writer.write(f"{head}{more}Cookie: {self.cookie}\r\n\r\n".encode())
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)
        status = int(answer.split()[1])
        if status not in (200, 403, 404):
            raise SystemExit(f"an answer that is neither yes nor no: {status}")
        self.answers += 1
        if status == 200:
            self.last_allow = time.perf_counter()
        return status == 200

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until `stop`."""
        while not stop.is_set():
            await self.ask()


async def one_round(
    guard: Any, user: str, askers: Sequence[Asker], rng: random.Random
) -> tuple[float, float, float]:
    """Give the role, wait until all allow, take it; return the three delays in seconds: ours, with the token, the limit."""
    from redoubt.authz.consistency import token_of

    core, roles = guard.core, guard.services.roles
    await core.db.write(lambda tx: roles.assign(tx, "main", user, ROLE, "bench"))
    until = time.perf_counter() + 10
    while not all([await asker.ask() for asker in askers]):
        if time.perf_counter() > until:
            raise SystemExit("a worker never allowed what the role allows")
        await asyncio.sleep(0.02)
    stop = asyncio.Event()
    running_ = [asyncio.create_task(asker.run(stop)) for asker in askers]
    await asyncio.sleep(rng.uniform(0.05, 0.35))  # not in step with anybody's looks

    def take(tx: Any) -> str:
        roles.revoke(tx, "main", user, ROLE, "bench")
        return token_of(tx, core, "main")

    token = await core.db.write(take)
    committed = time.perf_counter()
    while ROLE in await core.db.read(lambda tx: roles.roles(tx, "main", user)):
        continue
    limit = time.perf_counter() - committed
    while time.perf_counter() - max(committed, *(asker.last_allow for asker in askers)) < QUIET:
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*running_)
    ours = max(0.0, max(asker.last_allow for asker in askers) - committed)
    # With the token, from the first try on: nothing may be allowed any more.
    await core.db.write(lambda tx: roles.assign(tx, "main", user, ROLE, "bench"))
    await asyncio.sleep(0.3)
    for asker in askers:
        if not await asker.ask():
            raise SystemExit("the role was given, and a worker does not allow")
    token = await core.db.write(take)
    committed = time.perf_counter()
    for asker in askers:
        if await asker.ask(token):
            raise SystemExit("a worker allowed what the token says is over")
    return ours, time.perf_counter() - committed, limit


async def campaign(home: Path, targets: Sequence[Target], rounds: int) -> list[tuple[float, float, float]]:
    """Run the rounds against all workers at once."""
    orders, people = (
        json.loads((home / "asked.json").read_text()),
        json.loads((home / "owners.json").read_text()),
    )
    order, cookie = orders[0]
    guard = guard_of(home)
    from _request_world import from_memory, route

    from redoubt.authz import public

    guard.bind(route(from_memory({}), public()))
    askers = [Asker(target.port, order, cookie) for target in targets]
    for asker in askers:
        await asker.connect()
    rng, seen = random.Random(20261126), []
    for number in range(rounds):
        seen.append(await one_round(guard, people[order], askers, rng))
        if number % 20 == 19:
            print(
                f"  {number + 1} of {rounds} rounds, {sum(asker.answers for asker in askers):,} answers",
                flush=True,
            )
    guard.core.db.close()
    return seen


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def bench(rounds: int) -> None:
    """Measure both databases and print the result lines, in milliseconds."""
    orders = dict(list(make_orders().items())[:64])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redoubt-revoke-")))
        urls = {
            "sqlite": f"sqlite:///{folder / 'bench.db'}",
            "postgresql": stack.enter_context(postgres(folder)),
        }
        for database, url in urls.items():
            prepare(folder / database, url, orders)
            with ExitStack() as workers:
                targets = [
                    workers.enter_context(running("guarded", f"{database}-{number}", folder / database))
                    for number in range(WORKERS)
                ]
                seen = asyncio.run(campaign(folder / database, targets, rounds))
            ours, token, limit = ([one[index] * 1000 for one in seen] for index in range(3))
            print(
                f"{database}: {rounds} revocations, {WORKERS} workers: last stale allow after {statistics.median(ours):.0f} ms"
                f" (median), {percentile(ours, 0.99):.0f} ms (p99), {max(ours):.0f} ms (worst)"
            )
            result(
                f"revoke-{database}",
                percentile(ours, 0.99),
                percentile(token, 0.99),
                percentile(limit, 0.99),
                " ms",
            )


if __name__ == "__main__":
    bench(8 if parse(__doc__ or "").quick else 200)
