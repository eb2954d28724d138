"""The servers of the benchmark of a guarded read, and the load that they are put under."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _request_world import ADDRESS, AGENT, HOST, PATH, requests
from attrs import define, field, frozen

CONNECTIONS = 64
_SCRIPT = str(Path(__file__).with_name("request.py"))


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
    command = [sys.executable, _SCRIPT, "--serve", kind, "--home", str(home), "--port", str(port)]
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
        command = [sys.executable, _SCRIPT, "--load", str(seconds), "--home", str(target.home)]
        out = subprocess.run(
            [*command, "--port", str(target.port)], check=True, capture_output=True, text=True
        )
        return Load(**json.loads(out.stdout))
    url = f"http://{ADDRESS}:{target.port}"
    script = str(target.home / "asked.lua")
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


async def generate(home: Path, port: int, seconds: float) -> Load:
    """Ask with 64 connections, wait for what is on its way, and check every body."""
    orders = json.loads((home / "orders.json").read_text())
    asked = json.loads((home / "asked.json").read_text())
    bodies = [json.dumps(orders[order], separators=(",", ":")).encode() for order, _ in asked]
    texts = [(text.encode(), body) for text, body in zip(requests(asked), bodies, strict=True)]
    start = time.perf_counter()
    work = _Work(texts, start + seconds, asyncio.Event())
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: _Client(work), ADDRESS, port)
    await work.over.wait()
    return Load(work.answered, time.perf_counter() - start, work.wrong)
