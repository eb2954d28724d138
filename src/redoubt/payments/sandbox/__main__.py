"""`python -m redoubt.payments.sandbox`: the provider as a process on the loopback address."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from pathlib import Path

import uvicorn

from ...core.clock import SystemClock
from ...core.errors import RedoubtError
from ...core.ids import SystemIds
from ...core.log import configure
from ...core.redact import ProcessMac, Redactor
from ...core.secrets import SecretRef
from .app import SandboxProtocol, create_app
from .webhooks import Endpoint


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; the first line on standard output is `{"url": …}`."""
    parser = argparse.ArgumentParser(prog="python -m redoubt.payments.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8026, help="loopback port; 0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, help="SQLite file that keeps everything")
    parser.add_argument(
        "--api-key-ref", required=True, help="env:NAME or file:PATH of the API key that callers use"
    )
    parser.add_argument("--webhook-url", help="where signed events go")
    parser.add_argument("--webhook-secret-ref", help="env:NAME or file:PATH of the secret that signs them")
    parser.add_argument("--webhook-ca", type=Path, help="certificate authority of the webhook's address")
    given = parser.parse_args(arguments)
    if (given.webhook_url is None) != (given.webhook_secret_ref is None):
        parser.error("--webhook-url and --webhook-secret-ref belong together")
    try:
        key = SecretRef.parse(given.api_key_ref).resolve(Path())
        endpoint = None
        if given.webhook_url is not None:
            secret = SecretRef.parse(given.webhook_secret_ref).resolve(Path())
            endpoint = Endpoint(given.webhook_url, secret, given.webhook_ca)
    except RedoubtError as error:
        parser.error(str(error))
    configure(Redactor(ProcessMac(SystemIds(SystemClock()))), sys.stderr, "WARNING")
    given.state.parent.mkdir(parents=True, exist_ok=True)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", given.port))
    print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
    app = create_app(given.state, key, endpoint)
    config = uvicorn.Config(
        app,
        http=SandboxProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
