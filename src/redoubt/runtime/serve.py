"""The app's process: Granian in this process, TLS from the settings or from the local authority."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from redoubt.core.errors import RedoubtError

from .loading import load_app


def settle() -> None:
    """Keep the garbage collector from walking over what start-up made, request after request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def serve(directory: Path) -> None:
    """Serve the app in `directory` until SIGTERM or SIGINT."""
    app, guard = load_app(directory)
    settings = guard.settings
    tls = settings.state_dir / "tls"
    certificate = settings.base / settings.server.tls_cert if settings.server.tls_cert else tls / "app.pem"
    key = settings.base / settings.server.tls_key.locator if settings.server.tls_key else tls / "app.key"
    server = Server(
        app,
        address=settings.server.host,
        port=settings.server.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        ssl_cert=certificate,
        ssl_key=key,
        backlog=1024,
    )
    settle()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    with contextlib.suppress(asyncio.CancelledError):
        await server.serve()


def main() -> None:
    """Parse the command line and serve; a known error is one line on stderr and exit 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.dir))
    except RedoubtError as error:
        print(f"redoubt: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
