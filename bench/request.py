"""A guarded read beside the same FastAPI route bare, on the same server, in the same run.

The read shows one order to the person who owns it. The guarded route finds the session, counts limits, decides by
policy over the order and commits the decision's audit entry before it answers. Both routes take the order from
memory, so that nothing hides what the guard costs. Each question to the policies is a new one, more of them than the
app keeps answers for; the lines that end in `-again` ask a few again and again, as pages that refresh do. The limit is an ASGI app without any framework. Everybody's turn
comes in short rounds, so that other load on the machine meets all alike; the median round counts. Afterwards every
answer must have its audit entry, all bodies must have been the same, and without a session there must be no answer.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from _support import postgres, result
from attrs import define, field, frozen

CONNECTIONS, PEOPLE = 64, 16  # a browser opens several connections
ORDERS, FEW = 16_384, 512
HOST, AGENT, ADDRESS = "bench.localhost:8443", "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0", "127.0.0.1"
SETTINGS = f"""
[app]
name = "bench"
profile = "development"
base_url = "https://{HOST}"
[limits.rules.http-address]
amount = 10000000
per_seconds = 60
"""
PATH = "/api/orders/"
Orders = Mapping[str, Mapping[str, Any]]


# -- the three apps ----------------------------------------------------------------------------------------------------


def route(orders: Orders, declare: Callable[[Any], Any]) -> Any:
    """Return a FastAPI app with the one route that both sides measure."""
    from fastapi import FastAPI, HTTPException

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get(PATH + "{order_id}")
    @declare
    async def read(order_id: str) -> dict[str, Any]:
        if order_id not in orders:
            raise HTTPException(404)
        return dict(orders[order_id])

    return app


def bare(_home: Path, orders: Orders) -> Any:
    """Return the route as FastAPI has it."""
    return route(orders, lambda endpoint: endpoint)


def plain(_home: Path, orders: Orders) -> Any:
    """Return an ASGI app that gives the same answers without a framework."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = json.dumps(orders[scope["path"][len(PATH) :]], separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def guarded(home: Path, orders: Orders) -> Any:
    """Return the route behind the guard."""
    from redoubt.authz import Entity, permit, user_uid

    owners = json.loads((home / "owners.json").read_text())

    async def load(request: Any) -> Entity | None:
        order = orders.get(request.path_params["order_id"])
        if order is None:
            return None
        attrs = {"tenant": "main", "owner": user_uid(owners[order["id"]]), "state": order["state"]}
        return Entity("Order", order["id"], attrs)

    app = route(orders, permit("Order.read", resource=load))
    guard_of(home).bind(app)
    return app


APPS = {"guarded": guarded, "bare": bare, "plain": plain}


def guard_of(home: Path) -> Any:
    """Return the guard over what `home` holds, with everything as in production."""
    from redoubt.core.base import Core
    from redoubt.core.clock import SystemClock
    from redoubt.core.db import Database
    from redoubt.core.ids import SystemIds
    from redoubt.core.keys import Keyring
    from redoubt.core.redact import Redactor
    from redoubt.core.secrets import Secret
    from redoubt.core.settings import Settings
    from redoubt.runtime import Redoubt

    (home / "redoubt.toml").write_text(SETTINGS)
    path, master, clock = home / "keyring", Secret(b"k" * 32), SystemClock()
    keys = Keyring.open(path, master) if path.exists() else Keyring.create(path, master)
    db = Database((home / "url").read_text())
    core = Core(
        settings=Settings.load(home, {}), db=db, clock=clock, ids=SystemIds(clock), keys=keys,
        redactor=Redactor(keys.mac("redact")),
    )  # fmt: skip
    return Redoubt(core)


# -- preparation -------------------------------------------------------------------------------------------------------


