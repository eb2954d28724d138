"""The development mailbox: an SMTP sink and a page that shows what the app mailed. Loopback only, never in production."""

from __future__ import annotations

import argparse
import asyncio
import email
import email.policy
import os
import sqlite3
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import uvicorn
from aiosmtpd.controller import Controller
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from redoubt.core.clock import Clock, SystemClock

_MAX_MESSAGE = 256 * 1024
_KEPT = 2000
_CSP = "default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
_STYLE = (
    "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:46rem;padding:0 1rem;color-scheme:light dark}"
    "article{border:1px solid #8886;border-radius:.5rem;padding:1rem;margin:1rem 0}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
)
_PAGE = Environment(autoescape=True).from_string(
    """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Mailbox</title><style>{{ style }}</style><h1>Mailbox</h1>
<p>Every message that the app sent on this machine. Newest first; reload to look again.</p>
{% for m in messages %}<article><h2>{{ m.subject }}</h2><p>To {{ m.to }} · {{ m.at }}</p>
<pre>{{ m.text }}</pre>{% for link in m.links %}<p><a href="{{ link }}" rel="noreferrer">Open the link</a></p>{% endfor %}</article>
{% else %}<p>No message yet.</p>{% endfor %}</html>"""
)


class Store:
    """The messages, in a file so that a restart loses none."""

    def __init__(self, path: Path, clock: Clock) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._conn.execute("PRAGMA journal_mode=WAL")
        self._conn.execute(
            "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, rcpt TEXT, subject TEXT, text TEXT, at TEXT)"
        )
        self._clock = clock

    def add(self, to: str, subject: str, text: str) -> None:
        """Keep a message; the oldest beyond two thousand go."""
        self._conn.execute(
            "INSERT INTO messages (rcpt, subject, text, at) VALUES (?, ?, ?, ?)",
            (to, subject, text, self._clock.now().isoformat()),
        )
        self._conn.execute("DELETE FROM messages WHERE id <= (SELECT MAX(id) FROM messages) - ?", (_KEPT,))

    def list(self, to: str | None = None) -> list[dict[str, Any]]:
        """Return messages, newest first, for one address or all."""
        where, values = ("WHERE rcpt = ? COLLATE NOCASE", (to,)) if to else ("", ())
        rows = self._conn.execute(
            f"SELECT rcpt, subject, text, at FROM messages {where} ORDER BY id DESC LIMIT 200",  # noqa: S608 - fixed text
            values,
        )
        return [{"to": row[0], "subject": row[1], "text": row[2], "at": row[3]} for row in rows]


class _Sink:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content or b"", policy=email.policy.default)
        body = message.get_body(("plain",)) if isinstance(message, EmailMessage) else None
        text = str(body.get_content()) if body is not None else ""
        for recipient in envelope.rcpt_tos:
            self._store.add(str(recipient), str(message.get("Subject", "")), text)
        return "250 kept"


def create_app(store: Store) -> Starlette:
    """Return the mailbox's web face: a page for people, `/messages` for programs."""

    async def messages(request: Request) -> Response:
        return JSONResponse(store.list(request.query_params.get("to")))

    async def page(_request: Request) -> Response:
        shown = store.list()
        for message in shown:
            message["links"] = [word for word in message["text"].split() if word.startswith("https://")]
        html = _PAGE.render(messages=shown, style=_STYLE)
        return HTMLResponse(html, headers={"Content-Security-Policy": _CSP.format(style=_style_hash())})

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    # Other names are refused: a page anywhere could point one of its own at this address, and read every link.
    hosts = ["mail.localhost", "localhost", "127.0.0.1"]
    return Starlette(
        routes=[Route("/", page), Route("/messages", messages), Route("/healthz", health)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
    )


def _style_hash() -> str:
    import base64
    import hashlib

    return base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def main() -> None:
    """Run the sink and the page until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    options = parser.parse_args()
    store = Store(options.store, SystemClock())
    smtp = Controller(
        _Sink(store), hostname="127.0.0.1", port=options.smtp_port, data_size_limit=_MAX_MESSAGE
    )
    smtp.start()
    try:
        asyncio.run(
            uvicorn.Server(
                uvicorn.Config(
                    create_app(store), host="127.0.0.1", port=options.http_port, log_level="warning"
                )
            ).serve()
        )
    finally:
        smtp.stop()


if __name__ == "__main__":
    main()


__all__ = ["Store", "create_app", "main"]
