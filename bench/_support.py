"""What the benchmarks share: a result line, and a PostgreSQL server of their own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def parse(description: str, peer: str | None = None) -> argparse.Namespace:
    """Return the command line: `--quick` keeps a benchmark under a minute; `--PEER` names a program to measure beside it.

    Where that is not given, it is what the environment has as `REDOUBT_PEER_PEER`, or None.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="stay under a minute")
    if peer is not None:
        given = os.environ.get(f"REDOUBT_{peer.upper()}_PEER")
        parser.add_argument(f"--{peer}", type=Path, default=given and Path(given), help="the peer's program")
    options = parser.parse_args()
    if peer is not None and (program := getattr(options, peer)) and not os.access(program, os.X_OK):
        parser.error(f"{program} is no program that can be run")
    return options


def result(name: str, ours: float, peer: float, limit: float, unit: str = "/s") -> None:
    """Print the line that ends a measurement: ours, the peer, their ratio, the physical limit and our share of it."""
    print(
        f"RESULT {name} ours={ours:,.0f}{unit} peer={peer:,.0f}{unit} ratio={ours / peer:.2f}"
        f" limit={limit:,.0f}{unit} of_limit={ours / limit:.2f}",
        flush=True,
    )


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server for this benchmark and yield a URL of a fresh schema."""
    from tests.support.postgres import Server, fresh_schema

    server = Server.start(folder, durable=True)
    try:
        with fresh_schema(server.url) as url:
            yield url
    finally:
        server.stop()