def make_orders() -> dict[str, dict[str, Any]]:
    """Return the orders that all apps show."""
    from redoubt.core.clock import SystemClock
    from redoubt.core.ids import SystemIds

    ids = SystemIds(SystemClock())
    orders = [
        {
            "id": ids.uuid7(), "state": "paid", "number": number, "note": "Leave it with the neighbours.",
            "total": {"amount": 1990 + number, "currency": "EUR"},
        }
        for number in range(ORDERS)
    ]  # fmt: skip
    return {str(order["id"]): order for order in orders}


def prepare(home: Path, url: str, orders: Orders) -> None:
    """Make tables, policies and people with sessions; each order belongs to one of them."""
    from tests.authz.model import source

    from redoubt.authz import public
    from redoubt.authz.policyset import parse
    from redoubt.authz.versions import genesis
    from redoubt.core.db import migrate
    from redoubt.identity import cookies

    home.mkdir()
    (home / "url").write_text(url)
    guard = guard_of(home)
    core = guard.core
    migrate(core.db, guard.domains)
    core.db.write_sync(lambda tx: genesis(tx, core, parse(source())))
    guard.bind(route({}, public()))
    identity = guard.services.identity

    def join(tx: Any, number: int) -> tuple[str, str]:
        pre = cookies.new_pre(core.ids, identity.pre_mac)
        handle = core.ids.random_bytes(16)
        user = identity.users.create(tx, f"p{number}@example.com", handle, "customer", "bench")
        opened = identity.sessions.open(tx, user, identity.browser(pre, ADDRESS, AGENT), ("hwk", "user"))
        return user, f"{cookies.PRE}={pre}; {cookies.SESSION}={opened.token}"

    people = core.db.write_sync(lambda tx: [join(tx, number) for number in range(PEOPLE)])
    owners = {order: people[number % PEOPLE] for number, order in enumerate(orders)}
    asked = [(order, cookie) for order, (_, cookie) in owners.items()]
    core.db.close()
    (home / "orders.json").write_text(json.dumps(orders))
    (home / "owners.json").write_text(json.dumps({order: user for order, (user, _) in owners.items()}))
    (home / "asked.json").write_text(json.dumps(asked))
    for name, part in (("many.lua", asked), ("few.lua", asked[:FEW])):
        (home / name).write_text(_LUA.format(requests=",\n".join(map(json.dumps, _requests(part)))))


_LUA = """
local requests = {{ {requests} }}
local at = math.random(#requests)
request = function()
  at = at % #requests + 1
  return requests[at]
end
"""


def _requests(asked: Sequence[Sequence[str]]) -> list[str]:
    head = f"Host: {HOST}\r\nUser-Agent: {AGENT}\r\nAccept: application/json\r\nAccept-Language: en-GB,en;q=0.8\r\n"
    return [f"GET {PATH}{order} HTTP/1.1\r\n{head}Cookie: {cookie}\r\n\r\n" for order, cookie in asked]


# -- servers -----------------------------------------------------------------------------------------------------------


async def serve(app: Any, port: int) -> None:
    """Serve `app` as `redoubt run` does, without TLS."""
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    from redoubt.runtime.serve import settle

    server = Server(
        app, address=ADDRESS, port=port, interface=Interfaces.ASGI, http=HTTPModes.http1, websockets=False,
        log_enabled=False, backlog=1024,
    )  # fmt: skip
    settle()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    try:
        await server.serve()
    except asyncio.CancelledError:
        return


@define
class Target:
    """A server under measurement and what was measured: answers and their rate in each round."""

    name: str
    home: Path
    port: int
    process: subprocess.Popen[bytes]
    few: bool = False
    answered: int = 0
    rates: list[float] = field(factory=list)
    cpu: list[float] = field(factory=list)

    def cpu_seconds(self) -> float:
        """Return the processor time that the server has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, order: str, cookie: str | None) -> tuple[int, bytes]:
        """Ask once and return status and body."""
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=10)
        headers = {"Host": HOST, "User-Agent": AGENT} | ({"Cookie": cookie} if cookie else {})
        connection.request("GET", PATH + order, headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@contextmanager
def running(kind: str, name: str, home: Path) -> Iterator[Target]:
    """Run one app in a process of its own."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--serve", kind, "--home", str(home), "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex((ADDRESS, port)) == 0:
                    break
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{name} does not answer")
        if process.poll() is not None:
            raise SystemExit(f"{name} did not start")
        yield Target(name, home, port, process)
    finally:
        process.terminate()
        process.wait(20)


