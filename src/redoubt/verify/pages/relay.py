"""The way out of a driven browser: a SOCKS 5 door an identity, which leads to the app alone, from an address of its own.

RFC 1928, CONNECT without authentication. Whatever else a page asks for (another host, another port) is refused, so
that an app under attack can send the browser nowhere. TLS, if there is any, runs through it end to end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from ..transport import is_loopback

_SECONDS = 15.0
_CHUNK = 1 << 16
_GRANTED, _NOT_ALLOWED, _UNREACHABLE = b"\x00", b"\x02", b"\x04"


class Relay:
    """Doors to one app; a context manager, whose end closes them and every connection through them."""

    def __init__(self, base_url: str) -> None:
        """Lead to the host and port of `base_url`; names under `.localhost` are this machine."""
        parts = urlsplit(base_url)
        self._host = (parts.hostname or "").lower()
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    def door(self, source: str) -> int:
        """Open a door whose connections come from the address `source`; return its port on 127.0.0.1."""
        port: int = self._run(self._open(source))
        return port

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    async def _open(self, source: str) -> int:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await self._answer(reader, writer, source)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        self._servers.append(server)
        found: int = server.sockets[0].getsockname()[1]
        return found

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str) -> None:
        wanted = await asyncio.wait_for(_wanted(reader, writer), _SECONDS)
        if wanted != (self._host, self._port):
            await _reply(writer, _NOT_ALLOWED)
            return
        here = is_loopback(self._host)
        host = "127.0.0.1" if here and self._host.endswith("localhost") else self._host
        bound = (source, 0) if here and ":" not in host else None
        try:
            far_reader, far_writer = await asyncio.wait_for(
                asyncio.open_connection(host, self._port, local_addr=bound), _SECONDS
            )
        except (OSError, TimeoutError):
            await _reply(writer, _UNREACHABLE)
            return
        try:
            await _reply(writer, _GRANTED)
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()


async def _wanted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
    """Read the greeting and the request (sections 3 and 4); None for what is no CONNECT."""
    version, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    if version != 5:
        return None
    writer.write(b"\x05\x00")
    await writer.drain()
    _, command, _, kind = await reader.readexactly(4)
    if kind == 1:
        host = ".".join(map(str, await reader.readexactly(4)))
    elif kind == 3:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode("ascii", "replace").lower()
    else:
        return None
    port = int.from_bytes(await reader.readexactly(2), "big")
    return (host, port) if command == 1 else None


async def _reply(writer: asyncio.StreamWriter, code: bytes) -> None:
    writer.write(b"\x05" + code + b"\x00\x01" + bytes(6))
    await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
