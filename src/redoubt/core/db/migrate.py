"""Migrations: each domain brings its own line of Alembic revisions; one call brings all to their heads."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import sqlalchemy as sa
from attrs import field, frozen

from .database import Database, Tx
from .errors import MigrationError
from .grants import Access, Use, merged

_ENVIRONMENT = Path(__file__).parent / "alembic"
_LOCK = 0x5245444F554254  # one advisory lock for all who migrate


@frozen
class Domain:
    """What a domain brings to the database: its revisions, its tables, the triggers that defend them, and who uses what.

    `grants` says by process what it does with which table; `definers` which tables a trigger writes with the rights of
    the owner, for processes that may not write them.
    """

    name: str
    migrations: Path
    metadata: sa.MetaData
    triggers: frozenset[str] = field(default=frozenset())
    grants: Mapping[str, tuple[Use, ...]] = field(factory=dict)
    definers: Mapping[str, frozenset[str]] = field(factory=dict)


def access_of(domains: Iterable[Domain], process: str, features: Collection[str] = ()) -> Access:
    """Return everything that `domains` declare for `process` of an app that has `features`."""
    listed = list(domains)
    uses = [
        one
        for domain in listed
        for one in domain.grants.get(process, ())
        if not one.when or one.when in features
    ]
    return merged(process, uses, {name: to for domain in listed for name, to in domain.definers.items()})


def migrate(db: Database, domains: Iterable[Domain]) -> None:
    """Bring the schema of every domain to its newest revision, in one transaction.

    Raises MigrationError when the database is newer than this version, when a revision fails (nothing is then
    changed), or when a trigger that defends a table is missing afterwards.
    """
    # Here, not above: it is a quarter of the start of every command and process, and most of them migrate nothing.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    wanted = list(domains)
    config = Config()
    config.set_main_option("script_location", str(_ENVIRONMENT))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(str(domain.migrations) for domain in wanted))

    def upgrade(tx: Tx) -> None:
        if tx.dialect == "postgresql":
            tx.execute(sa.text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK})
        config.attributes["connection"] = tx.conn
        command.upgrade(config, "heads")
        _assert_triggers(tx, wanted)

    try:
        db.write_sync(upgrade)
    except CommandError as error:
        raise MigrationError(
            f"the schema cannot be brought to this version: {error}.",
            hint="The database was written by a newer version; run that one.",
        ) from error


def _assert_triggers(tx: Tx, domains: Iterable[Domain]) -> None:
    """Table rebuilds drop triggers silently: look for each by name."""
    if tx.dialect == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = (
            "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relnamespace = current_schema()::regnamespace"
        )
    present = {row[0] for row in tx.execute(sa.text(query))}
    missing = sorted(name for domain in domains for name in domain.triggers if name not in present)
    if missing:
        raise MigrationError(f"triggers that defend the tables are missing: {', '.join(missing)}.")
