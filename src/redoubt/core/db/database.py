"""Transactions over SQLite and PostgreSQL, synchronous in threads and awaitable outside.

Stores are plain functions over a `Tx`; services hand them to `Database.read` and `Database.write`. One process
has one SQLite writer: a thread that queues on a lock file before `BEGIN IMMEDIATE`, so that writers of several
processes wait in line instead of failing with SQLITE_BUSY.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, CursorResult, Engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from . import authorizer
from .errors import DatabaseError, NotGranted, StorageUnavailable
from .grants import Access, Grant
from .group import GroupCommit

T = TypeVar("T")
Dialect = Literal["sqlite", "postgresql"]
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
_Hold = Callable[[Any, bool], None]

_READ_THREADS = 4
_PG_WRITE_THREADS = 4


class Tx:
    """One open transaction: what stores execute their SQL on."""

    def __init__(self, conn: Connection, dialect: Dialect) -> None:
        self.conn = conn
        self.dialect: Dialect = dialect
        self._after_commit: list[Callable[[], None]] = []

    def execute(self, statement: sa.Executable, params: Parameters = None) -> CursorResult[Any]:
        """Run one SQLAlchemy statement; values travel as bound parameters only."""
        return cast(CursorResult[Any], self.conn.execute(statement, params))

    def after_commit(self, fn: Callable[[], None]) -> None:
        """Call `fn` once this transaction has committed; it is forgotten on a roll-back."""
        self._after_commit.append(fn)

    def run_after_commit(self) -> None:
        """Run what `after_commit` gathered; called by the database after its commit."""
        for fn in self._after_commit:
            fn()


class Database:
    """A SQLite file or a PostgreSQL database.

    `read` and `write` run their function in a thread inside one transaction, commit when it returns and roll back
    when it raises. A function may run twice only where its caller says so; `Database` never retries a write.
    """

    def __init__(self, url: str) -> None:
        """Open `url` (`sqlite:///path` or `postgresql://…`); the file is made when it is missing.

        Raises DatabaseError for any other scheme.
        """
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        self.used: set[Grant] = set()
        self._access: Access | None = None
        self._lock = threading.RLock()
        self._lock_file: int | None = None
        self._lock_depth = 0
        if backend == "sqlite":
            self.dialect: Dialect = "sqlite"
            path = parsed.database
            if not path or path == ":memory:":
                raise DatabaseError(
                    "an in-memory database loses what it acknowledged.",
                    hint="Name a file: sqlite:///var/app.db",
                )
            self.path: Path | None = Path(path).absolute()
            self._writer, self._reader = _sqlite_engines(self.path, self._held_to)
            self._lock_file = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            write_threads = 1
        elif backend == "postgresql":
            self.dialect = "postgresql"
            self.path = None
            self._writer, self._reader = _postgres_engines(parsed.set(drivername="postgresql+psycopg"))
            write_threads = _PG_WRITE_THREADS
        else:
            raise DatabaseError(
                f"no database of the kind {backend!r}.", hint="Use sqlite:///… or postgresql://…"
            )
        self._write_pool = ThreadPoolExecutor(write_threads, thread_name_prefix="redoubt-write")
        self._read_pool = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="redoubt-read")
        self.group = GroupCommit(self, gather=0.001 if self.dialect == "sqlite" else 0.0)

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one read-only transaction and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._read_pool, self.read_sync, fn)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one write transaction; what it returns is durable when this returns."""
        return await asyncio.get_running_loop().run_in_executor(self._write_pool, self.write_sync, fn)

    def read_sync(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one read-only transaction, in this thread."""
        with _translated(), self._reader.begin() as conn:
            return fn(Tx(conn, self.dialect))

    def write_sync(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one write transaction, in this thread."""
        with _translated():
            with self._exclusive(), self._writer.begin() as conn:
                tx = Tx(conn, self.dialect)
                result = fn(tx)
            tx.run_after_commit()
            return result

    def restrict(self, access: Access) -> None:
        """From now on let statements through this database do only what `access` grants; call it before they run.

        On SQLite every new connection is held to it, and `used` gathers what they needed of it. On PostgreSQL nothing
        happens here: the server holds each role to its grants, and a process has to connect as its own.
        """
        if self._access is not None:
            raise DatabaseError("this database is restricted already.")
        self._access = access
        if self.dialect == "sqlite":
            self._writer.dispose()
            self._reader.dispose()

    @property
    def access(self) -> Access | None:
        """What `restrict` was given; None for whoever owns the schema."""
        return self._access

    def _held_to(self, connection: Any, reading: bool) -> None:
        if self._access is not None:
            authorizer.restrict(connection, self._access, self.used, reading=reading)

    def close(self) -> None:
        """Let running work end, then close every connection."""
        self.group.close()
        self._write_pool.shutdown(wait=True)
        self._read_pool.shutdown(wait=True)
        self._writer.dispose()
        self._reader.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @property
    def write_engine(self) -> Engine:
        """The engine behind `write`, for migrations."""
        return self._writer

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Wait in line with the writers of this and other processes (SQLite only)."""
        if self._lock_file is None:
            yield
            return
        with self._lock:
            if self._lock_depth:
                raise DatabaseError("a write inside a write.", hint="Pass the open Tx down instead.")
            self._lock_depth += 1
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)
                self._lock_depth -= 1


def _sqlite_engines(path: Path, held_to: _Hold) -> tuple[Engine, Engine]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = sa.URL.create("sqlite", database=str(path))
    # A restricted connection is asked about every part of a statement when that is prepared: few are prepared twice.
    arguments = {
        "check_same_thread": False,
        "isolation_level": None,
        "timeout": 10.0,
        "cached_statements": 512,
    }
    writer = sa.create_engine(
        url, connect_args=arguments, poolclass=sa.QueuePool, pool_size=1, max_overflow=0
    )
    reader = sa.create_engine(
        url,
        connect_args=arguments,
        poolclass=sa.QueuePool,
        pool_size=_READ_THREADS,
        max_overflow=_READ_THREADS,
    )
    for engine, begin, reading in ((writer, "BEGIN IMMEDIATE", False), (reader, "BEGIN", True)):
        _configure_sqlite(engine, begin, reading, held_to)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for engine in (
        writer,
        reader,
    ):  # what SQLAlchemy asks of a first connection, nobody restricted has to be let ask
        with engine.connect():
            pass
    return writer, reader


def _configure_sqlite(engine: Engine, begin: str, reading: bool, held_to: _Hold) -> None:
    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "recursive_triggers=ON",  # without it REPLACE walks past append-only triggers
            "trusted_schema=OFF",
            "busy_timeout=10000",
            "temp_store=MEMORY",
            f"query_only={'ON' if reading else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        held_to(connection, reading)

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _postgres_engines(url: sa.URL) -> tuple[Engine, Engine]:
    writer = sa.create_engine(url, pool_size=_PG_WRITE_THREADS + 1, max_overflow=2, pool_pre_ping=True)
    reader = sa.create_engine(url, pool_size=_READ_THREADS, max_overflow=2, pool_pre_ping=True)

    @sa.event.listens_for(reader, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    return writer, reader


@contextmanager
def _translated() -> Iterator[None]:
    """Turn a lost server or a locked file into an error of ours; constraint errors pass as SQLAlchemy's."""
    try:
        yield
    except DBAPIError as error:
        if _not_granted(error):
            raise NotGranted(
                "the database refused a statement that this process has no right to; nothing was written.",
                hint="What each process may do is declared beside the tables: redoubt db grants",
            ) from error
        if isinstance(error, OperationalError):
            raise StorageUnavailable(
                "the database could not be reached or is busy; nothing was written."
            ) from error
        if error.connection_invalidated:
            raise StorageUnavailable(
                "the connection to the database was lost; nothing is known to be written."
            ) from error
        raise


def _not_granted(error: DBAPIError) -> bool:
    """Say whether the database refused for want of a right (SQLite: SQLITE_AUTH; PostgreSQL: 42501, insufficient_privilege)."""
    cause = error.orig
    return (
        getattr(cause, "sqlite_errorname", None) == "SQLITE_AUTH"
        or getattr(cause, "sqlstate", None) == "42501"
        or any(said in str(cause) for said in authorizer.REFUSALS)
    )
