"""Rows a second through group commit, beside one row a commit and beside raw fdatasync.

All write the same 2 KB row under a unique key, durable before the caller goes on, with 256 callers waiting at once
for ours and as many threads as the writer allows for the peer. Afterwards every row is counted.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import sqlalchemy as sa
from _support import parse, postgres, result

from redoubt.core.db import Command, Database, Tx

BODY = b"x" * 2048
CALLERS = 256
metadata = sa.MetaData()
rows = sa.Table(
    "rows",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


class Insert(Command[str, bool]):
    """Write one row for each key."""

    name = "insert"

    def key(self, item: str) -> str:
        """Return the row's key."""
        return item

    def apply(self, tx: Tx, items: Sequence[str]) -> Sequence[bool]:
        """Insert all rows in one statement."""
        tx.execute(sa.insert(rows), [{"key": item, "body": BODY} for item in items])
        return [True] * len(items)


def limit_of_disk(folder: Path, seconds: float) -> float:
    """Return appends of 2 KB a second, each made durable by its own fdatasync."""
    path = folder / "limit"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        os.write(descriptor, BODY)
        os.fdatasync(descriptor)
        done += 1
    elapsed = time.perf_counter() - start
    os.close(descriptor)
    path.unlink()
    return done / elapsed


async def grouped(db: Database, seconds: float) -> tuple[int, float]:
    """Return rows and seconds: 256 callers that each wait for their own row."""
    command, written, keys = Insert(), 0, count()
    start = time.perf_counter()

    async def caller() -> None:
        nonlocal written
        while time.perf_counter() - start < seconds:
            await db.group.submit(command, f"g{next(keys):012d}")
            written += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return written, time.perf_counter() - start


def singly(db: Database, seconds: float, threads: int) -> tuple[int, float]:
    """Return rows and seconds: each row in a transaction of its own."""
    keys = count()
    start = time.perf_counter()

    def caller() -> int:
        mine = 0
        while time.perf_counter() - start < seconds:
            key = f"s{next(keys):012d}"
            db.write_sync(lambda tx, key=key: tx.execute(sa.insert(rows), {"key": key, "body": BODY}))
            mine += 1
        return mine

    with ThreadPoolExecutor(threads) as pool:
        written = sum(pool.map(lambda _: caller(), range(threads)))
    return written, time.perf_counter() - start


def measure(name: str, url: str, limit: float, seconds: float, threads: int) -> None:
    """Run both over one database and print the result."""
    db = Database(url)
    db.write_sync(lambda tx: metadata.create_all(tx.conn))
    single_rows, single_seconds = singly(db, seconds, threads)
    group_rows, group_seconds = asyncio.run(grouped(db, seconds))
    stored = db.read_sync(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one())
    if stored != single_rows + group_rows:
        raise SystemExit(f"{name}: {stored} rows are stored, {single_rows + group_rows} were acknowledged")
    db.close()
    result(f"commit-{name}", group_rows / group_seconds, single_rows / single_seconds, limit)


def main() -> None:
    """Measure SQLite and PostgreSQL, one after the other."""
    options = parse(__doc__ or "")
    seconds = 3.0 if options.quick else 10.0
    with tempfile.TemporaryDirectory(prefix="redoubt-bench-") as name:
        folder = Path(name)
        limit = limit_of_disk(folder, seconds)
        print(f"one fdatasync a row: {limit:,.0f}/s on this disk")
        measure("sqlite", f"sqlite:///{folder / 'bench.db'}", limit, seconds, 1)
        with postgres(folder) as url:
            for threads in (1, 4):
                db_url = url
                label = "postgresql" if threads == 1 else "postgresql-4-writers"
                measure_fresh(label, db_url, limit, seconds, threads)


def measure_fresh(name: str, url: str, limit: float, seconds: float, threads: int) -> None:
    """Drop the table, then measure."""
    db = Database(url)
    db.write_sync(lambda tx: metadata.drop_all(tx.conn))
    db.close()
    measure(name, url, limit, seconds, threads)


if __name__ == "__main__":
    main()
