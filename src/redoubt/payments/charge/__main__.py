"""`python -m redoubt.payments.charge --dir DIR`: the charge service of the app in DIR."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from redoubt.core.errors import RedoubtError
from redoubt.core.log import configure
from redoubt.core.settings import Settings

from .config import open_core
from .process import open_server, prepare


async def _serve(directory: Path) -> None:
    settings = Settings.load(directory)
    if settings.charge.service is None:  # where it has a role of its own, that may not migrate: see --init
        prepare(settings)
    core = open_core(settings)
    configure(core.redactor)
    try:
        server = open_server(core)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        await server.serve()
    finally:
        core.db.close()


def main() -> None:
    """Serve until SIGTERM; a known error is one line on stderr and exit 1."""
    parser = argparse.ArgumentParser(prog="python -m redoubt.payments.charge", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--init", action="store_true", help="prepare the database as its owner, and end")
    options = parser.parse_args()
    try:
        if options.init:
            prepare(Settings.load(options.dir))
        else:
            asyncio.run(_serve(options.dir))
    except RedoubtError as error:
        print(f"redoubt: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