# -- load --------------------------------------------------------------------------------------------------------------


@frozen
class Load:
    """What a generator saw."""

    answered: int
    seconds: float
    wrong: int


def load(target: Target, seconds: float) -> Load:
    """Ask with 64 connections for `seconds`: by wrk where it is installed, else by a generator of ours."""
    wrk = shutil.which("wrk")
    if wrk is None:
        command = [sys.executable, __file__, "--load", str(seconds), "--home", str(target.home)]
        command += ["--few"] if target.few else []
        out = subprocess.run(
            [*command, "--port", str(target.port)], check=True, capture_output=True, text=True
        )
        return Load(**json.loads(out.stdout))
    url = f"http://{ADDRESS}:{target.port}"
    script = str(target.home / ("few.lua" if target.few else "many.lua"))
    command = [
        wrk,
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "30s",
        "-s",
        script,
        url,
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text)
    assert done, text
    wrong = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    wrong += sum(sum(map(int, re.findall(r"\d+", line))) for line in re.findall(r"Socket errors.*", text))
    return Load(int(done[1]), float(done[2]) / (1000 if done[3] == "ms" else 1), wrong)


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        work = self._work
        if time.perf_counter() >= work.until:
            self._transport.close()
            return
        work.at = (work.at + 1) % len(work.requests)
        request, self._expected = work.requests[work.at]
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, gap, body = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        self._work.answered += 1
        self._work.wrong += not head.startswith(b"HTTP/1.1 200") or body != self._expected
        self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        self._work.open -= 1
        if not self._work.open:
            self._work.over.set()


@define
class _Work:
    requests: list[tuple[bytes, bytes]]
    until: float
    over: asyncio.Event
    open: int = CONNECTIONS
    at: int = 0
    answered: int = 0
    wrong: int = 0


async def generate(home: Path, port: int, seconds: float, few: bool) -> Load:
    """Ask with 64 connections, wait for what is on its way, and check every body."""
    orders = json.loads((home / "orders.json").read_text())
    asked = json.loads((home / "asked.json").read_text())[: FEW if few else None]
    bodies = [json.dumps(orders[order], separators=(",", ":")).encode() for order, _ in asked]
    requests = [(text.encode(), body) for text, body in zip(_requests(asked), bodies, strict=True)]
    start = time.perf_counter()
    work = _Work(requests, start + seconds, asyncio.Event())
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: _Client(work), ADDRESS, port)
    await work.over.wait()
    return Load(work.answered, time.perf_counter() - start, work.wrong)


# -- measurement -------------------------------------------------------------------------------------------------------


