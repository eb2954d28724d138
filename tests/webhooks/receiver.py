"""A real HTTP receiver on loopback that keeps what it got and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen


@frozen
class Request:
    headers: dict[str, str]
    body: bytes


@define
class Receiver:
    """Answers with `answer(request)`: a status, or a status and a body; waits while `hang` is set."""

    answer: Callable[[Request], Any] = field(default=lambda request: 204)
    hang: asyncio.Event | None = None
    got: list[Request] = field(factory=list)
    arrived: int = 0
    port: int = 0
    server: Any = None

    async def __aenter__(self) -> Receiver:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.arrived += 1
            if self.hang is not None:
                await self.hang.wait()
            request = Request(headers, body)
            self.got.append(request)
            answer = self.answer(request)
            status, content = answer if isinstance(answer, tuple) else (answer, b"")
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
                + content
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
