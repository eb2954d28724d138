"""A partner's webhook receiver in a process of its own: checks each signature, keeps each delivery, then says 200.

It shares no code with the sender: what it checks is the text of Standard Webhooks 1.0.0.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attrs import define

ROOT = Path(__file__).resolve().parents[2]
SECRET_VARIABLE = "RECEIVER_SECRET"
_TOLERANCE = 300


def signed(secret: str, headers: Any, body: bytes) -> bool:
    """Say whether one of the signatures is HMAC-SHA256 over `id.timestamp.body`, and the timestamp is of now."""
    identity, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not identity or not stamp.isdigit() or abs(time.time() - int(stamp)) > _TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = hmac.new(key, f"{identity}.{stamp}.".encode() + body, hashlib.sha256).digest()
    for part in headers.get("webhook-signature", "").split():
        version, _, tag = part.partition(",")
        if version == "v1" and hmac.compare_digest(tag.encode(), base64.b64encode(wanted)):
            return True
    return False


@define
class Receiver:
    """Where the receiver listens and what it has kept."""

    port: int
    file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/orders"

    def deliveries(self) -> list[dict[str, Any]]:
        """Return every delivery that came, in order: `id`, `signed`, `digest` and the parsed `body`."""
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@contextmanager
def receiver(secret: str, file: Path) -> Iterator[Receiver]:
    """Run a receiver that shares `secret` with the sender and keeps what comes in `file`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.receiver", str(file)],
        cwd=ROOT,
        env={**os.environ, SECRET_VARIABLE: secret},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Receiver(int(process.stdout.readline()), file)
    finally:
        process.terminate()
        process.wait(10)


def main(file: Path, secret: str) -> None:
    """Serve on a free port of the loopback address and print it."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            good = signed(secret, self.headers, body)
            kept = {
                "id": self.headers.get("webhook-id", ""),
                "signed": good,
                "digest": hashlib.sha256(body).hexdigest(),
                "body": json.loads(body) if good else None,
            }
            with lock, file.open("a") as out:
                out.write(json.dumps(kept) + "\n")
                out.flush()
                os.fsync(out.fileno())
            self.send_response(200 if good else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            """Stay quiet: what came is in the file."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_args: Any) -> None:
            """A sender that is killed breaks its connection; what counts is what was kept."""

    file.touch()
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ[SECRET_VARIABLE])