def check_same(targets: Sequence[Target]) -> None:
    """Fail unless all give the same bodies, and the guarded ones nothing to nobody and to a stranger."""
    asked = {target.name: json.loads((target.home / "asked.json").read_text()) for target in targets}
    for number in range(0, ORDERS, ORDERS // 20):
        answers = {target.get(*asked[target.name][number]) for target in targets}
        if len(answers) != 1 or next(iter(answers))[0] != 200:
            raise SystemExit(f"the apps answer differently: {answers}")
        for target in targets:
            target.answered += 1
    for target in targets:
        if target.name.startswith("guarded"):
            order, stranger = asked[target.name][0][0], asked[target.name][1][1]
            statuses = target.get(order, None)[0], target.get(order, stranger)[0]
            if statuses != (401, 404):
                raise SystemExit(f"{target.name} answers nobody and a stranger with {statuses}")


def check_audited(target: Target, answered: int, unfinished: int) -> None:
    """Fail unless each answer has its audit entry: as many as answered, plus at most what was cut off on its way."""
    from redoubt.audit.store import entries
    from redoubt.core.db import Database

    db = Database((target.home / "url").read_text())
    count = sa.select(sa.func.count()).where(entries.c.action == "authz.decide")
    allowed, denied = db.read_sync(
        lambda tx: [
            tx.execute(count.where(entries.c.outcome == outcome)).scalar_one()
            for outcome in ("success", "denied")
        ]
    )
    db.close()
    if not answered <= allowed <= answered + unfinished or denied != 2:
        raise SystemExit(
            f"{target.name}: {answered} answers, but {allowed} audit entries (and {denied} denials)"
        )
    print(
        f"{target.name}: {answered:,} answers, {allowed:,} audit entries; nobody and a stranger were refused"
    )


def measure(targets: list[Target], rounds: int, seconds: float) -> None:
    """Give every target its turn in every round."""
    for number in range(rounds + 1):  # the first warms up and does not count
        for target in targets:
            before = target.cpu_seconds()
            seen = load(target, seconds if number else 1.0)
            if seen.wrong:
                raise SystemExit(f"{target.name}: {seen.wrong} wrong answers")
            target.answered += seen.answered
            if number:
                target.rates.append(seen.answered / seen.seconds)
                target.cpu.append((target.cpu_seconds() - before) / max(1, seen.answered))


def report(targets: Mapping[str, Target]) -> None:
    """Print what a request costs on each side, then the result lines."""
    generator = "wrk" if shutil.which("wrk") else "the generator of ours"
    print(f"load by {generator}, {CONNECTIONS} connections; this machine's load was {os.getloadavg()[0]:.1f}")
    middle = {name: statistics.median(target.rates) for name, target in targets.items()}
    for name, target in targets.items():
        spread = f"{min(target.rates):,.0f} to {max(target.rates):,.0f}"
        cpu = statistics.median(target.cpu) * 1e6
        print(f"{name:20} {middle[name]:8,.0f}/s (rounds {spread}), {cpu:5.0f} us of processor a request")
    for database in ("sqlite", "postgresql", "sqlite-again", "postgresql-again"):
        result(f"request-{database}", middle[f"guarded-{database}"], middle["bare"], middle["plain"])


def bench(quick: bool) -> None:
    """Prepare both databases, start everything, measure, check, and print."""
    rounds, seconds = (2, 2.0) if quick else (7, 5.0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redoubt-bench-")))
        orders = make_orders()
        urls = {
            "sqlite": f"sqlite:///{folder / 'bench.db'}",
            "postgresql": stack.enter_context(postgres(folder)),
        }
        for database, url in urls.items():
            prepare(folder / database, url, orders)
        apps = [("plain", "plain", "sqlite"), ("bare", "bare", "sqlite")]
        apps += [("guarded", f"guarded-{database}", database) for database in urls]
        targets = [stack.enter_context(running(kind, name, folder / home)) for kind, name, home in apps]
        check_same(targets)
        again = [
            Target(f"{one.name}-again", one.home, one.port, one.process, few=True) for one in targets[2:]
        ]
        measure([*targets, *again], rounds, seconds)
        cut_off = (
            CONNECTIONS * (rounds + 1) * 2 if shutil.which("wrk") else 0
        )  # wrk waits for no answer at its end
        for target, other in zip(targets[2:], again, strict=True):
            check_audited(target, target.answered + other.answered, cut_off)
        targets += again
        report({target.name: target for target in targets})


def main() -> None:
    """Run the benchmark, or the part of it that a process of its own plays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="stay under a minute")
    parser.add_argument("--serve", choices=sorted(APPS), help=argparse.SUPPRESS)
    parser.add_argument("--load", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--few", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        orders = json.loads((options.home / "orders.json").read_text())
        asyncio.run(serve(APPS[options.serve](options.home, orders), options.port))
    elif options.load:
        from attrs import asdict

        print(
            json.dumps(asdict(asyncio.run(generate(options.home, options.port, options.load, options.few))))
        )
    else:
        bench(options.quick)


if __name__ == "__main__":
    main()
