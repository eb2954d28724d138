"""What a process used of its rights, kept in a file across restarts: what is granted is compared with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

from ..files import write_private
from .database import Database
from .grants import Grant

EVERY = 2.0
"""Seconds between two looks at what was used."""


def used_file(state: Path, process: str) -> Path:
    """Return where the rights that `process` used are kept."""
    return state / "run" / f"used-{process}.json"


def read_used(path: Path) -> set[Grant]:
    """Return the rights that were used so far; none where the process never ran."""
    if not path.exists():
        return set()
    return {(verb, table, column) for verb, table, column in json.loads(path.read_text())}


def write_used(path: Path, used: Iterable[Grant]) -> None:
    """Keep these rights, for the owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, json.dumps(sorted(used)).encode())


async def keep_used(db: Database, path: Path) -> None:
    """Keep what `db` used, added to what was used before, until cancelled; nothing where connections are not asked."""
    known = read_used(path)
    try:
        while True:
            if not db.used <= known:
                known |= db.used
                await asyncio.to_thread(write_used, path, known)
            await asyncio.sleep(EVERY)
    finally:
        if not db.used <= known:
            write_used(path, known | db.used)
